"""Facts of a base that the workflow did not make, found by loading it once."""

from sparse_continual.errors import UserError
from sparse_continual.models.load import load_model, load_tokenizer
from sparse_continual.models.planned import check_counts
from sparse_continual.models.shape import shape_of


def facts_of(folder, trust_remote_code=False) -> dict:
    """{"folder" (used in place), "trust_remote_code", "shape", "parameters", "model_type"} of a loadable checkpoint.

    Raises UserError if weights or tokenizer cannot be loaded or do not fit each other, and if the model differs from
    the plan's.
    """
    tokenizer = load_tokenizer(folder, trust_remote_code)
    model = load_model(folder, trust_remote_code=trust_remote_code)
    check_vocabulary(folder, tokenizer, model.get_input_embeddings().weight.shape[0])
    shape = shape_of(folder, trust_remote_code)
    counted = shape["counted"]
    check_counts(folder, model, {**counted, "parameters": counted["parameters"]["total"]})
    return {
        "folder": str(folder),
        "trust_remote_code": trust_remote_code,
        "shape": shape,
        "model_type": model.config.model_type,
        "parameters": counted["parameters"]["total"],
    }


def check_vocabulary(folder, tokenizer, rows: int) -> None:
    """Raise UserError if a token of `tokenizer` has no row in the checkpoint's embedding of `rows` rows."""
    if len(tokenizer) > rows:
        raise UserError(
            f"{folder}: the tokenizer has {len(tokenizer)} tokens, the embedding {rows} rows; "
            "expected at least as many rows as tokens; copy the tokenizer that belongs to these weights"
        )
    # ids may have gaps, so fewer tokens than rows can still have an id that is too high
    token, highest = max(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    if highest >= rows:
        raise UserError(
            f"{folder}: the tokenizer gives {token!r} the id {highest}, the embedding has {rows} rows; expected ids "
            f"below {rows}; copy the tokenizer that belongs to these weights"
        )

"""What a base that the workflow did not make is, found by loading it once."""

from sparse_continual.errors import UserError
from sparse_continual.models.load import load_model, load_tokenizer
from sparse_continual.models.planned import check_counts
from sparse_continual.models.shape import shape_of


def facts_of(folder, trust_remote_code=False) -> dict:
    """{"folder" (to be used in place), "trust_remote_code", "shape", "parameters", "model_type"} of a
    checkpoint that loads.

    Raises UserError when weights or tokenizer cannot be loaded or do not fit each other, and when the model is another
    than the one that is planned with.
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
    """Raise UserError when `tokenizer` gives a token an id that the embedding of the checkpoint, of `rows`, lacks."""
    if len(tokenizer) > rows:
        raise UserError(
            f"{folder}: the tokenizer has {len(tokenizer)} tokens, the embedding {rows} rows; "
            "expected at least as many rows as tokens; copy the tokenizer that belongs to these weights"
        )
    # ids may leave gaps, so that fewer tokens than rows still have too high ones
    token, highest = max(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    if highest >= rows:
        raise UserError(
            f"{folder}: the tokenizer gives {token!r} the id {highest}, the embedding has {rows} rows; expected ids "
            f"below {rows}; copy the tokenizer that belongs to these weights"
        )

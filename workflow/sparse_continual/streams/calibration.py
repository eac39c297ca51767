"""Calibration sequences: text the model is run on to compute pruning scores. Never test data.

Torch is imported inside functions, because every start reads the schema below.
"""

import hashlib

from sparse_continual.errors import UserError
from sparse_continual.files import given_path, read_plain
from sparse_continual.streams.tokens import as_text, count_marks, marks_of

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "default": {},
    "description": "text the model is run on to compute pruning scores",
    "properties": {
        "files": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string"},
            "description": "plain text files in UTF-8, ~ is the home; without files, training rows of the base's "
            "mixture, or text that a base without a mixture generates itself",
        },
        "sequences": {"type": "integer", "minimum": 1, "default": 128, "description": "number of rows"},
        "tokens": {
            "type": "integer",
            "minimum": 2,
            "default": 512,
            "description": "length of a window of the files, or of a generated text",
        },
    },
}


# for topologies without these settings: only their allocation reads text
DEFAULTS = {key: member["default"] for key, member in SCHEMA["properties"].items() if "default" in member}


def check(settings: dict) -> None:
    """Raise UserError for a missing file of the calibration settings."""
    for name in settings.get("files", ()):
        if not given_path(name).is_file():
            raise UserError(f"calibration file {name}: no such file; correct `calibration.files`")


def rows_of_files(settings: dict, tokenizer, seed: int):
    """int64[sequences, tokens]: different random windows of the files, drawn by `seed`.

    Each file is one document, tokenised without special tokens. All windows of all documents are equally likely.

    Raises UserError if the files hold too few windows, or are not UTF-8 text.
    """
    import numpy as np
    import torch

    check(settings)
    tokens, sequences = settings["tokens"], settings["sequences"]
    documents = [_encode(name, tokenizer) for name in settings["files"]]
    windows = [max(0, len(document) - tokens + 1) for document in documents]
    if sum(windows) < sequences:
        longest = max(len(document) for document in documents)
        raise UserError(
            f"calibration files {', '.join(settings['files'])}: {sum(windows)} different windows of "
            f"{tokens} tokens (the longest file has {longest} tokens), expected at least {sequences}; use longer "
            "text, or fewer `sequences` or `tokens`"
        )
    chosen = np.random.default_rng(seed).choice(sum(windows), size=sequences, replace=False)
    ends = np.cumsum(windows)
    rows = []
    for place in chosen:
        which = int(np.searchsorted(ends, place, side="right"))
        start = int(place - (ends[which] - windows[which]))
        rows.append(documents[which][start : start + tokens])
    return torch.tensor(np.stack(rows), dtype=torch.int64)


def _encode(name: str, tokenizer):
    """int64 token ids of a text file; marks of control tokens are read as plain text."""
    import numpy as np

    text, marks = read_plain(given_path(name)), marks_of(tokenizer)
    ids = tokenizer(text, **as_text(text, marks))["input_ids"]
    control = count_marks(text, ids, marks)[1]
    if control:
        print(
            f"calibration file {name}: {control} marks stay control tokens: the tokenizer has no other reading"
        )
    return np.array(ids, dtype=np.int64)


def rows_of_split(split, sequences: int, seed: int) -> list:
    """`sequences` different rows of a train split (`streams.tasks.Split`), drawn by `seed`: int64 tensors.

    Raises UserError when the split has fewer rows.
    """
    import numpy as np
    import torch

    available = len(split.starts) - 1
    if available < sequences:
        raise UserError(
            f"calibration: the base's mixture has {available} training rows, expected at least {sequences}; "
            "choose fewer `calibration.sequences`"
        )
    chosen = np.random.default_rng(seed).choice(available, size=sequences, replace=False)
    return [torch.tensor(np.asarray(split.row(int(i))), dtype=torch.int64) for i in chosen]


def rows_of_model(model, sequences: int, tokens: int, seed: int):
    """int64[sequences, tokens]: texts that `model` generates from its first token, sampled at temperature 1.

    For a published model without available training text: text of the kind that it was trained on. The end tokens of
    the model's config are never drawn, so that no text ends early. The model's generation config (penalties, cuts of
    the distribution, lengths, beams, caches) serves another purpose and is not used.

    Raises UserError if the model names no first token, or one without an embedding.
    """
    import torch
    from transformers import GenerationConfig

    first = getattr(model.config, "bos_token_id", None)
    if first is None:
        raise UserError(
            "calibration: the model's config names no bos_token_id to start from; set `calibration.files`"
        )
    known = model.get_input_embeddings().weight.shape[0]
    if not 0 <= first < known:
        raise UserError(
            f"calibration: the model's config names bos_token_id {first} to start from, but its embedding has {known} "
            "rows; correct config.json, or set `calibration.files`"
        )
    torch.manual_seed(seed)
    start = torch.full((sequences, 1), first, device=model.device)
    config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        num_beams=1,
        use_cache=True,
        min_new_tokens=tokens - 1,
        max_new_tokens=tokens - 1,
        bos_token_id=first,
        eos_token_id=getattr(model.config, "eos_token_id", None),
        pad_token_id=first,
    )
    model_config = model.generation_config
    model.generation_config = GenerationConfig()  # transformers fills missing options from the model's own
    try:  # through the class: a `generate` of the model's repository would be set on the instance
        return type(model).generate(
            model, start, attention_mask=torch.ones_like(start), generation_config=config
        )
    finally:
        model.generation_config = model_config


def digest(rows) -> str:
    """Hex SHA-256 over the rows' lengths and tokens as little-endian int32."""
    total = hashlib.sha256()
    for row in rows:
        total.update(len(row).to_bytes(4, "little"))
        total.update(row.cpu().numpy().astype("<i4").tobytes())
    return total.hexdigest()

"""Plain text files, one language-modelling task each, scored by next-token accuracy and loss.

The file's tokens are cut into consecutive windows of `sequence_length` tokens, start token included. The first 8/10 of
the windows are for training, the next tenth for validation, the last for test: three separate regions. If a region has
more windows than needed, a seeded sample is taken. The first text token of a window has no context and is not counted.

Chance: how often the most frequent training token occurs in the test. The ceiling is recorded as 1; the real one is
unknown.

Marks of control tokens in the text (`</s>`) are read as plain text; if there are some, facts.marks counts them, and
facts.control the control tokens that stay because the tokenizer has no other reading.
In a base's mixture entry all files make one task, with a part for each file. Base and stream split a file in the same
way, so give them different files: otherwise the same text is tested twice.
"""

from pathlib import Path

import numpy as np

from sparse_continual.errors import UserError
from sparse_continual.files import digest_of_given, given_path, read_plain
from sparse_continual.identity import seed_of
from sparse_continual.streams.settings import filled
from sparse_continual.streams.source import Source
from sparse_continual.streams.tasks import Task, make_split, merged, whole
from sparse_continual.streams.tokens import count_marks

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["files"],
    "properties": {
        "files": {
            "type": "array",
            "items": {"type": "string"},
            "minItems": 1,
            "uniqueItems": True,
            "description": "Plain text files in UTF-8, one task each, named by the file's stem; ~ is the home.",
        },
        "sequence_length": {
            "type": "integer",
            "minimum": 4,
            "default": 128,
            "description": "Tokens of a row, start token included.",
        },
        "train_sequences": {
            "type": "integer",
            "minimum": 1,
            "default": 1000,
            "description": "Greatest number of rows per file.",
        },
        "validation_sequences": {
            "type": "integer",
            "minimum": 1,
            "default": 50,
            "description": "Greatest number of rows per file.",
        },
        "test_sequences": {
            "type": "integer",
            "minimum": 1,
            "default": 100,
            "description": "Greatest number of rows per file.",
        },
    },
}


def task_names(settings: dict) -> list[str]:
    return [Path(file).stem for file in settings["files"]]


def sizes(settings: dict, role: str = "stream") -> dict:
    settings = filled(SCHEMA, settings)
    many = len(settings["files"]) if role == "base" else 1
    return {
        "train_items": many * settings["train_sequences"],
        "row_tokens": settings["sequence_length"],
        "test_items": many * settings["test_sequences"],
        "answer_tokens": settings["sequence_length"] - 1,
    }


def check(settings: dict, role: str = "stream") -> None:
    """Check everything that needs no tokenizer: files exist, are UTF-8, have different names and enough bytes."""
    settings = filled(SCHEMA, settings)
    names = task_names(settings)
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"text: two files are called {name}; tasks are named by their file's stem, rename one"
            )
    for file in settings["files"]:
        length = settings["sequence_length"]
        _refuse_short(file, len(read_plain(given_path(file)).encode()), "bytes", length, 3 * (length - 1))


def fingerprint(settings: dict) -> dict:
    return {file: digest_of_given(given_path(file)) for file in settings["files"]}


def build(settings: dict, seed: int, tokenizer, role: str = "stream") -> list:
    from sparse_continual.streams.encode import Encoder

    check(settings, role)
    settings, encoder = filled(SCHEMA, settings), Encoder(tokenizer, settings)
    tasks = [_task(Path(file).stem, file, settings, seed, encoder) for file in settings["files"]]
    return [merged(tasks)] if role == "base" else tasks


def _refuse_short(file: str, count: int, unit: str, length: int, least: int) -> None:
    if count < least:
        raise UserError(
            f"{file}: {count} {unit} found, too few for one sequence of {length} tokens for each of train, "
            "validation and test; lower sequence_length or give a longer text"
        )


def _task(name: str, file: str, settings: dict, seed: int, encoder):
    text = read_plain(given_path(file))
    (ids,) = encoder.texts([text])
    encoder.refuse_unknown([ids], file)
    width = settings["sequence_length"] - len(encoder.bos)
    count = len(ids) // width
    _refuse_short(file, len(ids), "tokens", settings["sequence_length"], 3 * width)
    windows = np.array(ids[: count * width], np.int32).reshape(count, width)
    held = max(1, count // 10)
    regions = {
        "train": np.arange(count - 2 * held),
        "validation": np.arange(count - 2 * held, count - held),
        "test": np.arange(count - held, count),
    }
    splits = {}
    for split, region in regions.items():
        needed = min(settings[f"{split}_sequences"], len(region))
        rng = np.random.default_rng(seed_of("text", seed, name, split))
        chosen = np.sort(rng.choice(region, needed, replace=False))
        rows = [encoder.bos + row.tolist() for row in windows[chosen]]
        splits[split] = make_split(rows, [len(encoder.bos) + 1] * needed)
    facts = {"tokens": len(ids), "windows": count}
    marks, control = count_marks(text, ids, encoder.marks)
    if marks:
        facts |= {"marks": marks, "control": control}
    return Task(name, "tokens", parts=whole(_chance(splits)), facts=facts, **splits)


def _chance(splits: dict) -> float:
    """Share of the counted test tokens that are the most frequent counted training token."""
    counted = {}
    for split in ("train", "test"):
        rows = splits[split]
        counted[split] = np.concatenate([rows.row(i)[rows.answers[i] :] for i in range(rows.rows)])
    return float(np.mean(counted["test"] == np.bincount(counted["train"]).argmax()))


SOURCE = Source(task_names=task_names, sizes=sizes, check=check, fingerprint=fingerprint, build=build)

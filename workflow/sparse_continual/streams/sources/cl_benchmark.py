"""The standard continual-learning benchmark in its authors' layout, scored by option likelihood.

<folder>/CATEGORY/NAME/{train,test,labels}.json: items {label, sentence}, and the list of labels.
An item's prompt is the sentence and a short cue of our own ("Topic:"). Each label is an option; the answer is the
option with the highest mean log-probability of its tokens.

The authors' dev and test are one file, so validation is a split of its own: `validation_items` drawn from train by
seed. Training items whose sentence also occurs in the test, or twice in train, are left out (facts.repeated). Samples
are plain random. A row of more than `max_tokens` tokens is an error, loses the end of its sentence, or is dropped, as
`overflow` says; cue and answer are never cut. facts.cut and facts.dropped count them per split.

Items without a gold label are left out, as `unlabelled` says (facts.unlabelled, per file). MNLI's test has 131 of 7,600
such items: label "-", because no label had a majority of its annotators. -1 marks the withheld labels of GLUE's and
SuperGLUE's own test sets. A label in labels.json is never read as such a mark, and any other unknown label is an error.

Marks of control tokens in a sentence (`</s>`) are read as plain text; facts.marks counts such items, facts.control
those for which the tokenizer has no other reading. It is an error if the tokenizer cannot distinguish two labels, or
drops one.

Chance: 1 / number of labels. Source: Wang et al. 2023 (O-LoRA), arXiv 2310.14152, who assembled the
files; their licences are the data sets' own.
"""

from pathlib import Path

import numpy as np

from sparse_continual.errors import UserError
from sparse_continual.files import digest_of_given, given_path, read_json
from sparse_continual.identity import seed_of
from sparse_continual.registry import nearest
from sparse_continual.streams.settings import filled
from sparse_continual.streams.source import Source
from sparse_continual.streams.tasks import SPLITS, Task, make_split, whole

FILES = ("labels.json", "train.json", "test.json")
CUES = {"SC": "\nSentiment:", "TC": "\nTopic:", "NLI": "\nRelation:", "WiC": "\nSame meaning:"}
CUE = "\nAnswer:"
UNLABELLED = ("-", "-1", -1)  # SNLI and MNLI: no label had a majority; GLUE and SuperGLUE: withheld
COUNTED = ("cut", "dropped", "marks", "control")

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["folder", "tasks"],
    "properties": {
        "folder": {
            "type": "string",
            "description": "The benchmark: CATEGORY/NAME/{train,test,labels}.json below it; ~ is the home.",
        },
        "tasks": {
            "type": "array",
            "items": {"type": "string"},
            "minItems": 1,
            "uniqueItems": True,
            "description": "NAME of each task, or CATEGORY/NAME if two categories have that name.",
        },
        "train_items": {
            "type": "integer",
            "minimum": 1,
            "default": 1000,
            "description": "Greatest number of items per task.",
        },
        "validation_items": {
            "type": "integer",
            "minimum": 1,
            "default": 200,
            "description": "Items taken from the training file, at most a fifth of it.",
        },
        "test_items": {
            "type": "integer",
            "minimum": 1,
            "default": 500,
            "description": "Greatest number of items per task.",
        },
        "max_tokens": {
            "type": "integer",
            "minimum": 8,
            "default": 128,
            "description": "Longest row, from start token to answer.",
        },
        "overflow": {
            "enum": ["error", "truncate_input", "drop"],
            "default": "error",
            "description": "What to do with longer items: stop, cut the end of the sentence, or drop the item.",
        },
        # no default here: results must keep the names that they had before this key existed
        "unlabelled": {
            "enum": ["drop", "error"],
            "description": 'Items whose label is -, -1 or "-1", the marks of SNLI, MNLI, GLUE and SuperGLUE for items '
            "without a gold label: drop them (the default), or stop.",
        },
    },
}


def task_names(settings: dict) -> list[str]:
    return [name.rsplit("/", 1)[-1] for name in settings["tasks"]]


def sizes(settings: dict, role: str = "stream") -> dict:
    """Upper bounds; an answer has at most as many tokens as its label has bytes, and half the row."""
    settings = filled(SCHEMA, settings)
    longest = max(
        len(label.encode()) for task in settings["tasks"] for label in _labels(_folder(settings, task))
    )
    return {
        "train_items": settings["train_items"],
        "row_tokens": settings["max_tokens"],
        "test_items": settings["test_items"],
        "answer_tokens": min(longest, settings["max_tokens"] // 2),
    }


def check(settings: dict, role: str = "stream") -> None:
    """Read every file: missing, malformed, unlabelled or empty content is an error that names its place."""
    settings = filled(SCHEMA, settings)
    if role == "base":
        raise UserError(
            "cl_benchmark: not a source of a base's mixture; use it as a stream, or use text for the mixture"
        )
    names = task_names(settings)
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"cl_benchmark: two tasks are called {name}; a stream can have only one of them")
    for task in settings["tasks"]:
        folder = _folder(settings, task)
        labels = _labels(folder)
        for file in ("train.json", "test.json"):
            _items(folder / file, labels, settings.get("unlabelled", "drop"))


def fingerprint(settings: dict) -> dict:
    paths = [_folder(settings, task) / file for task in settings["tasks"] for file in FILES]
    root = given_path(settings["folder"])
    return {path.relative_to(root).as_posix(): digest_of_given(path) for path in paths}


def build(settings: dict, seed: int, tokenizer, role: str = "stream") -> list:
    from sparse_continual.streams.encode import Encoder

    check(settings, role)
    settings, encoder = filled(SCHEMA, settings), Encoder(tokenizer, settings)
    return [
        _task(name, settings, task, seed, encoder)
        for name, task in zip(task_names(settings), settings["tasks"], strict=True)
    ]


def _folder(settings: dict, task: str) -> Path:
    """The folder of a task given as NAME or CATEGORY/NAME."""
    root = given_path(settings["folder"])
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; expected the benchmark's CATEGORY/NAME folders in it")
    known = {f"{path.parent.name}/{path.name}": path for path in sorted(root.glob("*/*")) if path.is_dir()}
    fitting = [name for name in known if task in (name, name.split("/")[1])]
    if len(fitting) > 1:
        raise UserError(
            f"{root}: task {task!r} is ambiguous between {' and '.join(fitting)}; write CATEGORY/NAME"
        )
    if not fitting:
        close = nearest(task, [*known, *(name.split("/")[1] for name in known)])
        raise UserError(f"{root}: no task {task!r}{close}; there are {', '.join(known) or 'none'}")
    return known[fitting[0]]


def _labels(folder: Path) -> list[str]:
    labels = read_json(folder / "labels.json")
    if not isinstance(labels, list) or not all(isinstance(label, str) and label.strip() for label in labels):
        raise UserError(f"{folder / 'labels.json'}: expected a list of label texts, found {str(labels)[:60]}")
    for label in labels:
        _refuse_surrogates(label, f"{folder / 'labels.json'}: label {label!a}")
    if len({label.strip() for label in labels}) != len(labels) or len(labels) < 2:
        raise UserError(f"{folder / 'labels.json'}: expected two or more different labels, found {labels}")
    return labels


def _items(path: Path, labels: list[str], unlabelled: str) -> tuple[list[tuple[int, str, int]], int]:
    """([(number in the file, sentence, index of its label)] of the items of a file, number of unlabelled ones)."""
    items = read_json(path)
    if not isinstance(items, list):
        raise UserError(f"{path}: expected a list of items, found {type(items).__name__}")
    if not items:
        raise UserError(f"{path}: the task is empty; expected at least one item with label and sentence")
    known = {label: number for number, label in enumerate(labels)}
    kept, left_out = [], 0
    for number, item in enumerate(items):
        where = f"{path}: item {number}"
        if not isinstance(item, dict):
            raise UserError(f"{where}: found {item!r:.60}, expected an object with label and sentence")
        label, sentence = item.get("label"), item.get("sentence")
        if not isinstance(sentence, str) or not sentence.strip():
            raise UserError(f"{where} has no sentence: {_found(item, 'sentence')}")
        _refuse_surrogates(sentence, where)
        if label in UNLABELLED and label not in known:
            if unlabelled == "error":
                raise UserError(
                    f"{where}: label {label!r} marks a missing gold label; remove the item, or set unlabelled: drop"
                )
            left_out += 1
            continue
        if not isinstance(label, str) or not label.strip():
            raise UserError(f"{where} has no label: {_found(item, 'label')}")
        if label not in known:
            raise UserError(
                f"{where}: label {label!a} is not in labels.json"
                f"{nearest(label, labels)}; there are {', '.join(labels)}"
            )
        kept.append((number, sentence.strip(), known[label]))
    if not kept:
        raise UserError(f"{path}: none of the {left_out} items has a gold label; expected at least one")
    return kept, left_out


def _found(item: dict, key: str) -> str:
    if key not in item:
        return f"found the keys {', '.join(map(str, item)) or 'none'}; expected text under label and sentence"
    return f"found {item[key]!r:.60}; expected text under label and sentence"


def _refuse_surrogates(text: str, where: str) -> None:
    """Raise UserError for half of a surrogate pair: JSON can hold one, but it is not a character."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise UserError(
            f"{where}: character {error.start} is {half}, half of a surrogate pair, which no tokenizer reads; write "
            "the whole character, or remove it"
        ) from None


def _pools(folder: Path, labels: list[str], settings: dict, seed: int, name: str) -> tuple[dict, dict]:
    """({split: [(number in its file, sentence, label)]} in random order, facts on the left-out items)."""
    (train, no_train), (test, no_test) = (
        _items(folder / file, labels, settings.get("unlabelled", "drop"))
        for file in ("train.json", "test.json")
    )
    test_sentences = {sentence for _, sentence, _ in test}
    single = []
    for item in train:
        if item[1] not in test_sentences:
            test_sentences.add(item[1])
            single.append(item)
    rng = np.random.default_rng(seed_of("cl_benchmark", seed, name))
    single = [single[i] for i in rng.permutation(len(single))]
    test_items = [test[i] for i in rng.permutation(len(test))]
    held = min(settings["validation_items"], max(1, len(single) // 5))
    pools = {"validation": single[:held], "train": single[held:], "test": test_items}
    left_out = {
        "repeated": len(train) - len(single),
        "unlabelled": {"train": no_train, "test": no_test},
    }
    return pools, left_out


def _task(name: str, settings: dict, task: str, seed: int, encoder):
    from sparse_continual.streams.encode import Handled, options_split, refuse_alike

    folder = _folder(settings, task)
    labels = _labels(folder)
    refuse_alike({label: encoder.answer(label) for label in labels}, f"task {name}: {folder / 'labels.json'}")
    pools, facts = _pools(folder, labels, settings, seed, name)
    splits, facts = {}, {**{key: {} for key in COUNTED}, **facts}
    for split in SPLITS:
        chosen = pools[split][: settings[f"{split}_items"]]
        file = folder / ("test.json" if split == "test" else "train.json")
        handled = Handled(settings["max_tokens"], settings["overflow"])
        if chosen:
            numbers, sentences, correct = zip(*chosen, strict=True)
            splits[split] = options_split(
                encoder, list(sentences), CUES.get(folder.parent.name, CUE), labels, list(correct),
                [f"{file}: item {number}" for number in numbers], handled, only_right=split == "train",
            )  # fmt: skip
        else:
            splits[split] = make_split([], [], [], [])
        for key in COUNTED:
            facts[key][split] = getattr(handled, key)
    return Task(name, "options", parts=whole(1 / len(labels)), facts=facts, **splits)


SOURCE = Source(task_names=task_names, sizes=sizes, check=check, fingerprint=fingerprint, build=build)

"""A task on disk and in memory: token rows, and the part of each row that is predicted and counted."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sparse_continual.errors import UserError
from sparse_continual.files import read_json, write, write_json
from sparse_continual.registry import nearest

SPLITS = ("train", "validation", "test")
# facts of a task about its items: cut, dropped as too long, left out without a gold label; marks of control tokens that
# were read as plain text, and those that stayed control tokens
HANDLING = ("cut", "dropped", "unlabelled", "marks", "control")
NARROW = 127  # most parts whose numbers are stored as int8


@dataclass(eq=False)
class Split:
    """Rows of tokens, end to end, grouped into items.

    tokens  int32[total]   all rows, one after the other
    starts  int64[rows+1]  row i is tokens[starts[i]:starts[i+1]]
    answers int32[rows]    index inside the row of the first token that is predicted and counted, >= 1
    items   int32[rows]    non-decreasing item number of each row; rows of one item are its options in order
    correct int32[items]   which of the item's rows is right; 0 for one-row items
    parts   int32[items]   index into Task.parts
    """

    tokens: np.ndarray
    starts: np.ndarray
    answers: np.ndarray
    items: np.ndarray
    correct: np.ndarray
    parts: np.ndarray

    def __len__(self) -> int:
        """Number of items."""
        return len(self.correct)

    @property
    def rows(self) -> int:
        return len(self.answers)

    def row(self, i: int) -> np.ndarray:
        """Tokens of row `i`, int32."""
        return self.tokens[self.starts[i] : self.starts[i + 1]]


def make_split(rows, answers, items=None, correct=None, parts=None) -> Split:
    """A Split from token sequences; by default one row per item, all of them of part 0."""
    count = len(rows)
    items = np.arange(count) if items is None else items
    total = count if correct is None else len(correct)
    lengths = np.fromiter((len(row) for row in rows), np.int64, count)
    return Split(
        tokens=np.concatenate([np.asarray(row, np.int32) for row in rows])
        if count
        else np.zeros(0, np.int32),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        answers=np.asarray(answers, np.int32),
        items=np.asarray(items, np.int32),
        correct=np.zeros(total, np.int32) if correct is None else np.asarray(correct, np.int32),
        parts=np.zeros(total, np.int32) if parts is None else np.asarray(parts, np.int32),
    )


def concatenate(splits: list[Split]) -> Split:
    """One Split of all rows in order; the parts keep their numbers."""
    tokens = np.cumsum([0] + [len(s.tokens) for s in splits])
    items = np.cumsum([0] + [len(s) for s in splits])
    return Split(
        tokens=np.concatenate([s.tokens for s in splits]),
        starts=np.concatenate(
            [[0], *(s.starts[1:] + shift for s, shift in zip(splits, tokens[:-1], strict=True))]
        ).astype(np.int64),
        answers=np.concatenate([s.answers for s in splits]),
        items=np.concatenate([s.items + shift for s, shift in zip(splits, items[:-1], strict=True)]).astype(
            np.int32
        ),
        correct=np.concatenate([s.correct for s in splits]),
        parts=np.concatenate([s.parts for s in splits]),
    )


@dataclass(eq=False)
class Task:
    """One task of a stream, or the retention task of a base.

    kind: how an item is judged.
      exact    right if every answer token is the most probable one (teacher forcing)
      options  right if its right row has the highest mean log-probability of answer tokens, 1 / k right if k rows
             share it; all items have the same number of rows, and rows of an item share their tokens before `answers`
      tokens   the share of the row's tokens from `answers` on that are the most probable ones
    Training splits have one row per item: the right one.
    parts: list of {name, chance, ceiling}; a task with one kind of item has the one part "all".
    facts: known facts of the task: entropy, bits to store, and the handling of its items or text (HANDLING).
    """

    name: str
    kind: str
    train: Split
    validation: Split
    test: Split
    parts: list[dict]
    facts: dict = field(default_factory=dict)

    @property
    def chance(self) -> float:
        """Score of an uninformed guess, weighted by the items of the test split."""
        return self._over_test("chance")

    @property
    def ceiling(self) -> float:
        """Best possible score, weighted by the items of the test split."""
        return self._over_test("ceiling")

    def _over_test(self, key: str) -> float:
        return float(np.mean(np.array([part[key] for part in self.parts])[self.test.parts]))


def whole(chance: float, ceiling: float = 1.0) -> list[dict]:
    """The parts of a task with one kind of item."""
    return [{"name": "all", "chance": chance, "ceiling": ceiling}]


def merged(tasks: list[Task]) -> Task:
    """One task "base" of all items of `tasks`, which become its parts; they have one kind and one part each.

    Its facts are the sums of the counts in HANDLING.
    """
    parts = [{**task.parts[0], "name": task.name} for task in tasks]
    splits = {split: concatenate([getattr(task, split) for task in tasks]) for split in SPLITS}
    for split, rows in splits.items():
        counts = [len(getattr(task, split)) for task in tasks]
        rows.parts = np.repeat(np.arange(len(tasks), dtype=np.int32), counts)
    kept = [key for key in HANDLING if any(key in task.facts for task in tasks)]
    facts = {key: sum(task.facts.get(key, 0) for task in tasks) for key in kept}
    return Task("base", tasks[0].kind, parts=parts, facts=facts, **splits)


def save_tasks(folder, tasks: list[Task]) -> None:
    """Write folder/<name>/{train,validation,test}.safetensors and, last, folder/tasks.json."""
    from safetensors.numpy import save

    for task in tasks:
        for split in SPLITS:
            tensors = {key: np.ascontiguousarray(value) for key, value in vars(getattr(task, split)).items()}
            if len(task.parts) <= NARROW:
                tensors["parts"] = tensors["parts"].astype(np.int8)
            write(Path(folder) / task.name / f"{split}.safetensors", save(tensors))
    keys = ("name", "kind", "parts", "chance", "ceiling", "facts")
    write_json(Path(folder) / "tasks.json", [{key: getattr(task, key) for key in keys} for task in tasks])


def load_tasks(folder, names: list[str] | None = None) -> list[Task]:
    """The tasks called `names`, in that order; all in their stored order when `names` is None.

    Raises UserError naming the folder for a missing task.
    """
    stored = {entry["name"]: entry for entry in read_json(Path(folder) / "tasks.json")}
    tasks = []
    for name in stored if names is None else names:
        if name not in stored:
            raise UserError(
                f"{folder}: no task {name!r}{nearest(name, stored)}; there are {', '.join(stored)}"
            )
        splits = {s: _load_split(Path(folder) / name / f"{s}.safetensors") for s in SPLITS}
        entry = stored[name]
        tasks.append(Task(name, entry["kind"], parts=entry["parts"], facts=entry["facts"], **splits))
    return tasks


def _load_split(path: Path) -> Split:
    from safetensors.numpy import load_file

    split = Split(**load_file(path))
    split.parts = split.parts.astype(np.int32)
    if split.parts.min(initial=0) < 0:
        raise UserError(
            f"{path}: part numbers overflow, because an older version stored more than {NARROW} parts as int8; "
            "delete the folder of this stream and rerun"
        )
    return split

"""The rows of scores.csv of one model: all tasks of the stream, future ones too, and the base's mixture."""

import numpy as np

from sparse_continual.streams.measure import measure

COLUMNS = ("after", "task", "position", "part", "score", "loss", "items", "chance", "ceiling")
BASE = "base"


def score(model, after: int, tasks: list, mixture: list, settings: dict) -> list[dict]:
    """Score `model`, as it is after task number `after` (0: before the stream), on test splits.

    tasks: in the block's order; mixture: retention tasks of the base, [] when it declares none.
    Returns one row per task and part (COLUMNS); position 0 and task "base" for the mixture, whose
    entries are averaged.
    """
    rows = [
        row for i, task in enumerate(tasks, 1) for row in _rows(model, task, after, i, task.name, settings)
    ]
    found = [_rows(model, task, after, 0, BASE, settings)[0] for task in mixture]
    if found:
        mean = {
            key: float(np.mean([row[key] for row in found])) for key in ("score", "loss", "chance", "ceiling")
        }
        rows.append({**found[0], **mean, "items": sum(row["items"] for row in found)})
    return rows


def _rows(model, task, after, position, name, settings) -> list[dict]:
    """The row of all items, then one for each part where the task has several."""
    measured = measure(model, task, "test", settings["batch_size"])
    groups = [("all", np.ones(len(task.test), bool), task.chance, task.ceiling)]
    if len(task.parts) > 1:
        groups += [
            (part["name"], task.test.parts == number, part["chance"], part["ceiling"])
            for number, part in enumerate(task.parts)
        ]
    return [
        {
            "after": after,
            "task": name,
            "position": position,
            "part": part,
            "score": float(measured.score[inside].mean()),
            "loss": float(measured.loss[inside].mean()),
            "items": int(inside.sum()),
            "chance": chance,
            "ceiling": ceiling,
        }
        for part, inside, chance, ceiling in groups
    ]

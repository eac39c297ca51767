"""The rows of scores.csv of one model: all tasks of the stream, future ones too, and the base's mixture.

Also the scores of single items, which give the variance of drawing items, and, if a study asks for them, the scores of
options without their prior.
"""

import numpy as np

from sparse_continual.csv_text import csv_text
from sparse_continual.scores.calibrate import calibrated
from sparse_continual.scores.tables import CALIBRATED, ITEMS, SCORES
from sparse_continual.training.measure import measure

TABLES = {table.name: table.names[2:] for table in (SCORES, ITEMS, CALIBRATED)}  # of one run
BASE = "base"


def score(view, after: int, tasks: list, mixture: list, settings: dict) -> dict:
    """Score a model after task number `after` (0: before the stream) on test splits.

    view(task number from 0, or None): context manager that gives the model as it answers (Mechanism.view); tasks: in
    the block's order; mixture: retention tasks of the base, [] when it declares none; settings: the study's scoring.

    Returns {name of a table: its rows, with the columns in TABLES}. `scores` has one row per task and part;
    position 0 and task "base" for the mixture, whose entries are averaged. `items` has one row per task of
    the stream, with the score of every test item in the order of the split. `calibrated` exists if
    settings.calibrated_options is true, for tasks of kind options.
    """
    tables = {"scores": [], "items": []} | ({"calibrated": []} if settings["calibrated_options"] else {})
    for position, task in enumerate(tasks, 1):
        place = {"after": after, "task": task.name, "position": position}
        with view(position - 1) as model:
            measured = measure(model, task, "test", settings["batch_size"])
            if settings["calibrated_options"] and task.kind == "options":
                tables["calibrated"] += _rows(task, calibrated(model, task, settings["batch_size"]), place)
        tables["scores"] += _rows(task, measured, place)
        tables["items"].append({**place, "scores": " ".join(f"{one:.4g}" for one in measured.score)})
    place = {"after": after, "task": BASE, "position": 0}
    with view(None) as model:
        scored = [
            _rows(task, measure(model, task, "test", settings["batch_size"]), place)[0] for task in mixture
        ]
    if scored:
        mean = {
            key: float(np.mean([row[key] for row in scored]))
            for key in ("score", "loss", "chance", "ceiling")
        }
        tables["scores"].append({**scored[0], **mean, "items": sum(row["items"] for row in scored)})
    return tables


def texts(scored: list[dict]) -> dict[str, str]:
    """{name of a table: its CSV text} from the results of `score`, position by position."""
    return {
        name: csv_text([row for tables in scored for row in tables[name]], TABLES[name]) for name in scored[0]
    }


def _rows(task, measured, place: dict) -> list[dict]:
    """The row of all items, then one for each part if the task has several."""
    groups = [("all", np.ones(len(task.test), bool), task.chance, task.ceiling)]
    if len(task.parts) > 1:
        groups += [
            (part["name"], task.test.parts == number, part["chance"], part["ceiling"])
            for number, part in enumerate(task.parts)
        ]
    return [
        {
            **place,
            "part": part,
            "score": float(measured.score[inside].mean()),
            "loss": float(measured.loss[inside].mean()),
            "items": int(inside.sum()),
            "chance": chance,
            "ceiling": ceiling,
        }
        for part, inside, chance, ceiling in groups
    ]

"""What `snakemake plan` prints: what is planned, what it costs, and what the data lost on the way in."""

import csv

from sparse_continual.budgets.price import table
from sparse_continual.files import read_json, read_manifest


def plan_text(study, budget, streams: list) -> str:
    """The plan of `study` as plain text.

    budget: path of budget.csv; streams: manifest of the first block's tasks of every stream.
    """
    parts = []
    rows = _rows(budget)
    for name, manifest in zip(study.streams, streams, strict=True):
        parts += [
            f"Study {study.name}, stream {name}: {len(study.conditions)} conditions x {len(study.blocks)} blocks x "
            f"{len(study.tasks(name))} tasks; {len(study.tuning_blocks)} tuning blocks, "
            f"{len(study.study['tuning']['learning_rates'])} learning rates each.",
            "",
            table([row for row in rows if row["stream"] == name]),
            "",
            *_losses(read_manifest(manifest)["folder"]),
            *(f"Block {block}: {' > '.join(study.order(name, block))}" for block in study.blocks),
            "",
        ]
    return "\n".join(parts)


def _rows(path) -> list[dict]:
    """Rows of budget.csv, numbers as numbers."""
    with open(path, encoding="utf-8", newline="") as handle:
        return [{key: _number(value) for key, value in row.items()} for row in csv.DictReader(handle)]


def _number(text: str):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _losses(folder) -> list[str]:
    """One line per task whose items were cut, dropped or left out, as its source counted them."""
    lines = []
    for task in read_json(folder / "tasks.json"):
        counted = {key: value for key, value in task["facts"].items() if "cut" in key or "drop" in key}
        if counted:
            lines.append(
                f"Task {task['name']} (block 1): " + ", ".join(f"{k} {v}" for k, v in counted.items())
            )
    return [*lines, ""] if lines else []

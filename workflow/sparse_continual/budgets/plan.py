"""What `snakemake plan` prints: what is planned, what it costs and can show, and what the data lost on the way in."""

import csv

from sparse_continual.budgets.arithmetic import Shape, forward_flops, training_flops
from sparse_continual.budgets.price import STEP_SECONDS, hours, number, table
from sparse_continual.files import read_json, read_manifest

WORDS = ("stream", "condition", "base", "topology", "pattern", "shape", "matched_to", "matched_on")


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
    return "\n".join([*parts, _preparation(study), "", *_power(study)])


def _preparation(study) -> str:
    """What is trained before any stream: pretraining and recovery, each model once; teachers apart."""
    trainings = [phase | _phase_costs(phase) for phase in study.preparation()]
    total = sum(phase["hours"] for phase in trainings)
    count = f"{len(trainings)} trainings of bases (pretraining, recovery)"
    lines = [f"Before the streams: {count}, {total:.2f} hours of one worker."]
    taught = [phase for phase in trainings if phase["teacher"]]
    if taught:
        flops, total = (sum(phase[key] for phase in taught) for key in ("teacher_flops", "teacher_hours"))
        lines.append(
            f"Beside them the forward passes of the teachers of {len(taught)} recoveries: {number(flops)}FLOP, "
            f"{total:.2f} hours."
        )
    return "\n".join(lines)


def _phase_costs(phase: dict) -> dict:
    """hours of a training, and FLOPs and hours of a teacher's forward passes over the same rows."""
    shape, tokens = Shape(**phase["shape"]), phase["batch_size"] * phase["row_tokens"]
    forward = forward_flops(shape, phase["row_tokens"])["total"] * tokens
    return {
        "hours": hours(
            phase["steps"], training_flops(shape, phase["row_tokens"], ends_trained=True) * tokens
        ),
        "teacher_flops": phase["steps"] * forward,
        # as of the FLOPs, a third of a step's fixed time; at tiny size 0.4 of a step was measured in all
        "teacher_hours": hours(phase["steps"], forward, step_seconds=STEP_SECONDS / 3),
    }


def _power(study) -> list[str]:
    """What the planned blocks can show of the study's claims."""
    from sparse_continual.statistics.findings import power_rows
    from sparse_continual.statistics.registration import in_words, path_of, pilot_of

    design = {
        "claims": study.claims,
        "contrasts": study.contrasts,
        "statistics": study.study["statistics"],
        "bases": study.bases(),
        "pilot": pilot_of(path_of(study.name)),
    }
    rows = power_rows(design)
    return (
        in_words({"design": design, "power": rows})
        if rows
        else ["No claim is tested, so no power is planned."]
    )


def _rows(path) -> list[dict]:
    """Rows of budget.csv, numbers as numbers; names stay text, whatever they look like."""
    with open(path, encoding="utf-8", newline="") as handle:
        return [
            {key: value if key in WORDS or not value else float(value) for key, value in row.items()}
            for row in csv.DictReader(handle)
        ]


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

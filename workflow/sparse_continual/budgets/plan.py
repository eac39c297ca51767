"""The output of `snakemake plan`: the design, its costs, its power, and the items lost when data were built."""

import csv
from pathlib import Path

from sparse_continual.budgets.demand import preparation, priced, prunings
from sparse_continual.budgets.made import declared
from sparse_continual.budgets.price import STEP_SECONDS, hours, price, table, unknown_flops
from sparse_continual.budgets.pruning import making
from sparse_continual.errors import UserError
from sparse_continual.files import read_json
from sparse_continual.integrity import STORE, read_manifest, verified
from sparse_continual.show import aligned, number
from sparse_continual.streams.tasks import HANDLING
from sparse_continual.training.arithmetic import Shape, forward_flops, training_flops

DECLARED = " declared"
UNCOUNTED = "declared: as in the registry of published checkpoints, until it is counted in the weights."
WORDS = ("stream", "condition", "base", "topology", "pattern", "shape", "matched_to", "matched_on")


def plan_text(study, budget=None, streams=()) -> str:
    """The plan of `study` as plain text.

    budget: path of budget.csv; streams: for every stream, the manifest of the first block's tasks. Without them,
    models that are not downloaded are priced by their declarations, and marked so.
    """
    parts = [*_downloads(study)]
    rows = _rows(verified(budget)) if budget else _declared(study)
    for place, name in enumerate(study.streams):
        stream_rows = [row for row in rows if row["stream"] == name]
        unknown = [
            condition
            for condition in study.conditions
            if condition not in [r["condition"] for r in stream_rows]
        ]
        parts += [
            f"Study {study.name}, stream {name}: {len(study.conditions)} conditions x {len(study.blocks)} blocks x "
            f"{len(study.tasks(name))} tasks; {len(study.tuning_blocks)} tuning blocks, "
            f"{len(study.study['tuning']['learning_rates'])} learning rates each.",
            "",
            *([table(stream_rows), ""] if stream_rows else []),
            *_unknown(study),
            *([UNCOUNTED, ""] if any(row["pattern"].endswith(DECLARED) for row in stream_rows) else []),
            *_at_most(study, stream_rows),
            *(
                [f"Not priced before their checkpoint is downloaded: {', '.join(unknown)}.", ""]
                if unknown
                else []
            ),
            *(_losses(read_manifest(streams[place])["folder"]) if budget else []),
            *(f"Block {block}: {' > '.join(study.order(name, block))}" for block in study.blocks),
            "",
        ]
    return "\n".join(
        [*parts, _preparation(preparation(study)), "", *_methods(prunings(study)), *_power(study)]
    )


def _unknown(study) -> list[str]:
    """One line with the reason for every base whose FLOPs are not known; then an empty line."""
    bases = dict.fromkeys(study.condition(name)["base"] for name in study.conditions)
    lines = [
        f"Base {base}: FLOPs and hours are not known, shown as ?, because {why}."
        for base in bases
        for why in unknown_flops(study.base_shape(base))
    ]
    return [*lines, ""] if lines else []


def _at_most(study, rows: list[dict]) -> list[str]:
    """A note on nonzeros that are an upper bound: N:M, heads or channels, on a base that may already be sparse."""
    bounded = []
    for row in rows:
        pattern = study.config["topologies"][row["topology"]].get("pattern", "dense")
        if not study.generated(row["condition"]) and pattern not in ("dense", "unstructured"):
            bounded.append(row["condition"])
    if not bounded:
        return []
    return [
        f"Nonzeros are upper bounds: {', '.join(bounded)}. Weights that the base lacks already stay absent, also in "
        "groups of N:M and in kept heads and channels.",
        "",
    ]


def _downloads(study) -> list[str]:
    """Downloads, planned or done: size, licence, gating, whether a token exists, and the free disk space."""
    lines, needed, written = [("base", "repository", "commit", "size", "licence", "gated", "state")], {}, []
    first = {study.condition(name)["base"]: name for name in reversed(study.conditions)}
    for base, condition in reversed(first.items()):
        exists = Path(study.model(condition, study.blocks[0]).manifest).exists()
        for one in study.downloads(base):
            gated = {True: "yes", False: "no", None: "not known"}[one["gated"]]
            state = "in the cache" if one["cached"] else "to be downloaded"
            cells = [_bytes([one["bytes"]]), one["licence"] or "not stated", gated, state]
            lines.append((base, one["repo"], one["revision"][:8], *cells))
            written.append(0 if exists else one["written"])
            needed[one["repo"], one["revision"]] = one
    if not needed:
        return []
    free = next(iter(needed.values()))["free"]
    lacking = [one for one in needed.values() if not one["cached"]]
    copies = f", {_bytes(written)} to write into {STORE}" if any(size != 0 for size in written) else ""
    output = [
        "Downloads. A plan downloads nothing; `snakemake download` fetches everything that is not in the cache.",
        *aligned(lines, left=(0, 1, 2, 4, 5, 6)),
        f"Disk: {_bytes([one['bytes'] for one in lacking])} to download into the cache, where {number(free)}B are "
        f"free{copies}.",
    ]
    if any(one["token"] for one in needed.values()):
        output.append("Token: found.")
    elif any(one["gated"] for one in lacking):
        output.append("Token: none, but gated repositories need one: run `hf auth login`, or set HF_TOKEN.")
    else:
        output.append("Token: none; as far as is known, none is needed.")
    return [*output, ""]


def _bytes(sizes: list) -> str:
    """The sum of the known sizes."""
    total = f"{number(sum(size or 0 for size in sizes))}B"
    if None not in sizes:
        return total
    return f"at least {total}" if any(sizes) else "not known"


def _declared(study) -> list[dict]:
    """Rows of budget.csv before models are downloaded, for the conditions whose declarations allow a price."""
    facts, rows = study.published(), []
    for stream in study.streams:
        conditions = [
            declared(row, study.shape(row["condition"]), facts.get(row["base"], {}))
            for row in priced(study, stream)
        ]
        conditions = [row for row in conditions if row]
        for row, condition in zip(price(conditions), conditions, strict=True):
            counted = "densities" in condition
            rows.append({"stream": stream, **row, "pattern": row["pattern"] + DECLARED * counted})
    return rows


def _preparation(phases: list[dict]) -> str:
    """Trainings before any stream: pretraining and recovery, each model once; teachers separately."""
    trainings = [phase | _phase_costs(phase) for phase in phases if phase["shape"]]
    total = sum(phase["hours"] or 0 for phase in trainings)
    count = f"{len(trainings)} trainings of bases (pretraining, recovery)"
    unknown = sum(phase["hours"] is None for phase in trainings)
    without = f", without {unknown} whose FLOPs are not known" if unknown else ""
    lines = [f"Before the streams: {count}, {total:.2f} hours of one worker{without}."]
    taught = [phase for phase in trainings if phase["teacher"] and phase["hours"] is not None]
    if taught:
        flops, total = (sum(phase[key] for phase in taught) for key in ("teacher_flops", "teacher_hours"))
        lines.append(
            f"In addition, forward passes of the teachers of {len(taught)} recoveries: {number(flops)}FLOP, "
            f"{total:.2f} hours."
        )
    return "\n".join(lines)


def _phase_costs(phase: dict) -> dict:
    """hours of a training, and FLOPs and hours of a teacher's forward passes over the same rows; None if not known."""
    shape, tokens = Shape(**phase["shape"]), phase["batch_size"] * phase["row_tokens"]
    try:
        forward = forward_flops(shape, phase["row_tokens"])["total"] * tokens
        training = training_flops(shape, phase["row_tokens"], ends_trained=True) * tokens
    except UserError:
        return dict.fromkeys(("hours", "teacher_flops", "teacher_hours"))
    return {
        "hours": hours(phase["steps"], training),
        "teacher_flops": phase["steps"] * forward,
        # a forward pass is a third of a step's FLOPs, and of its fixed time; at tiny size 0.4 of a step was measured
        "teacher_hours": hours(phase["steps"], forward, step_seconds=STEP_SECONDS / 3),
    }


def _methods(topologies: list[dict]) -> list[str]:
    """The cost of the pruning methods: a row per topology, and the total."""
    lines, total, unknown = (
        [("topology", "base", "method", "models", "forward", "backward", "FLOP each", "FLOP")],
        0,
        0,
    )
    for row in topologies:
        if not row["shape"]:
            continue
        cost = making(shape=Shape(**row["shape"]), **row["making"])
        known = cost["method_flops"] is not None
        flops = row["models"] * cost["method_flops"] if known else None
        total, unknown = total + (flops or 0), unknown + (not known)
        counts = [number(value) for value in (row["models"], *cost.values(), flops)]
        lines.append((row["topology"], row["base"], row["making"]["topology"]["method"], *counts))
    if len(lines) == 1:
        return []
    return [
        "Methods. Tokens that pass forward and backward through the blocks of one model while its topology is made,",
        "rows at their greatest length, and FLOPs of these passes alone; not in the hours above.",
        *aligned(lines, left=(0, 1, 2)),
        f"Together: {number(total)}FLOP{f', without {unknown} that are not known' if unknown else ''}.",
        "",
    ]


def _power(study) -> list[str]:
    """The power of the planned blocks for the study's claims."""
    from sparse_continual.verdicts.findings import power_rows
    from sparse_continual.verdicts.registration import in_words, path_of, pilot_of

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
    """Rows of budget.csv; numbers as numbers, None if not known; names stay text, even if they look like numbers."""
    with open(path, encoding="utf-8", newline="") as handle:
        return [
            {key: value if key in WORDS else float(value) if value else None for key, value in row.items()}
            for row in csv.DictReader(handle)
        ]


def _losses(folder) -> list[str]:
    """One line per task whose source counted changes of its items."""
    lines = []
    for task in read_json(folder / "tasks.json"):
        counted = {key: task["facts"][key] for key in HANDLING if key in task["facts"]}
        if counted:
            lines.append(
                f"Task {task['name']} (block 1): " + ", ".join(f"{k} {v}" for k, v in counted.items())
            )
    return [*lines, ""] if lines else []

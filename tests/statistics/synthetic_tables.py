"""Tables of a made-up study, in the shapes that the earlier stages write."""

import csv
from pathlib import Path

import numpy as np
import pandas

from sparse_continual import registry
from sparse_continual.streams.settings import filled

CONDITIONS = (
    "dense sparse unlocked masked_writes matched_nonzeros matched_flops dense_lora sparse_lora dense_replay"
    " sparse_replay"
).split()
CONTRASTS = [
    {"name": "lock", "plus": ["sparse"], "minus": ["unlocked"], "estimand": "lock"},
    {"name": "same_shape", "plus": ["sparse"], "minus": ["dense"], "estimand": "same_shape"},
    {
        "name": "matched_nonzeros",
        "plus": ["sparse"],
        "minus": ["matched_nonzeros"],
        "estimand": "matched_nonzeros",
    },
    {"name": "matched_flops", "plus": ["sparse"], "minus": ["matched_flops"], "estimand": "matched_flops"},
    {"name": "dense_writes", "plus": ["masked_writes"], "minus": ["dense"], "estimand": "writes"},
    {"name": "lora_on_dense", "plus": ["dense_lora"], "minus": ["dense"], "estimand": "stacking"},
    {"name": "lora_on_sparse", "plus": ["sparse_lora"], "minus": ["sparse"], "estimand": "stacking"},
    {
        "name": "lora_interaction",
        "plus": ["sparse_lora", "dense"],
        "minus": ["sparse", "dense_lora"],
        "estimand": "stacking",
    },
]


def matrix(rng, T, learnt, kept, start):
    """R of a run that learns to about `learnt`, and keeps a share `kept` of a gain per later task."""
    R = np.empty((T + 1, T))
    for j in range(1, T + 1):
        top = learnt + 0.03 * rng.standard_normal()
        for i in range(T + 1):
            level = start if i < j else start + (top - start) * kept ** (i - j)
            R[i, j - 1] = np.clip(level + 0.01 * rng.standard_normal(), 0, 1)
    return R


def score_rows(condition, block, R, base, chance=0.05, parts=("all", "memory", "relation")):
    T = R.shape[1]
    for after in range(T + 1):
        yield condition, block, after, "base", 0, "all", base[after], 1.0, 64, chance, 1.0
        for position in range(1, T + 1):
            for part in parts:
                score = R[after, position - 1]
                yield (
                    condition,
                    block,
                    after,
                    f"task{position}",
                    position,
                    part,
                    score,
                    1 - score,
                    96,
                    chance,
                    1.0,
                )


def write(folder, conditions=CONDITIONS, blocks=6, T=6, rates=(5e-4, 1e-3, 2e-3, 4e-3), seed=0):
    """scores, runs, trials and densities (.csv) in `folder`; the first condition is a dense reference."""
    rng, folder = np.random.default_rng(seed), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    scores, runs, trials, densities = [], [], [], []
    for number, condition in enumerate(conditions):
        kept = 0.62 + 0.03 * number
        for block in map(str, range(1, blocks + 1)):
            R = matrix(rng, T, 0.8, kept, 0.1 if number % 2 else 0.2)
            scores += score_rows(condition, block, R, np.linspace(0.9, 0.2 + 0.05 * number, T + 1))
            for j in range(1, T + 1):
                runs.append(
                    (condition, block, j, f"task{j}", 120, "steps", 40_000, 1e-3, 0.4, 50_000, 1.5, 0.1, 0.0)
                )
        picked = 1 if condition == "unlocked" else 2
        for block in ("tuning-1", "tuning-2"):
            for step, rate in enumerate(rates):
                R = matrix(rng, 3, 0.5 + 0.1 * step, 0.9 - 0.1 * step, 0.1)
                for after in range(4):
                    for position in range(1, 4):
                        cell = (f"task{position}", position, R[after, position - 1], 0.5, 0.05, 1.0)
                        trials.append((condition, block, rate, after, *cell, str(step == picked).lower()))
    for block in map(str, range(1, blocks + 1)):
        for layer in range(4):
            for name in "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj".split():
                weight = f"model.layers.{layer}.{name}.weight"
                kept = 1152 + 40 * layer
                densities.append(("sparse_2of4", block, weight, layer, name, 2304, kept, kept / 2304, "2:4"))
    from sparse_continual.statistics import collect

    for name, columns, rows in (
        ("scores", collect.SCORES, scores),
        ("runs", collect.RUNS, runs),
        ("trials", collect.TRIALS, trials),
        ("densities", collect.DENSITIES, densities),
    ):
        with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)
    return folder


def frame(matrices, chance=0.0, ceiling=1.0):
    """A score table from {(condition, block): R}: part `all` alone, a base that loses a tenth a task."""
    rows = []
    for (condition, block), R in matrices.items():
        base = 1 - 0.1 * np.arange(len(R))
        for row in score_rows(condition, block, np.asarray(R), base, chance, parts=("all",)):
            rows.append((*row[:-1], ceiling))
    from sparse_continual.statistics.collect import SCORES

    return pandas.DataFrame(rows, columns=SCORES)


FIGURES = (
    "accuracy_matrices primary_metrics paired_differences learning_frontier stream_curves density".split()
)


def facts(conditions=CONDITIONS, contrasts=CONTRASTS, blocks=6, one_base=False, streams=("people",)):
    """The slice of config that the report shows."""
    settings = {}
    for name in conditions:
        sparse = name.startswith(("sparse", "unlocked"))
        settings[name] = {
            "base": "tiny",
            "topology": "sparse_2of4" if sparse else "dense",
            "mechanism": name.split("_")[1] if name.endswith(("lora", "replay")) else "finetune",
            "locked": name != "unlocked",
            "writes": "masked" if name == "masked_writes" else "all",
        }
        if name == "masked_writes":
            settings[name]["like"] = "sparse_2of4"
        if name.startswith("matched"):
            settings[name]["match"] = {"to": "sparse_2of4", "on": name.split("_")[1]}
    return {
        "study": {
            "name": "made-up",
            "seed": 0,
            "blocks": blocks,
            "streams": list(streams),
            "conditions": list(conditions),
            "training": {"batch_size": 32, "stop": {"steps": 120}, "ends": "frozen"},
            "tuning": {"learning_rates": [5e-4, 1e-3, 2e-3, 4e-3], "blocks": 2, "tasks": 3},
            "statistics": {"level": 0.05, "learning_margin": 0.05},
            "contrasts": contrasts,
        },
        "one_base": one_base,
        "bases": {"tiny": {"source": "hub" if one_base else "generated"}},
        "topologies": {
            "dense": {"method": "dense"},
            "sparse_2of4": {"method": "magnitude", "pattern": "2:4"},
        },
        "mechanisms": {"finetune": {"kind": "finetune"}, "lora": {"kind": "lora", "rank": 8}},
        "streams": {name: {"source": "facts", "tasks": 6, "people": 32} for name in streams},
        "conditions": settings,
        "figures": {
            name: filled(registry.load("figures", name).SCHEMA, {"title": f"Title of {name}"})
            for name in FIGURES
        },
    }


def results(root, facts, T=6, seed=0):
    """A whole results folder of a made-up study, statistics and figures computed by the library."""
    from sparse_continual.figures._draw import draw
    from sparse_continual.statistics.estimate import estimate

    root, study = Path(root), facts["study"]
    root.mkdir(parents=True, exist_ok=True)
    cost = {
        "parameters": 123456,
        "prunable": 92160,
        "nonzeros": 46080,
        "density": 0.5,
        "trained": 46080,
        "tokens_per_run": 184320,
    }
    cost |= {"training_theoretical": 4e5, "training_executed": 6e5}
    cost |= {"buffer_tokens": 0, "buffer_bytes": 0}
    pairs = [(stream, condition) for stream in study["streams"] for condition in study["conditions"]]
    budget = pandas.DataFrame(
        [{"stream": s, "condition": c, **cost, **_match(c), **_buffer(c)} for s, c in pairs]
    )
    budget.to_csv(root / "budget.csv", index=False, lineterminator="\n")
    for number, stream in enumerate(study["streams"]):
        folder = root / stream
        write(folder / "tables", study["conditions"], study["blocks"], T, seed=seed + number)
        blocks = [str(b + 1) for b in range(study["blocks"])]
        orders = [(stream, b, j + 1, f"task{(j + int(b)) % T + 1}") for b in blocks for j in range(T)]
        orders = pandas.DataFrame(orders, columns=["stream", "block", "position", "task"])
        orders.to_csv(folder / "orders.csv", index=False, lineterminator="\n")
        bases = {b: "published" if facts["one_base"] else b for b in blocks}
        estimate(folder / "tables", folder / "statistics", study["contrasts"], 0.05, 0.05, bases)
        for name, settings in facts["figures"].items():
            paths = [folder / f"{table}.csv" for table in registry.load("figures", name).TABLES]
            draw(
                name,
                paths,
                settings,
                [folder / "figures" / f"{name}.{form}" for form in ("svg", "pdf", "png")],
            )
    return root


def _match(condition):
    if condition.startswith("matched"):
        return {"matched_to": "sparse", "matched_on": condition.split("_")[1], "matched_error": 0.004}
    return {"matched_to": "", "matched_on": "", "matched_error": ""}


def _buffer(condition):
    return {"buffer_tokens": 1024, "buffer_bytes": 4096} if condition.endswith("replay") else {}

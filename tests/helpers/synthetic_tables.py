"""Tables of a made-up study, in the shapes that the earlier stages write."""

import csv
from pathlib import Path

import numpy as np

from sparse_continual.pruning.tables import DENSITIES
from sparse_continual.runs.tables import RUNS, TRIALS
from sparse_continual.scores.tables import SCORES

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
    for table, rows in ((SCORES, scores), (RUNS, runs), (TRIALS, trials), (DENSITIES, densities)):
        with open(folder / f"{table.name}.csv", "w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(table.names)
            writer.writerows(rows)
    return folder


def frame(matrices, chance=0.0, ceiling=1.0):
    """A score table from {(condition, block): R}: part `all` alone, a base that loses a tenth a task."""
    rows = []
    for (condition, block), R in matrices.items():
        base = 1 - 0.1 * np.arange(len(R))
        for row in score_rows(condition, block, np.asarray(R), base, chance, parts=("all",)):
            rows.append((*row[:-1], ceiling))
    return SCORES.frame(rows)

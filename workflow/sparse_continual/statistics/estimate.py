"""From the tables of a study to its estimates, tests and verdicts.

Raw scores carry the tests; chance-corrected ones stand beside, as a second scale is no second chance.
The family of a test is: its contrast's family x the two primary metrics.
"""

import math
from pathlib import Path

import numpy as np

from sparse_continual.statistics import contrasts as contrast_rules
from sparse_continual.statistics import matrices, metrics, paired, tables
from sparse_continual.statistics.flags import flags
from sparse_continual.statistics.verdict import verdict

BESIDE = ("fraction_lost", "learning_accuracy", "average_accuracy", "base_retention")


def estimate(
    tables_folder, output_folder, contrasts: list[dict], level: float, margin: float, one_base: bool
) -> None:
    """Write metrics, summary, differences, contrasts, flags and frontier (.csv) to `output_folder`.

    `tables_folder` holds scores.csv, runs.csv and trials.csv. `level` is the two-sided error rate,
    `margin` the learning margin as a share, `one_base` whether all blocks start from one checkpoint.
    """
    scores, runs, trials = (
        tables.read(Path(tables_folder) / f"{n}.csv") for n in ("scores", "runs", "trials")
    )
    contrast_rules.check(contrasts, dict.fromkeys(scores.condition))
    values = metric_table(scores)
    compared = contrast_table(values, contrasts, level, margin, one_base)
    for name, frame in {
        "metrics": values,
        "summary": summary_table(values, level),
        "differences": difference_table(values, contrasts),
        "contrasts": compared,
        "flags": flags(scores, runs),
        "frontier": frontier_table(trials),
    }.items():
        tables.write(Path(output_folder) / f"{name}.csv", frame)


def metric_table(scores):
    """One row per condition, block, part, metric and scale: columns as in columns.py, `metrics`."""
    import pandas

    rows = []
    for entry in matrices.of_stream(scores):
        for name, metric in metrics.OF_MATRIX.items():
            for scale in ("raw", "corrected"):
                rows.append(
                    (entry.condition, entry.block, entry.part, name, scale, metric(getattr(entry, scale)))
                )
    for entry in matrices.of_base(scores):
        for scale in ("raw", "corrected"):
            value = metrics.base_retention(getattr(entry, scale))
            rows.append((entry.condition, entry.block, "all", "base_retention", scale, value))
    return pandas.DataFrame(rows, columns=["condition", "block", "part", "metric", "scale", "value"])


def summary_table(values, level: float):
    """Mean, SD and t interval over blocks of every condition, part, metric and scale."""
    import pandas

    keys = ["condition", "part", "metric", "scale"]
    rows = []
    for key, group in values.groupby(keys, sort=False):
        defined = group.value.dropna().to_numpy()
        rows.append((*key, *_describe(defined, level), _note(defined, len(group))))
    return pandas.DataFrame(rows, columns=[*keys, "n", "mean", "sd", "lower", "upper", "note"])


def difference_table(values, contrasts):
    """The paired difference of every block, for every contrast, metric and scale."""
    import pandas

    rows = []
    for contrast in contrasts:
        for metric in (*metrics.PRIMARY, *BESIDE):
            for scale in ("raw", "corrected"):
                found = _differences(values, contrast, metric, scale)
                rows += [
                    (contrast["name"], contrast["family"], metric, scale, b, d) for b, d in found.items()
                ]
    return pandas.DataFrame(rows, columns=["contrast", "family", "metric", "scale", "block", "difference"])


def contrast_table(values, contrasts, level: float, margin: float, one_base: bool):
    """Every contrast on every metric: tested and judged on the primaries, described on the others."""
    import pandas

    rows = []
    for contrast in contrasts:
        learning = list(_differences(values, contrast, "learning_accuracy", "raw").values())
        bound = paired.lower_bound(learning, level)
        gate = {
            "learning_difference": float(np.mean(learning)),
            "learning_lower": bound,
            "gate_passed": bool(bound > -margin),
        }
        shared = {
            "contrast": contrast["name"],
            "family": contrast["family"],
            "plus": " + ".join(contrast["plus"]),
            "minus": " + ".join(contrast["minus"]),
            "bases": "one for all blocks" if one_base else "one per block",
            "level": level,
            "margin": margin,
        }
        tests = len(metrics.PRIMARY) * sum(other["family"] == contrast["family"] for other in contrasts)
        for metric in (*metrics.PRIMARY, *BESIDE):
            found = list(_differences(values, contrast, metric, "raw").values())
            if not found:
                continue
            row = {**shared, "metric": metric, "role": "beside", **gate, **_compare(found, level)}
            corrected = list(_differences(values, contrast, metric, "corrected").values())
            row |= dict(
                zip(_CORRECTED, (np.mean(corrected), *paired.interval(corrected, level)), strict=True)
            )
            row["note"] = _note(found, len(learning))
            if metric in metrics.PRIMARY:
                row |= {"role": "primary", "tests": tests, **_test(found, level, tests)}
            rows.append(row)
    _judge(rows, level)
    return pandas.DataFrame(
        [{c: row.get(c, _EMPTY.get(c, math.nan)) for c in COLUMNS} for row in rows], columns=COLUMNS
    )


def frontier_table(trials):
    """Learning and forgetting of every learning rate on every tuning block, chosen ones marked.

    Forgetting is empty where a tuning stream has a single task.
    """
    import pandas

    rows = []
    keys = ["condition", "learning_rate", "block", "chosen"]
    for key, group in trials[trials.position > 0].groupby(keys, sort=False):
        T = int(group.position.max())
        R = np.full((T + 1, T), np.nan)
        R[group.after.to_numpy(), group.position.to_numpy() - 1] = group.score
        R[0] = np.nan_to_num(R[0])  # trials may lack the row before the stream, which neither metric reads
        learnt = float(np.diag(R[1:]).mean())
        rows.append((*key, learnt, metrics.forgetting(R) if T > 1 else math.nan))
    return pandas.DataFrame(rows, columns=[*keys, "learning_accuracy", "forgetting"])


COLUMNS = (
    "contrast family plus minus metric role n mean sd lower upper simultaneous_lower simultaneous_upper t"
    " df p p_source tests holm_p sign_flip_p sign_flip_holm_p sign_flip_smallest exact_reaches_level"
    " exact_reaches_holm d_z hedges_g detectable corrected_mean corrected_lower corrected_upper"
    " learning_difference learning_lower gate_passed level margin bases verdict note"
).split()
_CORRECTED = ("corrected_mean", "corrected_lower", "corrected_upper")
_EMPTY = {"p_source": "", "verdict": "", "note": "", "exact_reaches_level": "", "exact_reaches_holm": ""}


def _differences(values, contrast: dict, metric: str, scale: str) -> dict[str, float]:
    """block -> difference of `contrast`; empty when an arm has no such metric at all."""
    chosen = values[(values.metric == metric) & (values.scale == scale) & (values.part == "all")]
    arms = (*contrast["plus"], *contrast["minus"])
    found = {arm: dict(chosen.loc[chosen.condition == arm, ["block", "value"]].to_numpy()) for arm in arms}
    return (
        contrast_rules.differences(found, contrast["plus"], contrast["minus"]) if all(found.values()) else {}
    )


def _describe(values, level: float) -> tuple:
    """(n, mean, sd, lower, upper)."""
    n = len(values)
    mean = float(np.mean(values)) if n else math.nan
    return n, mean, float(np.std(values, ddof=1)) if n > 1 else math.nan, *paired.interval(values, level)


def _compare(found, level: float) -> dict:
    return dict(zip(("n", "mean", "sd", "lower", "upper"), _describe(found, level), strict=True))


def _test(found, level: float, tests: int) -> dict:
    """The tests of one difference, before the adjustment over its family."""
    t, p = paired.t_test(found)
    flip, smallest = paired.sign_flip(found)
    d_z, hedges = paired.effect_size(found)
    lower, upper = paired.interval(found, level / tests)
    return {
        "t": t,
        "df": len(found) - 1,
        # without variance between blocks no t test is defined; the exact test still is
        "p": flip if math.isnan(p) else p,
        "p_source": "sign-flip" if math.isnan(p) else "t",
        "simultaneous_lower": lower,
        "simultaneous_upper": upper,
        "sign_flip_p": flip,
        "sign_flip_smallest": smallest,
        "exact_reaches_level": "true" if smallest < level else "false",
        "exact_reaches_holm": "true" if smallest * tests < level else "false",
        "d_z": d_z,
        "hedges_g": hedges,
        "detectable": paired.detectable(found, level / tests),
    }


def _judge(rows: list[dict], level: float) -> None:
    """Adjust the p values of each family and give every primary row its verdict."""
    primary = [row for row in rows if row["role"] == "primary"]
    for family in dict.fromkeys(row["family"] for row in primary):
        members = [row for row in primary if row["family"] == family]
        for source, target in (("p", "holm_p"), ("sign_flip_p", "sign_flip_holm_p")):
            for row, adjusted in zip(members, paired.holm([m[source] for m in members]), strict=True):
                row[target] = float(adjusted)
    for row in primary:
        row["verdict"] = verdict(
            row["n"],
            row["gate_passed"],
            row["holm_p"],
            row["sign_flip_p"],
            row["sign_flip_holm_p"],
            row["exact_reaches_level"] == "true",
            row["exact_reaches_holm"] == "true",
            level,
        )


def _note(values, blocks: int) -> str:
    """What a reader must know about an interval that is empty, or that leaves blocks out."""
    notes = []
    if len(values) < blocks:
        notes.append(f"not defined in {blocks - len(values)} of {blocks} blocks")
    if len(values) == 1:
        notes.append("a single block: no interval and no test")
    elif len(values) and paired.constant(values):
        notes.append(f"no variance: the same value in all {len(values)} blocks, so no interval and no t test")
    return "; ".join(notes)

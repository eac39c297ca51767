"""Tables of a made-up study, with the columns that the figures read, small enough to know what is in them."""

import itertools
import math

import numpy as np
import pandas

from sparse_continual.statistics import paired, power

CONDITIONS = (
    "dense sparse unlocked masked_writes matched_nonzeros matched_flops dense_lora sparse_lora dense_replay"
    " sparse_replay"
).split()
CONTRASTS = [
    ("lock", "lock", ["sparse"], ["unlocked"]),
    ("same_shape", "same_shape", ["sparse"], ["dense"]),
    ("matched_nonzeros", "matched_nonzeros", ["sparse"], ["matched_nonzeros"]),
    ("matched_flops", "matched_flops", ["sparse"], ["matched_flops"]),
    ("sparse_level", "level", ["sparse"], []),
    ("dense_writes", "writes", ["masked_writes"], ["dense"]),
    ("writes_interaction", "writes", ["sparse", "dense"], ["unlocked", "masked_writes"]),
    ("lora_on_dense", "stacking", ["dense_lora"], ["dense"]),
    ("lora_on_sparse", "stacking", ["sparse_lora"], ["sparse"]),
    ("lora_interaction", "stacking", ["sparse_lora", "dense"], ["sparse", "dense_lora"]),
    ("replay_interaction", "stacking", ["sparse_replay", "dense"], ["sparse", "dense_replay"]),
]
PARTS = ("all", "memory", "relation")
RATES = (5e-4, 1e-3, 2e-3, 4e-3)
PRIMARY = ("forgetting", "forward_transfer")
CLAIMS = [
    # claim, rule, contrast, metric, margin, verdict, role
    ("forgets_at_all", "superiority", "sparse_level", "forgetting", "", "shown", "confirmatory"),
    ("forgets_less", "all_of", "", "", "", "not distinguished", "confirmatory"),
    ("less_than_unlocked", "superiority", "lock", "forgetting", "", "shown", "component"),
    (
        "less_at_matched_nonzeros",
        "superiority",
        "matched_nonzeros",
        "forgetting",
        "",
        "not distinguished",
        "component",
    ),
    ("less_at_matched_flops", "superiority", "matched_flops", "forgetting", "", "contradicted", "component"),
    (
        "same_forward_transfer",
        "equivalence",
        "same_shape",
        "forward_transfer",
        0.03,
        "equivalent",
        "confirmatory",
    ),
    ("writes_explain_it", "superiority", "dense_writes", "forgetting", "", "gate failed", "confirmatory"),
    ("stacks_with_lora", "superiority", "lora_interaction", "forgetting", "", "descriptive", "confirmatory"),
    (
        "stacks_with_replay",
        "superiority",
        "replay_interaction",
        "forgetting",
        "",
        "exploratory",
        "exploratory",
    ),
    ("necessity_of_a_fixed_topology", "untested", "", "", "", "not tested", "confirmatory"),
]


def study(conditions=CONDITIONS, contrasts=CONTRASTS, blocks=6, T=6, claims=CLAIMS, seed=0) -> dict:
    """name -> DataFrame: every table that some figure reads."""
    rng = np.random.default_rng(seed)
    names = [str(b + 1) for b in range(blocks)]
    shift = rng.normal(0, 0.04, (2, len(conditions), 1)) + np.array([0.45, 0.06])[:, None, None]
    cells = shift + rng.normal(0, 0.03, (2, 1, blocks)) + rng.normal(0, 0.02, (2, len(conditions), blocks))
    values = {
        (metric, condition): cells[m, c]
        for m, metric in enumerate(PRIMARY)
        for c, condition in enumerate(conditions)
    }
    made = {"scores": _scores(rng, conditions, names, T), "densities": _densities(names)}
    made |= _frontier(rng, conditions, contrasts)
    made |= _measured(conditions, names)
    made["metrics"] = pandas.DataFrame(
        [
            (condition, block, "all", metric, scale, value)
            for (metric, condition), own in values.items()
            for scale in ("raw", "corrected")
            for block, value in zip(names, own, strict=True)
        ],
        columns=["condition", "block", "part", "metric", "scale", "value"],
    )
    made["summary"] = pandas.DataFrame(
        [
            (condition, "all", metric, scale, *described(own), "")
            for (metric, condition), own in values.items()
            for scale in ("raw", "corrected")
        ],
        columns=["condition", "part", "metric", "scale", "n", "mean", "sd", "lower", "upper", "note"],
    )
    differences = {
        (name, metric): sum(values[metric, c] for c in plus) - sum(values[metric, c] for c in minus)
        for name, _, plus, minus in contrasts
        for metric in PRIMARY
    }
    made |= _contrasts(contrasts, differences, names)
    made |= _claims(contrasts, differences, claims, blocks)
    made |= _sensitivity(contrasts, differences, names, T)
    made["specification"] = _specification(rng, contrasts, differences)
    made |= _long(rng, conditions, names)
    made["loads"] = _loads(rng, contrasts, differences)
    return made


def described(values, level=0.05) -> tuple:
    """(n, mean, sd, lower, upper) of a row."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return len(values), float(np.mean(values)), sd, *paired.interval(values, level)


def _scores(rng, conditions, names, T):
    rows = []
    for number, condition in enumerate(conditions):
        for block in names:
            for after in range(T + 1):
                rows.append(
                    (condition, block, after, "base", 0, "all", 0.95 - 0.08 * after + rng.normal(0, 0.01))
                )
                for position, part in itertools.product(range(1, T + 1), PARTS):
                    kept = (0.7 + 0.02 * number) ** (after - position)
                    score = 0.1 if after < position else 0.1 + 0.75 * kept
                    score = float(np.clip(score + rng.normal(0, 0.03), 0, 1))
                    rows.append((condition, block, after, f"task{position}", position, part, score))
    return pandas.DataFrame(
        rows, columns=["condition", "block", "after", "task", "position", "part", "score"]
    )


def _densities(names):
    modules = "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj".split()
    rows = [
        ("sparse_2of4", block, layer, module, 0.5 + 0.03 * layer, "2:4")
        for block in names
        for layer in range(4)
        for module in modules
    ]
    return pandas.DataFrame(rows, columns=["topology", "block", "layer", "module", "density", "pattern"])


def _measured(conditions, names):
    """Of topologies named like the conditions; the first is dense, the last was pruned at init."""
    perplexities, errors, costs = [], [], []
    for number, topology in enumerate(conditions):
        stages = ["base", "pruned", "recovered"]
        if number == 0 and len(conditions) > 1:
            stages.remove("pruned")
        elif number == len(conditions) - 1:
            stages.insert(2, "trained")
        for each, block in enumerate(names):
            for step, stage in enumerate(stages):
                value = 3.0 + 0.1 * each + (2.0**number if stage == "pruned" else 0.2 * number)
                perplexities.append((topology, block, stage, value, 1000))
                if step:
                    costs.append((topology, block, stage, 0.3 * 2**number / step, 6e8, 1e7 * number / step))
            if "pruned" in stages:
                for matrix in range(7):
                    errors.append((topology, block, f"m{matrix}", 0, "q_proj", 0.05 * (matrix + number)))
    return {
        "perplexities": pandas.DataFrame(
            perplexities, columns="topology block stage perplexity tokens".split()
        ),
        "layer_errors": pandas.DataFrame(errors, columns="topology block matrix layer module error".split()),
        "costs": pandas.DataFrame(
            costs, columns="topology block stage seconds peak_bytes added_bytes".split()
        ),
    }


def _frontier(rng, conditions, contrasts):
    rows = []
    for number, condition in enumerate(conditions):
        for block in ("tuning-1", "tuning-2", "tuning-3"):
            for step, rate in enumerate(RATES):
                learnt = 0.5 + 0.1 * step + rng.normal(0, 0.02)
                forgotten = 0.2 + 0.09 * step + 0.01 * number + rng.normal(0, 0.02)
                chosen = step == (1 if condition == "unlocked" else 2)
                rows.append((condition, rate, block, chosen, learnt, 2 - learnt, forgotten))
    frontier = pandas.DataFrame(
        rows,
        columns="condition learning_rate block chosen learning_accuracy validation_loss forgetting".split(),
    )
    compared = []
    for name, estimand, _, minus in contrasts:
        for number, at in enumerate(("learning", "validation_loss", "tuned")):
            n = 2 if name == "lock" and at == "learning" else 3
            found = rng.normal(0.02 * number, 0.01, n)
            if minus:
                compared.append((name, estimand, at, *described(found), ""))
    columns = "contrast estimand at n mean sd lower upper note".split()
    return {"frontier": frontier, "frontier_contrasts": pandas.DataFrame(compared, columns=columns)}


def _contrasts(contrasts, differences, names):
    rows, dots = [], []
    for name, estimand, plus, minus in contrasts:
        for metric in PRIMARY:
            found = differences[name, metric]
            row = {
                "contrast": name,
                "estimand": estimand,
                "plus": " + ".join(plus),
                "minus": " + ".join(minus),
            }
            row |= {"metric": metric, "scale": "raw", "role": "primary", "unit": "block"}
            row |= dict(zip(("n", "mean", "sd", "lower", "upper"), described(found), strict=True))
            row |= {"skewed": name == "same_shape", "gate_passed": name != "dense_writes"}
            row |= {"bootstrap_lower": row["lower"] - 0.01, "bootstrap_upper": row["upper"] + 0.02}
            rows.append(row)
            rows.append({**row, "scale": "corrected", "role": "beside"})
            for block, difference in zip(names, found, strict=True):
                dots += [
                    (name, estimand, metric, scale, block, block, difference)
                    for scale in ("raw", "corrected")
                ]
    columns = "contrast estimand metric scale block base difference".split()
    return {"contrasts": pandas.DataFrame(rows), "differences": pandas.DataFrame(dots, columns=columns)}


def _claims(contrasts, differences, claims, blocks):
    estimands = {name: estimand for name, estimand, *_ in contrasts}
    rows = []
    for claim, rule, contrast, metric, margin, verdict, role in claims:
        if contrast and contrast not in estimands:
            continue
        row = {"claim": claim, "role": role, "rule": rule, "stream": "people" if rule != "untested" else ""}
        row |= {"contrast": contrast, "estimand": estimands.get(contrast, ""), "metric": metric}
        row |= {
            "claim_margin": margin or math.nan,
            "phase": "demonstration",
            "verdict": verdict,
            "unit": "block",
        }
        found = differences.get((contrast, metric))
        if found is None:
            row |= dict.fromkeys(
                "n mean sd lower upper simultaneous_lower simultaneous_upper".split(), math.nan
            )
        else:
            row |= dict(zip(("n", "mean", "sd", "lower", "upper"), described(found), strict=True))
            wide = paired.interval(found, 0.05 / 5)
            row |= dict(zip(("simultaneous_lower", "simultaneous_upper"), wide, strict=True))
        rows.append(row)
    power_rows = [
        (source, "people", row["contrast"], row["metric"], blocks, sd)
        for row in rows
        if row["contrast"]
        for source, sd in (
            ("planning", 0.04 * math.sqrt(2) ** row["contrast"].endswith("interaction")),
            ("pilot", 0.045),
            ("observed", row["sd"]),
        )
    ]
    power_table = pandas.DataFrame(power_rows, columns=["source", "stream", "contrast", "metric", "n", "sd"])
    power_table = power_table.assign(level=0.05, tests=5, effect=0.05, margin=0.03)
    power_table["detectable"] = [power.detectable(n, sd, 0.01) for *_, n, sd in power_rows]
    return {"claims": pandas.DataFrame(rows), "power": power_table}


def _sensitivity(contrasts, differences, names, T):
    rows = []
    for (name, metric), found in differences.items():
        estimand = next(of for known, of, *_ in contrasts if known == name)
        rows.append((name, estimand, metric, "none", "", *_without(described(found))))
        for k, block in enumerate(names):
            if len(names) > 1:
                rows.append(
                    (name, estimand, metric, "block", block, *_without(described(np.delete(found, k))))
                )
        for left_out, slope in (("position", 0.004), ("task", 0.008)):
            for k in range(T):
                moved = found + slope * (k - T / 2)
                rows.append((name, estimand, metric, left_out, str(k + 1), *_without(described(moved))))
    columns = "contrast estimand metric left_out which n mean lower upper".split()
    return {"sensitivity": pandas.DataFrame(rows, columns=columns)}


def _without(row):
    n, mean, _, lower, upper = row
    return n, mean, lower, upper


def _specification(rng, contrasts, differences):
    rows = []
    metrics = ("forgetting", "fraction_lost", "forgetting_max", "worst_task_forgetting")
    for name, estimand, *_ in contrasts:
        for metric, scale, part, estimator in itertools.product(
            metrics, ("raw", "corrected", "bits"), PARTS, ("mean", "median")
        ):
            if scale == "bits" and metric == "fraction_lost":
                continue
            found = differences[name, "forgetting"] + rng.normal(0, 0.01)
            n, mean, _, lower, upper = described(found * (12 if scale == "bits" else 1))
            primary = (metric, scale, part, estimator) == ("forgetting", "raw", "all", "mean")
            ends = (lower, upper) if estimator == "mean" else (math.nan, math.nan)
            rows.append((name, estimand, metric, scale, part, estimator, n, mean, *ends, primary))
    columns = "contrast estimand metric scale part estimator n mean lower upper primary".split()
    return pandas.DataFrame(rows, columns=columns)


def _long(rng, conditions, names, T=16):
    rows, slopes = [], []
    for number, condition in enumerate(conditions):
        for block in names:
            for after in (0, 1, 2, 4, 8, 12, 16):
                bits = 400 * (1 - math.exp(-after / (4 + number))) + rng.normal(0, 10)
                learning = 0.85 - 0.01 * after + rng.normal(0, 0.02) if after else math.nan
                rows.append((condition, block, after, bits, learning, learning - 0.85))
        for quantity, ratio in (("retained_bits", 0.2), ("learning", 1.1), ("plasticity", -0.4)):
            ends = [ratio + far for far in (-0.1, 0.1, -0.2, 0.2)]
            slopes.append((condition, quantity, len(names), ratio, *ends, ""))
    slopes = pandas.DataFrame(
        slopes,
        columns="condition quantity n ratio lower upper simultaneous_lower simultaneous_upper note".split(),
    )
    if len(names) == 1:
        slopes[["lower", "upper", "simultaneous_lower", "simultaneous_upper"]] = math.nan
    columns = "condition block after retained_bits learning plasticity".split()
    return {"retention": pandas.DataFrame(rows, columns=columns), "slopes": slopes}


def _loads(rng, contrasts, differences):
    rows = []
    for (name, metric), found in differences.items():
        estimand = next(of for known, of, *_ in contrasts if known == name)
        for number, load in enumerate((0.02, 0.1, 0.4)):
            moved = found - 0.02 * number
            rows.append((f"load{number}", load, name, estimand, metric, *described(moved)))
    columns = "stream bits_per_nonzero contrast estimand metric n mean sd lower upper".split()
    return pandas.DataFrame(rows, columns=columns)


LONG = [
    "a_dense_reference_model_with_a_very_long_name",
    "sparse_topology_at_half_density_unstructured",
    "unlocked",
    *(f"condition_number_{number}" for number in range(9)),
]
LONG_CONTRASTS = [
    ("sparse_against_dense_at_equal_nonzeros_everywhere", "matched_nonzeros", [LONG[1]], [LONG[0]]),
    ("interaction_of_replay_with_sparsity_in_long_words", "stacking", LONG[1::-1], LONG[2:4]),
    *((f"contrast_{k}", "other", [LONG[k]], [LONG[k + 1]]) for k in range(10)),
]
LONG_CLAIMS = [
    ("a_claim_whose_name_is_much_too_long_for_any_column_of_print", "superiority", LONG_CONTRASTS[0][0])
    + ("forgetting", "", "not distinguished", "confirmatory"),
    ("supercalifragilisticexpialidocious_unbreakable", "equivalence", LONG_CONTRASTS[1][0])
    + ("forward_transfer", 0.05, "gate failed", "exploratory"),
    *((f"c{k}", "superiority", f"contrast_{k}", "forgetting", "", "shown", "component") for k in range(10)),
]


def with_holes():
    """A small study in which every third mean, value or score is not defined."""
    tables = study(CONDITIONS[:3], CONTRASTS[:2], 6, 4)
    for frame in tables.values():
        for column in {"mean", "lower", "value", "difference", "forgetting", "score", "density", "ratio"}:
            if column in frame:
                frame.loc[::3, column] = float("nan")
    return tables


STUDIES = {
    "ten conditions": study,
    "twelve long names": lambda: study(LONG, LONG_CONTRASTS, 6, 16, LONG_CLAIMS),
    "one block, two tasks": lambda: study(["dense", "sparse"], CONTRASTS[1:2], 1, 2),
    "two blocks": lambda: study(CONDITIONS[:3], CONTRASTS[:2], 2, 3),
    "holes": with_holes,
}

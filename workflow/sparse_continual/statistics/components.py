"""Sources of the spread between blocks: items, repeated runs, bases, blocks.

Described, never tested. Each source is a standard deviation of the metric:
- `block`: over blocks, as in the intervals; it includes all other sources;
- `items`: the test items are a sample. A metric that is linear in R is a sum over tasks of means over items. Its
  variance is the sum over tasks of (variance of an item's own term) / items. The term is summed over all rows of R and,
  in a contrast, over its arms, which answer the same items (paired standard errors: Miller, Adding Error Bars to Evals,
  arXiv 2411.00640);
- `repeat`: a run that is made twice from one seed differs from itself by nondeterminism alone; half the mean square of
  that difference is the variance of one run;
- the mixed model value ~ condition with random bases and blocks, by REML: `base`, `block` (within a base), `residual`
  (condition x block), and the spread of the `condition` means. statsmodels offers only z intervals, which cover too
  little at these n, so none is given.
"""

import math
import warnings

import numpy as np

from sparse_continual.errors import UserError
from sparse_continual.statistics import compare, linear
from sparse_continual.statistics import contrasts as rules
from sparse_continual.statistics.tables import COMPONENTS

ALL = "all conditions"


def component_table(indexed: dict, contrasts: list[dict], bases: dict[str, str], items=None, repeated=None):
    """Components of the LINEAR metrics on raw scores: of conditions, contrasts and the mixed model.

    indexed: metrics by `compare.index`; items: items.csv as a DataFrame, None if the study has none;
    repeated: like `indexed`, of the runs that were made twice. `share` is the share of the variance between blocks;
    in the model, of the sum of base, block and residual.
    """

    runs = {} if items is None else item_scores(items)
    rows = []
    for metric in linear.LINEAR:
        arms = indexed[("all", metric, "raw")]
        again = (repeated or {}).get(("all", metric, "raw"), {})
        for condition, by_block in arms.items():
            between = _sd(by_block.values())
            rows.append((metric, condition, "block", between, 1.0, _few(by_block)))
            rows += _items(
                metric, condition, [[(1, runs.get((condition, block)))] for block in by_block], between
            )
            rows += _repeat(metric, condition, by_block, again.get(condition, {}), between)
        for contrast in contrasts:
            if rules.is_level(contrast) or contrast["estimand"] == "load":
                continue
            name, metric_items = (
                f"contrast: {contrast['name']}",
                compare.differences(indexed, contrast, metric, "raw"),
            )
            between = _sd(metric_items.values())
            rows.append((metric, name, "block", between, 1.0, _few(metric_items)))
            signs = {arm: 1 if arm in contrast["plus"] else -1 for arm in rules.arms(contrast)}
            paired = [
                [(sign, runs.get((arm, block))) for arm, sign in signs.items()] for block in metric_items
            ]
            rows += _items(metric, name, paired, between)
        rows += [(metric, ALL, *row) for row in mixed_model(arms, bases)]
    return COMPONENTS.frame(rows)


def item_scores(items) -> dict[tuple[str, str], list[np.ndarray]]:
    """(condition, block) -> per position an array (T + 1, items): the score of every item after 0..T.

    items: items.csv as a DataFrame. Raises UserError naming the run if a row is missing or the number of items changes
    along the stream.
    """
    scores = {}
    for (condition, block), group in items[items.position > 0].groupby(["condition", "block"], sort=False):
        T = int(group.position.max())
        cells = {
            (row.position, row.after): np.array(row.scores.split(), dtype=float)
            for row in group.itertuples(index=False)
        }
        for position in range(1, T + 1):
            counts = {len(cells.get((position, after), ())) for after in range(T + 1)}
            if len(counts) > 1 or 0 in counts:
                raise UserError(
                    f"items.csv: condition {condition}, block {block}, position {position} has"
                    f" {' or '.join(map(str, sorted(counts)))} items after 0..{T}; expected one score of each"
                    " item in every row; delete the file and run again"
                )
        scores[condition, block] = [
            np.stack([cells[position, after] for after in range(T + 1)]) for position in range(1, T + 1)
        ]
    return scores


def item_variance(metric: str, arms: list[tuple[int, list[np.ndarray]]]) -> float:
    """Variance of a linear metric over samples of test items, drawn independently for each task.

    arms: (sign, scores by position as in `item_scores`) of each arm of one block; the variance is that of the signed
    sum of the arms' metrics. NaN if a task that counts has a single item.
    """
    W = linear.weights(metric, len(arms[0][1]))
    total = 0.0
    for column in range(W.shape[1]):
        if W[:, column].any():
            terms_of_items = sum(sign * (W[:, column] @ tasks[column]) for sign, tasks in arms)
            total += terms_of_items.var(ddof=1) / len(terms_of_items) if len(terms_of_items) > 1 else math.nan
    return float(total)


def mixed_model(arms: dict[str, dict[str, float]], bases: dict[str, str]) -> list[tuple]:
    """(component, sd, share, note) by REML; a single row with a note if the model cannot be fitted.

    arms: condition -> block -> value; bases: block -> base. Needs two conditions on three blocks. A component at its
    bound of zero is a result, with a note.
    """
    import pandas

    frame = pandas.DataFrame(
        [
            {"condition": condition, "block": block, "base": bases[block], "value": value}
            for condition, by_block in arms.items()
            for block, value in by_block.items()
        ]
    )
    if frame.condition.nunique() < 2 or frame.block.nunique() < 3:
        return [("residual", math.nan, math.nan, "no model: it takes two conditions on three blocks")]
    nested = rules.shared(bases)
    scale = frame.value.std()  # the optimiser's steps are absolute, so the model is fitted in SDs
    if not scale > 1e-12:
        return [("residual", 0.0, math.nan, "no model: all values are equal")]
    fitted, note = _fit(frame.assign(value=(frame.value - frame.value.mean()) / scale), nested)
    if fitted is None:
        return [("residual", math.nan, math.nan, note)]
    group = float(np.asarray(fitted.cov_re).squeeze())
    parts = {"base": group, "block": float(fitted.vcomp[0])} if nested else {"block": group}
    parts["residual"] = float(fitted.scale)
    total = sum(parts.values())
    rows = []
    for component, variance in parts.items():
        share = variance / total
        words = [note] if note else []
        if share < 1e-6:
            words.append("at its bound of zero")
        rows.append((component, scale * math.sqrt(max(variance, 0.0)), share, "; ".join(words)))
    spread = frame.groupby("condition").value.mean().std()
    return [*rows, ("condition", float(spread), math.nan, "SD of the means of the conditions, fixed effects")]


def _fit(frame, nested: bool):
    """(fitted model or None, note)."""
    import statsmodels.formula.api as smf

    formulas = {"groups": "base", "vc_formula": {"block": "0 + C(block)"}} if nested else {"groups": "block"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = smf.mixedlm("value ~ C(condition)", frame, re_formula="1", **formulas)
            fitted = model.fit(reml=True, method=["bfgs", "powell"])
        except np.linalg.LinAlgError:
            return None, "singular: the model could not be fitted"
    return fitted, "" if fitted.converged else "the fit did not converge"


def _items(metric: str, name: str, blocks: list[list[tuple]], between: float) -> list[tuple]:
    """The row `items`: root of the mean over blocks of the sampling variance; no row without item scores."""
    variances = [item_variance(metric, arms) for arms in blocks if all(run is not None for _, run in arms)]
    if not variances:
        return []
    note = "" if len(variances) == len(blocks) else f"items of {len(variances)} of {len(blocks)} blocks"
    sd = math.sqrt(np.mean(variances))
    return [(metric, name, "items", sd, _share(sd, between), note)]


def _repeat(metric: str, name: str, first: dict, again: dict, between: float) -> list[tuple]:
    """The row `repeat`; no row if no run of this condition was made twice."""
    moved = [again[block] - first[block] for block in again if block in first]
    if not moved:
        return []
    sd = math.sqrt(np.mean(np.square(moved)) / 2)
    note = f"from {len(moved)} run{'s' if len(moved) > 1 else ''} made twice"
    return [(metric, name, "repeat", sd, _share(sd, between), note)]


def _sd(values) -> float:
    values = list(values)
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _share(sd: float, between: float) -> float:
    return sd**2 / between**2 if between > 0 else math.nan


def _few(values) -> str:
    return "" if len(values) > 1 else "a single block: no spread"

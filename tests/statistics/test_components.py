"""Sources of spread against a brute-force bootstrap, closed forms, and data made with known components."""

import math

import numpy as np
import pandas
import pytest
import synthetic_tables

from sparse_continual.errors import UserError
from sparse_continual.statistics import compare, components, linear, matrices, metric_table, metrics

CONTRAST = {"name": "x", "plus": ["sparse"], "minus": ["dense"], "estimand": "same_shape"}


def answers(rng, T=3, counts=(40, 25, 60), shift=0.0):
    """Scores of every item after every task: per position (T + 1, items) of 0 and 1, alike within an item."""
    found = []
    for count in counts[:T]:
        ease = rng.normal(size=count)
        found.append((ease + rng.normal(size=(T + 1, count)) + shift > 0).astype(float))
    return found


def means(tasks):
    return np.stack([task.mean(axis=1) for task in tasks], axis=1)


def item_frame(runs):
    rows = [
        (condition, block, after, f"task{position}", position, " ".join(f"{s:.4g}" for s in task[after]))
        for (condition, block), tasks in runs.items()
        for position, task in enumerate(tasks, 1)
        for after in range(len(task))
    ]
    return pandas.DataFrame(rows, columns="condition block after task position scores".split())


def table(runs, bases=None, contrasts=(CONTRAST,), items=None, repeated=None):
    """Components of runs {(condition, block): R}."""
    values = metric_table.metric_table(matrices.of_stream(synthetic_tables.frame(runs)))
    bases = bases or {block: block for _, block in runs}
    again = None
    if repeated:
        again = compare.index(metric_table.metric_table(matrices.of_stream(synthetic_tables.frame(repeated))))
    found = components.component_table(compare.index(values), contrasts, bases, items, again)
    return found.set_index(["metric", "condition_or_contrast", "component"])


@pytest.mark.parametrize("metric", linear.LINEAR)
def test_weights_and_terms_make_up_the_metric(metric):
    rng = np.random.default_rng(0)
    for T in (2, 3, 6):
        R = rng.uniform(size=(T + 1, T))
        expected = metrics.OF_MATRIX[metric](R)
        assert (linear.weights(metric, T) * R).sum() == pytest.approx(expected)
        assert np.nanmean(linear.terms(metric, R)) == pytest.approx(expected)
    lost = np.diag(R[1:]) - R[-1]
    assert linear.terms("forgetting", R)[:-1] == pytest.approx(lost[:-1])
    assert np.isnan(linear.terms("forgetting", R)[-1]) and np.isnan(linear.terms("forward_transfer", R)[0])


@pytest.mark.parametrize("metric", linear.LINEAR)
@pytest.mark.parametrize("paired", [False, True])
def test_item_variance_against_a_bootstrap_of_items(metric, paired):
    rng = np.random.default_rng(1)
    plus = answers(rng)
    # the other arm answers many of the same items alike, so pairing matters
    minus = [np.where(rng.uniform(size=task.shape) < 0.6, task, 1 - task) for task in plus]
    arms = [(1, plus), (-1, minus)] if paired else [(1, plus)]
    drawn = []
    for _ in range(4000):
        picked = [rng.integers(task.shape[1], size=task.shape[1]) for task in plus]
        parts = [
            sign * metrics.OF_MATRIX[metric](means([t[:, p] for t, p in zip(tasks, picked, strict=True)]))
            for sign, tasks in arms
        ]
        drawn.append(sum(parts))
    # a bootstrap variance has the divisor n where the estimate has n - 1, and a Monte Carlo error of 2.2 %
    assert components.item_variance(metric, arms) == pytest.approx(np.var(drawn), rel=0.09)


def test_items_repeats_and_blocks_in_the_table():
    rng = np.random.default_rng(2)
    scored = {
        (arm, b): answers(rng, shift=0.1 * (arm == "sparse")) for arm in ("dense", "sparse") for b in "1234"
    }
    runs = {run: means(tasks) for run, tasks in scored.items()}
    again = {("dense", "1"): runs["dense", "1"] + np.diag([0.0, 0.02, 0.0, 0.0])[:, 1:]}
    found = table(runs, items=item_frame(scored), repeated=again)
    forgetting = {run: metrics.forgetting(R) for run, R in runs.items()}
    differences = [forgetting["sparse", b] - forgetting["dense", b] for b in "1234"]
    block = found.loc[("forgetting", "contrast: x", "block")]
    assert block.sd == pytest.approx(np.std(differences, ddof=1))
    paired = [
        components.item_variance("forgetting", [(1, scored["sparse", b]), (-1, scored["dense", b])])
        for b in "1234"
    ]
    row = found.loc[("forgetting", "contrast: x", "items")]
    assert row.sd == pytest.approx(math.sqrt(np.mean(paired)))
    assert row.share == pytest.approx(row.sd**2 / block.sd**2)
    # R[1,1] moved by .02 and is half of the mean over the two tasks that can be forgotten
    assert found.loc[("forgetting", "dense", "repeat")].sd == pytest.approx(0.01 / math.sqrt(2))
    assert found.loc[("forgetting", "dense", "repeat")].note == "from 1 run made twice"
    assert ("forgetting", "sparse", "repeat") not in found.index
    without = table(runs)
    assert set(without.index.get_level_values(2)) == {"block", "residual", "condition"}


def test_nondeterminism_of_known_size_is_found():
    rng = np.random.default_rng(3)
    true = rng.uniform(0.3, 0.6, size=(400, 3, 2))
    first, second = (true + 0.02 * rng.normal(size=true.shape) for _ in range(2))
    runs = {("dense", str(b)): R for b, R in enumerate(first)}
    again = {("dense", str(b)): R for b, R in enumerate(second)}
    found = table(runs, repeated=again, contrasts=())
    # forgetting of two tasks is one difference of two cells
    assert found.loc[("forgetting", "dense", "repeat")].sd == pytest.approx(0.02 * math.sqrt(2), rel=0.1)


def balanced(rng, arms=4, blocks=8, between=0.05, within=0.02):
    effect = between * rng.normal(size=blocks)
    return {
        f"arm{a}": {str(b): 0.1 * a + effect[b] + within * rng.normal() for b in range(blocks)}
        for a in range(arms)
    }


def test_mixed_model_of_balanced_blocks_is_the_analysis_of_variance():
    arms = balanced(np.random.default_rng(4))
    y = np.array([list(own.values()) for own in arms.values()])  # (arms, blocks)
    k, n = y.shape
    left = y - y.mean(1, keepdims=True) - y.mean(0) + y.mean()
    residual = (left**2).sum() / ((k - 1) * (n - 1))
    block = (k * y.mean(0).var(ddof=1) - residual) / k
    rows = {
        name: (sd, share) for name, sd, share, _ in components.mixed_model(arms, {b: b for b in arms["arm0"]})
    }
    assert rows["residual"][0] == pytest.approx(math.sqrt(residual), rel=1e-3)
    assert rows["block"][0] == pytest.approx(math.sqrt(block), rel=1e-3)
    assert rows["block"][1] == pytest.approx(block / (block + residual), rel=1e-3)
    assert rows["condition"][0] == pytest.approx(y.mean(1).std(ddof=1))


def test_mixed_model_of_nested_bases_is_the_analysis_of_variance():
    rng = np.random.default_rng(5)
    arms, bases = balanced(rng, arms=3, blocks=12), {str(b): f"base{b // 2}" for b in range(12)}
    shift = 0.1 * rng.normal(size=6)
    arms = {arm: {b: v + shift[int(b) // 2] for b, v in own.items()} for arm, own in arms.items()}
    y = np.array([list(own.values()) for own in arms.values()])
    k, n, g = 3, 12, 6
    left = y - y.mean(1, keepdims=True) - y.mean(0) + y.mean()
    residual = (left**2).sum() / ((k - 1) * (n - 1))
    blocks = y.mean(0).reshape(g, 2)
    inner = k * ((blocks - blocks.mean(1, keepdims=True)) ** 2).sum() / (n - g)
    outer = 2 * k * blocks.mean(1).var(ddof=1)
    expected = {"base": (outer - inner) / (2 * k), "block": (inner - residual) / k, "residual": residual}
    assert min(expected.values()) > 0
    found = {name: sd**2 for name, sd, _, _ in components.mixed_model(arms, bases)}
    for name, variance in expected.items():
        assert found[name] == pytest.approx(variance, rel=5e-3)


def test_mixed_model_at_the_edge():
    (only,) = components.mixed_model({"a": {"1": 0.1, "2": 0.2}}, {"1": "1", "2": "2"})
    assert math.isnan(only[1]) and "no model" in only[3]
    equal = {arm: dict.fromkeys("1234", 0.3) for arm in "ab"}
    assert "all values are equal" in components.mixed_model(equal, {b: b for b in "1234"})[0][3]
    # blocks that differ less than the residual alone makes them: the block variance is at its bound
    y = {
        "a": dict(zip("1234", (0.1, 0.2, 0.3, 0.4), strict=True)),
        "b": dict(zip("1234", (0.4, 0.3, 0.2, 0.1), strict=True)),
    }
    rows = {name: (sd, note) for name, sd, _, note in components.mixed_model(y, {b: b for b in "1234"})}
    assert rows["block"][0] < 1e-3 and "bound of zero" in rows["block"][1]
    # identical arms: no residual is left
    same = {arm: {b: 0.1 * int(b) for b in "1234"} for arm in "abc"}
    names = {name for name, *_ in components.mixed_model(same, {b: b for b in "1234"})}
    assert "residual" in names


def test_items_that_change_their_number_are_refused_by_run():
    frame = item_frame({("dense", "1"): answers(np.random.default_rng(6))})
    with pytest.raises(UserError, match="condition dense, block 1, position 2 has 0 or 25 items"):
        components.item_scores(frame.drop(frame[(frame.position == 2) & (frame.after == 3)].index))
    frame.loc[0, "scores"] = "1 0"
    with pytest.raises(UserError, match="position 1 has 2 or 40 items"):
        components.item_scores(frame)

"""Leaving out and choosing otherwise, against computation by hand and by brute force."""

from itertools import product

import numpy as np
import pandas
import pytest
import synthetic_tables
from scipy import stats

from sparse_continual.statistics import compare, matrices, metric_table, metrics, sensitivity, specification

CONTRAST = {"name": "x", "plus": ["sparse"], "minus": ["dense"], "estimand": "same_shape"}
NAMES = {"1": ["a", "b", "c"], "2": ["c", "a", "b"], "3": ["b", "c", "a"], "4": ["a", "c", "b"]}


@pytest.fixture(scope="module")
def runs():
    rng = np.random.default_rng(0)
    low = np.array([[0.1], [0.9], [0.9], [0.9]])  # every run gains something
    return {(arm, b): low * rng.uniform(0.3, 1, size=(4, 3)) for arm in ("dense", "sparse") for b in NAMES}


@pytest.fixture(scope="module")
def table(runs):
    tasks = {(arm, block): NAMES[block] for arm, block in runs}
    entries = matrices.of_stream(synthetic_tables.frame(runs))
    found = sensitivity.sensitivity_table(entries, tasks, [CONTRAST], 0.05, {b: b for b in NAMES})
    return found.set_index(["metric", "left_out", "which"]).sort_index()


def test_nothing_and_a_block_left_out(runs, table):
    d = {b: metrics.forgetting(runs["sparse", b]) - metrics.forgetting(runs["dense", b]) for b in NAMES}
    assert table.loc[("forgetting", "none", "")]["mean"] == pytest.approx(np.mean(list(d.values())))
    row = table.loc[("forgetting", "block", "2")]
    left = [v for b, v in d.items() if b != "2"]
    reference = stats.ttest_1samp(left, 0).confidence_interval(0.95)
    assert (row.n, row["mean"]) == (3, pytest.approx(np.mean(left)))
    assert (row.lower, row.upper) == pytest.approx((reference.low, reference.high))


@pytest.mark.parametrize("metric", metrics.PRIMARY)
def test_a_position_or_a_task_left_out_is_the_mean_over_the_others(metric, runs, table):
    def term(R, j):  # of position j, from 1
        if metric == "forgetting":
            return R[j, j - 1] - R[3, j - 1] if j < 3 else None
        return R[j - 1, j - 1] - R[0, j - 1] if j > 1 else None

    def mean(run, out):
        terms = [term(runs[run], j) for j in (1, 2, 3) if not out(run[1], j)]
        terms = [t for t in terms if t is not None]
        return np.mean(terms) if terms else np.nan

    counted = (1, 2) if metric == "forgetting" else (2, 3)
    assert set(table.loc[(metric, "position")].index) == {str(p) for p in counted}
    for p in counted:
        d = [
            mean(("sparse", b), lambda _, j, p=p: j == p) - mean(("dense", b), lambda _, j, p=p: j == p)
            for b in NAMES
        ]
        assert table.loc[(metric, "position", str(p))]["mean"] == pytest.approx(np.mean(d))
    for name in "abc":
        out = lambda b, j, n=name: NAMES[b][j - 1] == n  # noqa: E731
        d = [mean(("sparse", b), out) - mean(("dense", b), out) for b in NAMES]
        assert table.loc[(metric, "task", name)]["mean"] == pytest.approx(np.mean(d))
        assert table.loc[(metric, "task", name)].n == 4


def test_two_tasks_and_one_block_leave_little_to_leave_out():
    rng = np.random.default_rng(1)
    runs = {(arm, "1"): rng.uniform(size=(3, 2)) for arm in ("dense", "sparse")}
    entries, tasks = matrices.of_stream(synthetic_tables.frame(runs)), {run: ["a", "b"] for run in runs}
    found = sensitivity.sensitivity_table(entries, tasks, [CONTRAST], 0.05, {"1": "1"})
    # forgetting has a single term: without it nothing is left, without the other task nothing changes
    assert set(found.left_out) == {"none"}


def specifications(runs, scores=None, bases=None):
    frame = synthetic_tables.frame(runs) if scores is None else scores
    indexed = compare.index(metric_table.metric_table(matrices.of_stream(frame)))
    bases = bases or {b: b for b in NAMES}
    return specification.specification_table(indexed, [CONTRAST], 0.05, bases)


def test_every_combination_of_choices_stands_once(runs):
    frame = synthetic_tables.frame(runs)
    parts = [frame.assign(part=part) for part in ("memory", "relation")]
    found = specifications(runs, pandas.concat([frame, *[p[p.position > 0] for p in parts]]))
    assert len(found) == 3 * 3 * 3 * 2 == len(found.drop_duplicates(["metric", "scale", "part", "estimator"]))
    (primary,) = found[found.primary].to_dict("records")
    assert [primary[c] for c in ("metric", "scale", "part", "estimator")] == [
        "forgetting",
        "raw",
        "all",
        "mean",
    ]
    d = [metrics.fraction_lost(runs["sparse", b]) - metrics.fraction_lost(runs["dense", b]) for b in NAMES]
    row = found[
        (found.metric == "fraction_lost") & (found.estimator == "median") & (found.scale == "raw")
    ].iloc[0]
    assert row["mean"] == pytest.approx(np.median(d)) and np.isnan(
        row.lower
    )  # four blocks have no such interval


def test_median_interval_against_every_sample_of_signs():
    """Coverage is the share of sign patterns in which the interval's order statistics enclose the median."""
    for n in range(4, 13):
        below = [sum(signs) for signs in product((0, 1), repeat=n)]  # how many values lie below the median
        lower, upper = specification.median_interval(np.arange(1, n + 1), 0.05)
        if np.isnan(lower):
            assert n < 6  # even smallest to largest covers only 1 - 2 / 2**n
            continue
        k = int(lower)
        assert upper == n + 1 - k
        covers = np.mean([k <= b <= n - k for b in below])
        wider = np.mean([k + 1 <= b <= n - k - 1 for b in below])
        assert covers >= 0.95 > wider

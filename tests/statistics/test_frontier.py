"""Contrasts at equal learning, on curves whose answer can be read off by hand."""

import math

import numpy as np
import pandas
import pytest
from scipy import stats

from sparse_continual.statistics import frontier

CONTRAST = {"name": "x", "plus": ["sparse"], "minus": ["dense"], "estimand": "same_shape"}
RATES = (0.001, 0.002, 0.004, 0.008)


def trials(curves, T=2, chosen=2):
    """Trials with learning, forgetting and loss as asked: curves is (arm, block) -> [(learning, forgetting)]."""
    rows = []
    for (arm, block), points in curves.items():
        picked = chosen if isinstance(chosen, int) else chosen[arm]
        for number, (learnt, lost) in enumerate(points):
            for after in range(T + 1):
                for position in range(1, T + 1):
                    score = learnt if after == position else learnt - lost if after > position else 0.1
                    cell = (after, f"task{position}", position, score, 1 - learnt, 0.0, 1.0)
                    rows.append((arm, block, RATES[number], *cell, number == picked))
    columns = "condition block learning_rate after task position score loss chance ceiling chosen".split()
    return pandas.DataFrame(rows, columns=columns)


def compared(curves, contrasts=(CONTRAST,), **more):
    curve = frontier.frontier_table(trials(curves, **more))
    blocks = frontier.block_table(curve, contrasts)
    means = frontier.frontier_contrasts(curve, blocks, contrasts, 0.05)
    return blocks.set_index(["contrast", "at", "block"]), means.set_index(["contrast", "at"]), curve


LINE = [(0.5, 0.1), (0.7, 0.3), (0.9, 0.5), (0.9, 0.7)]


def test_a_difference_that_is_only_one_of_learning_vanishes_at_equal_learning():
    # both arms on one line; sparse stands further down it at its tuned rate
    blocks, means, _ = compared(
        {("dense", "t1"): LINE, ("sparse", "t1"): [(0.4, 0.0), (0.6, 0.2), (0.8, 0.4)]}
    )
    assert blocks.loc[("x", "tuned", "t1")].difference == pytest.approx(-0.1)
    assert blocks.loc[("x", "tuned", "t1")].value == pytest.approx(-0.1)
    for at, value in (("learning", 0.8), ("validation_loss", 0.2)):
        assert blocks.loc[("x", at, "t1")].difference == pytest.approx(0)
        assert blocks.loc[("x", at, "t1")].value == pytest.approx(value)
    assert "single tuning block" in means.loc[("x", "learning")].note


def test_interpolation_and_interval_over_blocks():
    # dense at learning .8 lies half-way between (.7, .3) and (.9, .5); sparse is tuned at (.8, s)
    ends = {"t1": 0.30, "t2": 0.35, "t3": 0.28}
    curves = {("dense", b): LINE for b in ends}
    curves |= {("sparse", b): [(0.4, 0.0), (0.6, 0.1), (0.8, end)] for b, end in ends.items()}
    _, means, _ = compared(curves)
    d = np.array(list(ends.values())) - 0.4
    row = means.loc[("x", "learning")]
    reference = stats.ttest_1samp(d, 0).confidence_interval(0.95)
    assert (row.n, row["mean"]) == (3, pytest.approx(d.mean()))
    assert (row.lower, row.upper) == pytest.approx((reference.low, reference.high))


def test_the_tuned_point_lies_on_the_frontier():
    rng = np.random.default_rng(0)
    curves = {
        (a, b): list(zip(*rng.uniform(0.2, 0.9, (2, 4)), strict=True))
        for a in ("dense", "sparse")
        for b in "12"
    }
    blocks, _, curve = compared(curves)
    chosen = curve[curve.chosen].set_index(["condition", "block"])
    for block in "12":
        by_hand = chosen.loc[("sparse", block)].forgetting - chosen.loc[("dense", block)].forgetting
        assert blocks.loc[("x", "tuned", block)].difference == pytest.approx(by_hand)
    for points in curves.values():  # slowed down to its own tuned level, an arm stays where it is
        x, y = np.array(points[:3]).T
        assert frontier.slowed(x, y, x[-1]) == y[-1]
    # and arms that learn alike at their tuned rates are compared there
    blocks, *_ = compared({("dense", "1"): LINE, ("sparse", "1"): [(0.2, 0.6), (0.95, 0.9), (0.9, 0.2)]})
    assert blocks.loc[("x", "learning", "1")].difference == pytest.approx(0.2 - 0.5)


def test_slowing_down_against_a_dense_grid():
    """The first crossing from the tuned rate back, found by walking the curve in tiny steps."""
    rng = np.random.default_rng(1)
    for _ in range(200):
        x, y = rng.uniform(0, 1, (2, 5))
        value = rng.uniform(0, x[-1])
        along = np.linspace(4, 0, 400_001)
        learnt = np.interp(along, range(5), x)
        below = np.flatnonzero(learnt <= value)
        found = frontier.slowed(x, y, value)
        if len(below) == 0:
            assert math.isnan(found)
        else:
            assert found == pytest.approx(np.interp(along[below[0]], range(5), y), abs=2e-4)


def test_curves_that_turn_back_and_ranges_that_do_not_meet_are_said():
    turning = [(0.75, 0.1), (0.7, 0.3), (0.9, 0.5)]
    fast = [(0.85, 0.1), (0.86, 0.3), (0.9, 0.5)]
    slow = [(0.4, 0.0), (0.6, 0.1), (0.8, 0.2)]
    curves = {("dense", "t1"): turning, ("dense", "t2"): fast, ("sparse", "t1"): slow, ("sparse", "t2"): slow}
    blocks, means, _ = compared(curves)
    assert blocks.loc[("x", "learning", "t1")].difference == pytest.approx(0.2 - 0.4)
    assert math.isnan(blocks.loc[("x", "learning", "t2")].difference)
    note = means.loc[("x", "learning")].note
    assert "no common level on t2" in note and "does not rise throughout: dense" in note
    assert means.loc[("x", "learning")].n == 1 and means.loc[("x", "tuned")].n == 2


def test_a_single_rate_is_compared_at_its_tuned_point_alone():
    _, means, _ = compared({("dense", "1"): [(0.9, 0.5)], ("sparse", "1"): [(0.8, 0.3)]}, chosen=0)
    assert means.loc[("x", "tuned")]["mean"] == pytest.approx(-0.2)
    row = means.loc[("x", "learning")]
    assert (
        row.n == 0 and math.isnan(row["mean"]) and "no rate below the chosen one: dense, sparse" in row.note
    )


def test_interaction_takes_one_level_for_all_four_arms():
    arms = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.85}
    curves = {(arm, "1"): [(0.0, 0.0), (top, k * top)] for k, (arm, top) in enumerate(arms.items(), 1)}
    crossed = {"name": "i", "plus": ["a", "b"], "minus": ["c", "d"], "estimand": "stacking"}
    blocks, *_ = compared(curves, [crossed], chosen=1)
    row = blocks.loc[("i", "learning", "1")]
    assert row.value == pytest.approx(0.7) and row.difference == pytest.approx((1 + 2 - 3 - 4) * 0.7)


def test_levels_loads_and_single_task_streams_have_no_rows():
    level = {"name": "l", "plus": ["dense"], "minus": [], "estimand": "level"}
    load = CONTRAST | {"name": "d", "estimand": "load", "streams": ["a", "b"]}
    curves = {("dense", "1"): LINE, ("sparse", "1"): LINE}
    assert compared(curves, [level, load])[0].empty
    blocks, means, curve = compared(curves, T=1)
    assert blocks.empty and means.empty and curve.forgetting.isna().all()

"""The learning gate: by scipy's one-sided t test, on the side that a statement favours."""

import numpy as np
import pytest
from scipy import stats

from sparse_continual.statistics import gate

LEARNING = np.array([0.02, -0.01, 0.03, 0.05, 0.01, 0.04])


@pytest.mark.parametrize("shift", [-0.2, -0.07, 0.0, 0.07])
def test_sides_against_scipy(shift):
    sides = gate.sides(LEARNING + shift, level=0.05, margin=0.05)
    for side, difference in (("plus", LEARNING + shift), ("minus", -LEARNING - shift)):
        expected = stats.ttest_1samp(difference, -0.05, alternative="greater")
        assert sides[side].p == pytest.approx(expected.pvalue)
        assert sides[side].passed == (expected.pvalue < 0.05) == (sides[side].bound > -0.05)
        assert sides[side].bound == pytest.approx(expected.confidence_interval(0.95).low - 0.0)


@pytest.mark.parametrize(
    ("metric", "sign", "side"),
    [
        ("forgetting", -1, "plus"),  # plus forgets less, so plus must have learnt
        ("forgetting", 1, "minus"),
        ("base_retention", 1, "plus"),
        ("base_retention", -1, "minus"),
        ("forward_transfer", -1, "plus"),  # learning less does not help transfer
        ("forward_transfer", 1, "plus"),
    ],
)
def test_the_side_that_a_difference_favours(metric, sign, side):
    assert gate.favoured(metric, sign) == side


def row(mean, learning, **changes):
    plus = gate.sides(learning, 0.05, 0.05)["plus"]
    return {
        "estimand": "lock", "metric": "forgetting", "mean": mean, "margin": 0.05, "level": 0.05,
        "learning_difference": float(learning.mean()), "learning_lower": plus.bound, "gate_passed": plus.passed,
    } | changes  # fmt: skip


def test_a_row_passes_by_the_side_that_its_estimate_favours():
    learnt_less = LEARNING - 0.3  # the plus side
    assert not gate.passed(row(-0.1, learnt_less))
    assert gate.passed(row(+0.1, learnt_less))  # the minus side forgot less, and learnt more
    assert not gate.passed(row(+0.1, -learnt_less))
    assert gate.passed(row(-0.1, -learnt_less))
    assert gate.passed(row(-0.1, learnt_less, estimand="level", gate_passed="true"))
    for learning in (LEARNING, learnt_less, -learnt_less, LEARNING - 0.07):
        sides = gate.sides(learning, 0.05, 0.05)
        assert gate.passed(row(-0.1, learning)) == sides["plus"].passed
        assert gate.passed(row(+0.1, learning)) == sides["minus"].passed


def test_metrics_without_a_gate():
    assert not gate.applies("learning_accuracy", False) and not gate.applies("forgetting", True)
    assert gate.applies("forgetting", False) and gate.applies("forward_transfer", False)


@pytest.mark.parametrize("shift", [-0.3, 0.0, 0.3])
@pytest.mark.parametrize("side", ["plus", "minus"])
def test_a_side_learnt_by_the_bounds_of_either_table(shift, side):
    """claims.csv has both bounds, contrasts.csv the lower one alone; both tables must say what the test says."""
    learning = LEARNING + shift
    sides = gate.sides(learning, 0.05, 0.05)
    contrast = row(-0.1, learning)
    claim = contrast | {"learning_upper": -sides["minus"].bound}
    assert gate.learnt(contrast, side) == gate.learnt(claim, side) == sides[side].passed


def test_the_other_side():
    for metric in ("forgetting", "base_retention", "forward_transfer"):
        for sign in (-1, 1):
            assert gate.other(metric, gate.favoured(metric, sign)) == gate.favoured(metric, -sign)

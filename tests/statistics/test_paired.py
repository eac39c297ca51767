"""Intervals and tests against statsmodels and scipy."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from sparse_continual.errors import UserError
from sparse_continual.statistics import contrasts, paired
from sparse_continual.statistics.verdict import verdict


@pytest.fixture(params=[2, 3, 6, 11])
def pairs(request):
    rng = np.random.default_rng(request.param)
    return rng.normal(0.5, 0.1, request.param), rng.normal(0.45, 0.1, request.param)


def test_interval_and_p_against_statsmodels_and_scipy(pairs):
    a, b = pairs
    reference = DescrStatsW(a - b)
    assert paired.interval(a - b, 0.05) == pytest.approx(reference.tconfint_mean(0.05))
    assert paired.interval(a - b, 0.01) == pytest.approx(reference.tconfint_mean(0.01))
    assert paired.lower_bound(a - b, 0.05) == pytest.approx(
        reference.tconfint_mean(0.05, alternative="larger")[0]
    )
    t, p = paired.t_test(a - b)
    assert (t, p) == pytest.approx(reference.ttest_mean()[:2])
    assert p == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_sign_flip_against_scipy(pairs):
    a, b = pairs
    reference = stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    p, smallest = paired.sign_flip(a - b)
    assert p == pytest.approx(reference.pvalue)
    assert smallest == 2 / 2 ** len(a)


def test_sign_flip_counts_ties_and_zeros_as_brute_force_does():
    d = np.array([0.1, 0.1, 0.0, -0.1, 0.2, 0.3])
    sums = [abs(np.dot(signs, d)) for signs in product((-1, 1), repeat=len(d))]
    expected = np.mean(np.array(sums) >= abs(d.sum()) - 1e-12)
    assert paired.sign_flip(d) == (pytest.approx(expected), 2 / 2**5)
    assert paired.sign_flip(np.full(6, 0.04)) == (0.03125, 0.03125)
    assert paired.sign_flip(np.zeros(6)) == (1.0, 1.0)


def test_holm_against_statsmodels():
    rng = np.random.default_rng(1)
    for n in (1, 2, 8):
        p = rng.uniform(0, 0.2, n)
        assert paired.holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert paired.holm([0.02, 0.02, 0.9]) == pytest.approx([0.06, 0.06, 0.9])


def test_effect_size_by_hand():
    # mean 2, SD 1, n = 3: d_z 2, Hedges' factor 1 - 3 / 7
    assert paired.effect_size([1, 2, 3]) == pytest.approx((2, 2 * 4 / 7))


@pytest.mark.parametrize(("n", "level", "expected"), [(5, 0.05, 1.68), (8, 0.05, 1.16), (10, 0.05 / 6, 1.37)])
def test_detectable_against_simulation(n, level, expected):
    d = np.arange(n, dtype=float)
    assert paired.detectable(d, level) / d.std(ddof=1) == pytest.approx(expected, abs=0.015)


def test_no_variance_and_one_block_give_no_interval_and_no_error():
    for d in ([0.1] * 6, [0.1 + 0.2, 0.3, 0.3], [0.4]):
        assert all(map(math.isnan, (*paired.interval(d, 0.05), *paired.t_test(d), paired.effect_size(d)[0])))
        assert math.isnan(paired.detectable(d, 0.05))
    assert paired.lower_bound([0.1] * 6, 0.05) == pytest.approx(0.1)


VALUES = {
    "a": {"1": 0.5, "2": 0.7},
    "b": {"1": 0.1, "2": 0.2},
    "c": {"1": 0.4, "2": 0.4},
    "d": {"1": 0.3, "2": 0.1},
}


def test_interaction_by_hand():
    # block 1: .5 + .1 - .4 - .3 = -.1; block 2: .7 + .2 - .4 - .1 = .4
    found = contrasts.differences(VALUES, ["a", "b"], ["c", "d"])
    assert found == {"1": pytest.approx(-0.1), "2": pytest.approx(0.4)}
    assert contrasts.differences(VALUES, ["a"], ["c"]) == {"1": pytest.approx(0.1), "2": pytest.approx(0.3)}


def test_unequal_blocks_are_a_fault():
    with pytest.raises(ValueError, match="same blocks"):
        contrasts.differences(VALUES | {"c": {"1": 0.4}}, ["a"], ["c"])


@pytest.mark.parametrize(
    ("contrast", "message"),
    [
        ({"plus": ["spars"], "minus": ["dense"]}, "did you mean 'sparse'"),
        ({"plus": ["sparse"], "minus": ["dense", "lora"]}, "plus has 1 and minus 2"),
        ({"plus": ["sparse"], "minus": ["sparse"]}, "stands in it twice"),
    ],
)
def test_bad_contrasts_are_refused(contrast, message):
    with pytest.raises(UserError, match=f"study.contrasts: x.*{message}"):
        contrasts.check([{"name": "x", "family": "f", **contrast}], ["dense", "sparse", "lora"])


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "shown"),
        ({"n": 5}, "descriptive"),
        ({"n": 5, "gate_passed": False}, "descriptive"),
        ({"gate_passed": False}, "gate failed"),
        # the level is out of the exact test's reach, so nothing could have been shown
        ({"level": 0.01, "flip_reaches_level": False}, "descriptive"),
        ({"level": 0.01, "flip_reaches_level": False, "gate_passed": False}, "gate failed"),
        ({"holm_p": 0.06}, "not distinguished"),
        # the exact test can reach the adjusted level, and does not
        ({"flip_reaches_holm": True, "flip_holm_p": 0.07}, "not distinguished"),
        ({"flip_reaches_holm": True, "flip_holm_p": 0.03}, "shown"),
        # it cannot, and does not even reach the level by itself
        ({"flip_p": 0.0625}, "not distinguished"),
    ],
)
def test_verdict_rules(changed, expected):
    row = dict(
        n=6,
        gate_passed=True,
        holm_p=0.01,
        flip_p=0.03125,
        flip_holm_p=0.25,
        flip_reaches_level=True,
        flip_reaches_holm=False,
        level=0.05,
    )
    assert verdict(**(row | changed)) == expected

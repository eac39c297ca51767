"""Intervals and tests against statsmodels and scipy."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW, ttost_paired

from sparse_continual.statistics import paired


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
    flip = paired.sign_flip(a - b)
    assert flip == (pytest.approx(reference.pvalue), 2 / 2 ** len(a), 0)


def test_random_sign_flips_against_the_exact_test_and_scipy(monkeypatch):
    """Within four standard errors of the enumeration, and of scipy's permutation test where none can be had."""
    rng = np.random.default_rng(5)
    d = rng.normal(0.4, 1, 18)
    exact = paired.sign_flip(d)
    monkeypatch.setattr(paired, "ENUMERATED", 10)
    drawn = paired.sign_flip(d)
    assert drawn.error == pytest.approx(np.sqrt(drawn.p * (1 - drawn.p) / 200_000)) and drawn.error > 0
    assert drawn.p != exact.p and abs(drawn.p - exact.p) < 4 * drawn.error
    monkeypatch.undo()
    many = rng.normal(0.25, 1, 60)
    reference = stats.permutation_test(
        (many,), lambda x, axis: x.sum(axis=axis), permutation_type="samples", n_resamples=50_000, rng=1
    )
    flip = paired.sign_flip(many)
    assert abs(flip.p - reference.pvalue) < 4 * np.sqrt(flip.p / 50_000)
    assert paired.sign_flip(many) == flip, "seeded"
    assert paired.sign_flip(many, seed=1).p != flip.p
    assert paired.sign_flip(np.concatenate([many, np.zeros(5)])) == flip


def test_many_differences_of_one_sign_have_the_smallest_p_and_no_memory_is_needed_for_all_signs():
    flip = paired.sign_flip(np.linspace(1, 2, 1000))
    assert flip.p == flip.smallest == 1 / 200_001
    assert paired.smallest_p(20) == 2**-19 and paired.smallest_p(21) == 1 / 200_001
    assert paired.sign_flip(np.tile([1.0, -1.0], 26)).p == 1, (
        "every flip is as far from zero as a mean of zero"
    )


def test_sign_flip_counts_ties_and_zeros_as_brute_force_does():
    d = np.array([0.1, 0.1, 0.0, -0.1, 0.2, 0.3])
    sums = [abs(np.dot(signs, d)) for signs in product((-1, 1), repeat=len(d))]
    expected = np.mean(np.array(sums) >= abs(d.sum()) - 1e-12)
    assert paired.sign_flip(d) == (pytest.approx(expected), 2 / 2**5, 0)
    assert paired.sign_flip(np.full(6, 0.04)) == (0.03125, 0.03125, 0)
    assert paired.sign_flip(np.zeros(6)) == (1.0, 1.0, 0)


def test_holm_against_statsmodels():
    rng = np.random.default_rng(1)
    for n in (1, 2, 8):
        p = rng.uniform(0, 0.2, n)
        assert paired.holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert paired.holm([0.02, 0.02, 0.9]) == pytest.approx([0.06, 0.06, 0.9])


def test_effect_size_by_hand():
    # mean 2, SD 1, n = 3: d_z 2, Hedges' factor 1 - 3 / 7
    assert paired.effect_size([1, 2, 3]) == pytest.approx((2, 2 * 4 / 7))


@pytest.mark.parametrize("margin", [0.02, 0.08, 0.3])
def test_tost_against_statsmodels(pairs, margin):
    a, b = pairs
    p, lower, upper = paired.tost(a - b, margin, 0.05)
    assert p == pytest.approx(ttost_paired(a, b, -margin, margin)[0])
    assert (lower, upper) == pytest.approx(DescrStatsW(a - b).tconfint_mean(0.1))
    assert (p < 0.05) == (-margin < lower and upper < margin)


@pytest.mark.parametrize("values", [[0.3, 0.1, -0.2, 0.4, 0.9], [0.0, 0.01, 0.02, 0.03, 0.5]])
def test_bootstrap_t_against_all_resamples(values):
    """Quantiles of t over all 5**5 resamples, one by one; those of a single value lie infinitely far out."""
    d = np.array(values)
    ts = []
    for drawn in product(d, repeat=len(d)):
        mean, spread = np.mean(drawn), np.std(drawn, ddof=1)
        flat = len(set(drawn)) == 1
        ts.append(np.copysign(np.inf, mean - d.mean()) if flat else (mean - d.mean()) / (spread / 5**0.5))
    low, high = np.quantile(ts, [0.05, 0.95], method="inverted_cdf")
    error = d.std(ddof=1) / 5**0.5
    lower, upper = paired.bootstrap_t(d, 0.1, seed=3, resamples=99_999)
    assert d.mean() - lower == pytest.approx(high * error, rel=0.03)
    assert upper - d.mean() == pytest.approx(-low * error, rel=0.03)


def test_bootstrap_t_leans_where_the_differences_do():
    d = np.array([0.0, 0.01, 0.02, 0.03, 0.04, 0.3])
    lower, upper = paired.bootstrap_t(d, 0.1)
    assert paired.bootstrap_t(d, 0.1) == (lower, upper)
    assert paired.bootstrap_t(-d, 0.1) == pytest.approx((-upper, -lower), rel=0.05)
    assert upper - d.mean() > 2 * (d.mean() - lower)


def test_bootstrap_t_stays_open_where_one_block_collapsed():
    # of ten blocks nine are equal: a third of the resamples lacks the tenth and says nothing of the spread
    lower, upper = paired.bootstrap_t([0.0] * 9 + [-0.5], 0.05)
    assert lower == -math.inf
    assert all(map(math.isnan, paired.bootstrap_t([0.1, 0.2, 0.3, 0.9], 0.05)))


def test_skewed_against_scipy():
    rng = np.random.default_rng(0)
    samples = [rng.exponential(1, n) for n in (4, 6, 10, 20) for _ in range(50)]
    expected = [abs(stats.skew(d)) > 1 for d in samples]
    assert [paired.skewed(d) for d in samples] == expected
    assert 0 < sum(expected) < len(samples)
    assert not paired.skewed([0.1 + 0.2, 0.3, 0.3])


def test_no_variance_and_one_block_give_no_interval_and_no_error():
    for d in ([0.1] * 6, [0.1 + 0.2, 0.3, 0.3], [0.4]):
        found = (*paired.interval(d, 0.05), *paired.t_test(d), paired.effect_size(d)[0])
        assert all(map(math.isnan, (*found, *paired.tost(d, 0.5, 0.05), *paired.bootstrap_t(d, 0.05))))
    assert paired.lower_bound([0.1] * 6, 0.05) == pytest.approx(0.1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused(value):
    d = [0.1, 0.2, value, 0.3, 0.2, 0.1]
    for function in (
        paired.constant,
        paired.t_test,
        paired.sign_flip,
        paired.skewed,
        paired.effect_size,
        paired.holm,
        lambda d: paired.interval(d, 0.05),
        lambda d: paired.lower_bound(d, 0.05),
        lambda d: paired.above(d, 0.0),
        lambda d: paired.tost(d, 0.1, 0.05),
        lambda d: paired.bootstrap_t(d, 0.05),
    ):
        with pytest.raises(ValueError, match=f"found {value} among 6 values"):
            function(d)

"""Power against published values, statsmodels where it is right, simulation and enumeration."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from sparse_continual.statistics import paired, power

# Smallest difference in SDs that a paired t test finds with power .8, simulated; columns: .05 / 1, 2, 3, 6
SIMULATED = {
    3: (3.26, 4.62, 5.67, 8.02),
    5: (1.68, 2.05, 2.29, 2.76),
    8: (1.16, 1.34, 1.45, 1.65),
    10: (1.00, 1.14, 1.22, 1.37),
    15: (0.78, 0.88, 0.93, 1.03),
    20: (0.66, 0.74, 0.78, 0.86),
}


@pytest.mark.parametrize("n", SIMULATED)
def test_detectable_against_the_simulated_table(n):
    found = [power.detectable(n, 1.0, 0.05 / tests) for tests in (1, 2, 3, 6)]
    assert found == pytest.approx(SIMULATED[n], abs=0.006)


@pytest.mark.parametrize("n", [5, 8, 30, 1000])
@pytest.mark.parametrize("level", [0.05, 0.05 / 6])
def test_power_against_statsmodels(n, level):
    effect = TTestPower().solve_power(nobs=n, alpha=level, power=0.9)
    known = TTestPower().power(effect, n, level)
    assert power.t_power(n, 0.04 * effect, 0.04, level) == pytest.approx(known, abs=1e-9)
    assert power.t_power(n, -0.04 * effect, 0.04, level) == pytest.approx(known, abs=1e-9)
    assert power.detectable(n, 0.04, level, 0.9) == pytest.approx(0.04 * effect, rel=1e-4)


@pytest.mark.parametrize(
    ("n", "effect", "level"), [(2, 20, 0.05), (3, 5.67, 0.05 / 3), (4, 2, 0.01), (6, 1, 0.05)]
)
def test_power_against_simulated_t_tests(n, effect, level):
    d = np.random.default_rng(n).normal(effect, 1, (200_000, n))
    found = np.mean(stats.ttest_1samp(d, 0, axis=1).pvalue < level)
    assert power.t_power(n, effect, 1, level) == pytest.approx(found, abs=0.004)


@pytest.mark.parametrize(
    ("n", "margin", "expected"),
    [(5, 1.0, 0.29), (5, 1.5, 0.74), (10, 0.75, 0.43), (10, 1.0, 0.80), (20, 0.75, 0.89)],
)
def test_tost_power_against_simulated_figures(n, margin, expected):
    assert power.tost_power(n, 0.04, 0.04 * margin, 0.05) == pytest.approx(expected, abs=0.0075)


@pytest.mark.parametrize(("n", "margin", "true"), [(3, 3, 0), (6, 1.5, 0.4), (10, 1, 1), (20, 0.8, -0.3)])
def test_tost_power_against_simulated_tests(n, margin, true):
    d = np.random.default_rng(n).normal(true, 1, (100_000, n))
    below = stats.ttest_1samp(d, margin, axis=1, alternative="less").pvalue
    above = stats.ttest_1samp(d, -margin, axis=1, alternative="greater").pvalue
    found = np.mean(np.maximum(below, above) < 0.05)
    assert power.tost_power(n, 1, margin, 0.05, true) == pytest.approx(found, abs=0.005)


@pytest.mark.parametrize(("n", "margin", "level"), [(3, 3, 0.05), (6, 1.7, 0.05 / 6), (20, 0.6, 0.01)])
def test_gate_and_gated_power_against_simulated_tests(n, margin, level):
    generator = np.random.default_rng(n)
    learning, d = generator.normal(0, 0.02, (2, 100_000, n))
    gates = [
        stats.ttest_1samp(side, -0.02 * margin, axis=1, alternative="greater").pvalue < level
        for side in (learning, -learning)
    ]
    assert power.gate_power(n, 0.02, 0.02 * margin, level) == pytest.approx(np.mean(gates[0]), abs=0.005)
    inside = [
        stats.ttest_1samp(side, -0.04, axis=1, alternative="greater").pvalue < level for side in (d, -d)
    ]
    found = power.gated_tost_power(n, 0.02, 0.04, level, (0.02, 0.02 * margin))
    assert found == pytest.approx(np.mean(np.all([*gates, *inside], axis=0)), abs=0.005)


def test_a_claim_without_a_gate_or_without_spread_in_learning_has_the_power_of_its_tests():
    for gate in (None, (0.0, 0.05)):
        assert power.gated_tost_power(6, 0.02, 0.04, 0.05, gate) == power.tost_power(6, 0.02, 0.04, 0.05)
    assert math.isnan(power.gated_tost_power(6, 0.02, 0.04, 0.05, (math.nan, 0.05)))


@pytest.mark.parametrize("n", [2, 3, 6, 100])
@pytest.mark.parametrize("level", [0.05, 0.001])
def test_no_effect_is_found_as_often_as_the_level_says(n, level):
    assert power.t_power(n, 0, 0.04, level) == pytest.approx(level, abs=1e-8)
    assert power.tost_power(n, 1, 50, level, true=50) == pytest.approx(level, abs=1e-8)


def test_blocks_for_is_the_first_number_that_suffices():
    for effect, level in ((0.1, 0.05), (0.05, 0.05 / 8), (0.02, 0.05)):
        suffices = (n for n in range(5, 200) if TTestPower().power(effect / 0.04, n, level) >= 0.8)
        expected = next(suffices)
        assert expected == 5 or power.blocks_for(effect, 0.04, level) == expected
    assert power.blocks_for(0.4, 0.04, 0.05) == 3  # 10 SD: two blocks find it in 73 % of studies
    assert power.blocks_for(0.0, 0.04, 0.05) is None
    assert power.blocks_for(0.05, math.nan, 0.05) is None


@pytest.mark.parametrize("n", range(1, 9))
def test_exact_reaches_is_what_enumeration_finds(n):
    d = np.arange(1, n + 1)
    sums = [abs(np.dot(signs, d)) for signs in product((-1, 1), repeat=n)]
    smallest = np.mean(np.array(sums) >= sums[0])
    for level in (0.05, 0.05 / 3, 0.05 / 6, smallest):
        assert power.exact_reaches(n, level) == (smallest < level)
    assert smallest == pytest.approx(paired.sign_flip(d)[1])


@pytest.mark.parametrize("n", [2, 3, 10])
def test_the_upper_limit_of_an_sd_holds_as_often_as_it_says(n):
    sds = np.random.default_rng(n).normal(0, 0.04, (100_000, n)).std(axis=1, ddof=1)
    assert np.mean(sds * power.upper_sd(1.0, n) >= 0.04) == pytest.approx(0.8, abs=0.005)
    assert power.upper_sd(0.04, n) == pytest.approx(0.04 * ((n - 1) / stats.chi2.ppf(0.2, n - 1)) ** 0.5)
    assert math.isnan(power.upper_sd(0.04, 1))


def test_without_spread_or_blocks_there_is_no_power():
    for n, sd in ((1, 0.04), (6, 0.0), (6, math.nan)):
        assert math.isnan(power.detectable(n, sd, 0.05)) and math.isnan(power.tost_power(n, sd, 0.05, 0.05))


def test_plan_is_at_the_first_step_of_holm():
    found = power.plan(n=6, sd=0.04, margin=0.05, effect=0.06, level=0.05, tests=4)
    assert found["detectable"] == pytest.approx(power.detectable(6, 0.04, 0.0125))
    assert found["tost_power"] == pytest.approx(power.tost_power(6, 0.04, 0.05, 0.0125))
    blocks = found["blocks_for_effect"]
    assert power.detectable(blocks, 0.04, 0.0125) <= 0.06 < power.detectable(blocks - 1, 0.04, 0.0125)
    assert found["exact_reaches"] is True and math.isnan(found["gate_power"])
    gated = power.plan(n=6, sd=0.04, margin=0.05, effect=0.06, level=0.05, tests=4, gate=(0.02, 0.03))
    assert gated["gate_power"] == pytest.approx(power.gate_power(6, 0.02, 0.03, 0.0125))
    assert gated["tost_power"] == pytest.approx(power.gated_tost_power(6, 0.04, 0.05, 0.0125, (0.02, 0.03)))
    assert power.plan(5, 0.04, 0.05, 0.06, 0.05, 1)["exact_reaches"] is False

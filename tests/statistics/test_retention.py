"""Retained bits in closed form, and the ratio of slopes: values and coverage."""

import math

import numpy as np
import pandas
import pytest
import synthetic_tables
from scipy import stats

from sparse_continual.statistics import retention


def test_information_of_a_score():
    """The mutual information of a symmetric channel, summed over its joint distribution."""
    for options, score in ((2, 0.9), (4, 0.5), (20, 0.3), (10, 1.0)):
        joint = np.full((options, options), (1 - score) / (options - 1) / options)
        np.fill_diagonal(joint, score / options)
        p = joint[joint > 0]
        expected = (p * np.log2(p * options**2)).sum()
        assert retention.information(score, 1 / options) == pytest.approx(expected)
    assert retention.information([0.0, 0.1, 0.25], 0.25) == pytest.approx([0, 0, 0])


def test_retained_counts_what_is_trained_and_only_the_gain():
    # 2 tasks of 10 and 20 items, 4 options: known by heart is 2 bits an item
    R = [[0.25, 1.0], [1.0, 1.0], [0.25, 1.0]]
    assert retention.retained(R, [10, 20], [0.25, 0.25]) == pytest.approx([0, 20, 0])
    R = [[0.25, 0.25], [1.0, 0.25], [1.0, 1.0]]
    assert retention.retained(R, [10, 20], [0.25, 0.25]) == pytest.approx([0, 20, 60])
    # what is unlearnt of a task that was known before counts against what is held
    R = [[1.0, 0.25], [0.25, 0.25], [0.25, 1.0]]
    assert retention.retained(R, [10, 20], [0.25, 0.25]) == pytest.approx([0, -20, 20])


def test_table_adds_named_parts_each_with_its_own_chance():
    scores = synthetic_tables.frame({("dense", "1"): [[0.1, 0.1], [0.9, 0.2], [0.5, 0.8]]}, chance=0.1)
    found = retention.retention_table(scores)
    # 96 items a task
    whole = 96 * (retention.information(0.5, 0.1) + retention.information(0.8, 0.1))
    assert list(found.after) == [1, 2] and found.retained_bits.iloc[1] == pytest.approx(whole)
    assert list(found.learning) == [0.9, 0.8] and found.plasticity.tolist() == pytest.approx([0.8, 0.6])
    stream = scores[scores.position > 0]
    parts = [stream.assign(part=part, items=n, chance=c) for part, n, c in (("m", 64, 0.05), ("r", 32, 0.1))]
    found = retention.retention_table(pandas.concat([scores, *parts]))
    expected = sum(
        n
        * (retention.information(0.5, c) + retention.information(0.8, c) - 2 * retention.information(0.1, c))
        for n, c in ((64, 0.05), (32, 0.1))
    )
    assert found.retained_bits.iloc[1] == pytest.approx(expected)
    # a part that one task lacks says nothing of the others: all items are counted instead
    lacking = parts[1][parts[1].position == 1]
    found = retention.retention_table(pandas.concat([scores, parts[0], lacking]))
    assert found.retained_bits.iloc[1] == pytest.approx(whole)


def test_slopes_of_thirds():
    rng = np.random.default_rng(0)
    for T in (3, 6, 16):
        y, third = rng.normal(size=T + 1), T // 3
        x = np.arange(third + 1)
        early, late = retention.slopes(y)
        assert early == pytest.approx(np.polyfit(x, y[: third + 1], 1)[0])
        assert late == pytest.approx(np.polyfit(x, y[-third - 1 :], 1)[0])
    assert all(map(math.isnan, retention.slopes([0.0, 1.0, 2.0])))


def test_interval_of_a_ratio_is_what_the_paired_t_test_accepts():
    rng = np.random.default_rng(1)
    for n in (3, 6, 20):
        early, late = rng.normal(1, 0.15, n), rng.normal(0.6, 0.2, n)
        lower, upper = retention.ratio_interval(late, early, 0.05)
        for r in (lower, upper):
            assert stats.ttest_1samp(late - r * early, 0).pvalue == pytest.approx(0.05, abs=1e-6)
        assert stats.ttest_1samp(late - (lower + upper) / 2 * early, 0).pvalue > 0.05
        assert lower < late.mean() / early.mean() < upper
    assert all(map(math.isnan, retention.ratio_interval([1.0, 2, 3], [-1.0, 0.1, 1.2], 0.05)))
    assert all(map(math.isnan, retention.ratio_interval([1.0], [1.0], 0.05)))


def rivals(late, early, level):
    """Delta and jackknife t intervals of the ratio of means, over the last axis."""
    n = late.shape[-1]
    t = stats.t.ppf(1 - level / 2, n - 1)
    ratio = late.mean(-1) / early.mean(-1)
    delta = np.std(late - ratio[:, None] * early, axis=-1, ddof=1) / early.mean(-1) / math.sqrt(n)
    left = (late.sum(-1, keepdims=True) - late) / (early.sum(-1, keepdims=True) - early)
    jackknife = np.sqrt((n - 1) * left.var(-1))
    return {
        "delta": (ratio - t * delta, ratio + t * delta),
        "jackknife": (ratio - t * jackknife, ratio + t * jackknife),
    }


@pytest.mark.parametrize("n", [6, 10])
@pytest.mark.parametrize("late_spread, ratio", [(0.1, 1.0), (0.5, 1.0), (0.15, 0.3)])
def test_errors_of_the_interval_by_simulation(n, late_spread, ratio):
    """4,000 studies whose early slopes vary by half their size between blocks, in part with the late ones.

    The upper end below the truth would show diminishing returns where there are none.
    """
    rng = np.random.default_rng(n)
    common = 0.6 * rng.normal(size=(4000, n))
    early = 1 + 0.5 * (common + 0.8 * rng.normal(size=common.shape))
    late = ratio + late_spread * (common + 0.8 * rng.normal(size=common.shape))
    own = np.array([retention.ratio_interval(x, y, 0.05) for x, y in zip(late, early, strict=True)])
    too_low, too_high = (
        np.mean(own[:, 1] < ratio),
        np.mean(own[:, 0] > ratio),
    )  # an unbounded one is never wrong
    error = math.sqrt(0.025 * 0.975 / 4000)
    assert too_low == pytest.approx(0.025, abs=3 * error)
    assert too_high < 0.025 + 3 * error
    for name, (lower, upper) in rivals(late, early, 0.05).items():
        assert np.mean(upper < ratio) > 0.025 + 3 * error, name
        assert np.mean(lower > ratio) < 0.025 - 3 * error, name


def table(curves, bases=None):
    """slopes.csv of {condition: {block: retained bits after 0..T}}."""
    rows = [
        (arm, block, t, bits[t], 0.8, 0.5)
        for arm, own in curves.items()
        for block, bits in own.items()
        for t in range(1, len(bits))
    ]
    frame = retention.RETENTION.frame(rows)
    blocks = next(iter(curves.values()))
    found = retention.slope_table(frame, 0.05, bases or {b: b for b in blocks})
    return found.set_index(["condition", "quantity"])


def curves(late, blocks=8, T=12, seed=0):
    """Blocks that gain about 100 bits a task early and `late` of that in the last third."""
    rng = np.random.default_rng(seed)
    gains = np.r_[np.ones(T // 3), np.full(T // 3, (1 + late) / 2), np.full(T - 2 * (T // 3), late)]
    return {
        str(b): np.r_[0, np.cumsum(100 * rng.normal(1, 0.1) * gains + rng.normal(0, 3, T))]
        for b in range(blocks)
    }


def test_diminishing_returns_are_shown_or_refuted():
    found = table({"finetune": curves(0.3), "replay": curves(1.0, seed=1)})
    falls, steady = (found.loc[(arm, "retained_bits")] for arm in ("finetune", "replay"))
    assert falls.lower < 0.3 < falls.upper < falls.simultaneous_upper < 1
    assert falls.simultaneous_lower < falls.lower
    assert 0.9 < steady.simultaneous_lower < 1 < steady.simultaneous_upper < 1.1
    # learning and plasticity are level in this table: their sums rise evenly
    assert found.loc[("replay", "learning")].ratio == pytest.approx(1)
    assert "no variance" in found.loc[("replay", "learning")].note


def test_blocks_of_one_base_are_averaged_first():
    own = curves(0.5, blocks=6)
    found = table({"a": own}, {b: str(int(b) // 2) for b in own}).loc[("a", "retained_bits")]
    pairs = np.array([retention.slopes(bits) for bits in own.values()]).reshape(3, 2, 2).mean(1)
    assert found.n == 3 and found.ratio == pytest.approx(pairs[:, 1].mean() / pairs[:, 0].mean())
    assert (found.lower, found.upper) == pytest.approx(
        retention.ratio_interval(pairs[:, 1], pairs[:, 0], 0.05)
    )


def test_what_gives_no_ratio_is_said():
    short = table({"a": {"1": [0, 1.0, 2.0], "2": [0, 1.0, 2.1]}}).loc[("a", "retained_bits")]
    assert math.isnan(short.ratio) and "fewer than three tasks" in short.note
    nothing = table({"a": {"1": [0, -1.0, 2.0, 3], "2": [0, 1.0, 2.1, 4]}}).loc[("a", "retained_bits")]
    assert math.isnan(nothing.ratio) and "nothing was gained" in nothing.note
    vague = table({"a": {"1": [0, -1.0, 2.0, 3], "2": [0, 2.0, 2.1, 4]}}).loc[("a", "retained_bits")]
    assert vague.ratio > 0 and math.isnan(vague.lower) and "unbounded" in vague.note
    assert "single unit" in table({"a": {"1": [0, 1.0, 2.0, 3]}}).loc[("a", "retained_bits")].note

"""From the tables of a stream to its estimates, on data made so that the right answer is known."""

import math

import numpy as np
import pandas
import pytest
import synthetic_tables
from scipy import stats

from sparse_continual import tables
from sparse_continual.errors import UserError
from sparse_continual.runs.tables import SAVINGS
from sparse_continual.scores.tables import ITEMS
from sparse_continual.statistics import (
    compare,
    estimate,
    flags,
    matrices,
    metric_table,
    metrics,
    paired,
    summary,
)
from sparse_continual.statistics import tables as statistics_tables

ALWAYS, EXTRA = ["scores", "runs", "trials"], ["references", "items", "repeats", "savings", "calibrated"]
WOBBLE = np.array([0.01, -0.01, 0.02, -0.02, 0.005, -0.005, 0.012, -0.012, 0.003, -0.003])
SAME_SHAPE = {"name": "x", "plus": ["sparse"], "minus": ["dense"], "estimand": "same_shape"}


def study(arms, blocks=10, chance=0.0, ceiling=1.0):
    """Two-task score table; `arms` is condition -> (learnt, kept at the end), numbers or lists by block."""
    matrices_of = {}
    for arm, (learnt, kept) in arms.items():
        for b in range(blocks):
            top, end = np.broadcast_to(learnt, blocks)[b], np.broadcast_to(kept, blocks)[b]
            matrices_of[arm, str(b + 1)] = [[0.1, 0.1], [top, 0.1 + WOBBLE[b] / 10], [end, top]]
    return synthetic_tables.frame(matrices_of, chance, ceiling)


def indexed(scores):
    return compare.index(metric_table.metric_table(matrices.of_stream(scores), matrices.of_base(scores)))


def compared(arms, contrasts=(SAME_SHAPE,), blocks=10, bases=None, margin=0.05, **more):
    bases = bases or {str(b + 1): str(b + 1) for b in range(blocks)}
    found = compare.contrast_table(indexed(study(arms, blocks, **more)), contrasts, 0.05, margin, bases)
    return found.set_index(["contrast", "metric", "scale"]).sort_index()


def test_a_plain_effect_with_its_tests_and_gate():
    row = compared({"dense": (0.8, 0.3), "sparse": (0.8, 0.5 + WOBBLE)}).loc[("x", "forgetting", "raw")]
    d = -(0.2 + WOBBLE)
    reference = stats.ttest_1samp(d, 0)
    assert row["mean"] == pytest.approx(-0.2) and row["median"] == pytest.approx(np.median(d))
    assert (row.lower, row.upper) == pytest.approx(tuple(reference.confidence_interval(0.95)))
    assert (row.t, row.df, row.p, row.p_source) == (
        pytest.approx(reference.statistic),
        9,
        pytest.approx(reference.pvalue),
        "t",
    )
    assert (row.sign_flip_p, row.sign_flip_smallest) == (2 / 2**10, 2 / 2**10)
    assert (row.bootstrap_lower, row.bootstrap_upper) == pytest.approx(paired.bootstrap_t(d, 0.05))
    assert (row.role, row.unit, row.bases, row.skewed) == ("primary", "block", "one per block", "false")
    assert row.gate_passed and row.learning_difference == pytest.approx(0)


def test_learning_less_closes_the_gate():
    found = compared({"dense": (0.8, 0.3), "sparse": (0.6 + WOBBLE, 0.5 + WOBBLE)})
    assert not found.gate_passed.any()
    row = found.loc[("x", "forgetting", "raw")]
    assert row.learning_difference == pytest.approx(-0.2) and row.learning_lower < -0.2
    assert compared({"dense": (0.8, 0.3), "sparse": (0.6, 0.5 + WOBBLE)}, margin=0.3).gate_passed.all()


def test_no_variance_is_said_and_takes_the_exact_test():
    row = compared({"dense": (0.8, 0.3), "sparse": (0.8, 0.5)}).loc[("x", "forgetting", "raw")]
    assert row.p_source == "sign-flip" and row.p == 2 / 2**10
    assert np.isnan([row.lower, row.t, row.bootstrap_lower]).all()
    assert row.note == "no variance: the same value in all 10 blocks, so no interval and no t test"


def test_identical_arms_differ_by_exactly_nothing():
    arms = {"dense": (0.8 + WOBBLE, 0.3 - WOBBLE), "sparse": (0.8 + WOBBLE, 0.3 - WOBBLE)}
    found = compared(arms)
    assert (found["mean"] == 0).all() and (
        found.note.str.startswith("no variance: zero in all 10 blocks")
    ).all()
    row = found.loc[("x", "forgetting", "raw")]
    assert (row.p, row.sign_flip_p, row.sign_flip_smallest) == (1, 1, 1) and row.gate_passed


def test_one_block_gives_means_and_no_tests():
    row = compared({"dense": (0.8, 0.3), "sparse": (0.8, 0.5)}, blocks=1).loc[("x", "forgetting", "raw")]
    assert row["mean"] == pytest.approx(-0.2) and "single block" in row.note
    assert math.isnan(row.lower) and math.isnan(row.sd) and not row.gate_passed


def test_interaction_and_level():
    arms = {"a": (0.8, 0.1 + WOBBLE), "b": (0.8, 0.2), "c": (0.8, 0.3), "d": (0.8, 0.7 + WOBBLE)}
    both = {"name": "both", "plus": ["a", "b"], "minus": ["c", "d"], "estimand": "stacking"}
    level = {"name": "level", "plus": ["c"], "minus": [], "estimand": "level"}
    load = SAME_SHAPE | {
        "name": "load",
        "plus": ["a"],
        "minus": ["b"],
        "estimand": "load",
        "streams": ["p", "q"],
    }
    found = compared(arms, [both, level, load])
    # forgetting: (.7 + .6) - (.5 + .1) = .7
    assert found.loc[("both", "forgetting", "raw")]["mean"] == pytest.approx(0.7)
    row = found.loc[("level", "forgetting", "raw")]
    assert row["mean"] == pytest.approx(0.5) and row.minus == "" and row.gate_passed
    assert math.isnan(row.learning_difference)
    assert "load" not in found.index.get_level_values(
        0
    )  # it takes two streams; its own ones are in differences
    bases = {str(b + 1): "one" for b in range(10)}
    differences = compare.difference_table(indexed(study(arms)), [load], bases)
    own = differences[(differences.metric == "forgetting") & (differences.scale == "raw")]
    assert own.difference.to_numpy() == pytest.approx(0.1 - WOBBLE) and set(own.base) == {"one"}


def test_blocks_of_one_base_are_averaged_before_anything_is_tested():
    bases = {str(b + 1): str(b // 2) for b in range(10)}
    arms = {"dense": (0.8, 0.3), "sparse": (0.8, 0.5 + np.abs(WOBBLE) * np.arange(10))}
    row = compared(arms, bases=bases).loc[("x", "forgetting", "raw")]
    d = -(0.2 + np.abs(WOBBLE) * np.arange(10)).reshape(5, 2).mean(1)
    assert (row.n, row.unit, row.bases, row.df) == (5, "base", "5 for 10 blocks", 4)
    assert row.p == pytest.approx(stats.ttest_1samp(d, 0).pvalue) and row.sd == pytest.approx(d.std(ddof=1))
    one = compared(arms, bases=dict.fromkeys(bases, "published")).loc[("x", "forgetting", "raw")]
    assert (one.n, one.unit, one.bases) == (10, "block", "one for all blocks")


def test_other_scales_stand_beside_and_change_no_test():
    arms = {"dense": (0.8, 0.3), "sparse": (0.8, 0.5 + WOBBLE)}
    found = [compared(arms, chance=chance) for chance in (0.0, 0.2)]
    raw = [rows.loc[("x", "forgetting", "raw")] for rows in found]
    assert raw[0]["mean"] == raw[1]["mean"] and raw[0].p == raw[1].p
    corrected = found[1].loc[("x", "forgetting", "corrected")]
    assert corrected["mean"] == pytest.approx(raw[0]["mean"] / 0.8)
    assert corrected.role == "beside" and math.isnan(corrected.p) and corrected.p_source == ""
    # the table's loss is 1 - score, in nats
    bits = found[0].loc[("x", "forgetting", "bits")]
    assert bits["mean"] == pytest.approx(raw[0]["mean"] / math.log(2))


def test_scores_that_are_none_are_refused_by_name():
    scores = study({"sparse": (0.8, 0.3)}, blocks=2)
    scores.loc[(scores.block == "2") & (scores.after == 1) & (scores.position == 2), "score"] = 1.2
    with pytest.raises(UserError, match=r"sparse, block 2.*task task2 after task 1 .*1\.2"):
        matrices.of_stream(scores)


def test_arms_on_other_blocks_are_refused_by_name(tmp_path):
    synthetic_tables.write(tmp_path, ["sparse", "dense"], blocks=3, T=2)
    scores = tables.read(tmp_path / "scores.csv")
    tables.write(tmp_path / "scores.csv", scores[(scores.condition != "dense") | (scores.block != "2")])
    with pytest.raises(
        UserError, match="sparse and dense were not run on the same blocks: sparse alone has 2"
    ):
        estimate.estimate(tmp_path, tmp_path / "out", [SAME_SHAPE], 0.05, 0.05, {b: b for b in "123"}, ALWAYS)


def test_base_retention_comes_from_position_zero():
    found = indexed(study({"dense": (0.8, 0.3)}, blocks=1))
    assert found["all", "base_retention", "raw"]["dense"]["1"] == pytest.approx(-0.2)


def test_summary_counts_blocks_without_a_value():
    arms = {"dense": (np.r_[0.05, np.full(9, 0.8)], np.r_[0.05, 0.3 + WOBBLE[1:]])}  # block 1 gained nothing
    values = metric_table.metric_table(matrices.of_stream(study(arms)))
    found = summary.summary_table(values, 0.05, {str(b): str(b) for b in range(1, 11)})
    row = found[(found.metric == "fraction_lost") & (found.scale == "raw")].iloc[0]
    assert row.n == 9 and row.note == "not defined in 1 of 10 blocks"
    expected = (0.8 - 0.3 - WOBBLE[1:]) / 0.7
    assert row["mean"] == pytest.approx(expected.mean())
    assert (row.lower, row.upper) == pytest.approx(paired.interval(expected, 0.05))


def test_flags():
    R = [[0.1, 0.1, 0.1], [0.12, 0.6, 0.1], [0.11, 0.13, 0.1], [0.1, 0.1, 0.5]]
    scores = synthetic_tables.frame(
        {("dense", "1"): R, ("sparse", "1"): np.diag([0.9, 0.9, 0.9])[[0, 0, 1, 2]]}, 0.1
    )
    runs = pandas.DataFrame(
        [("dense", "1", 2, "task2", "cap", 400)],
        columns=["condition", "block", "position", "task", "stop", "steps"],
    )
    found = flags.flags(scores, runs)
    dense = found[found.condition == "dense"]
    assert list(zip(dense.kind, dense.position, strict=True)) == [
        ("floor", 1),
        ("not learnt", 2),
        ("collapse", 0),
        ("cap", 2),
    ]
    assert dense.value[dense.kind == "collapse"].item() == pytest.approx(2 / 3)
    learnt = synthetic_tables.frame(
        {("sparse", "1"): np.vstack([np.zeros(3), np.triu(np.full((3, 3), 0.9)).T])}
    )
    assert flags.flags(learnt, runs[:0]).empty


def extra_tables(folder, conditions, blocks, T):
    """Tables that a study may ask for besides: references, items, repeats, savings, calibrated scores."""
    scores, rng = tables.read(folder / "scores.csv"), np.random.default_rng(0)
    tables.write(folder / "calibrated.csv", scores.assign(score=scores.score / 2))
    again = scores[(scores.block == "1") & (scores.condition == conditions[0])]
    tables.write(
        folder / "repeats.csv",
        again.assign(score=np.clip(again.score + 0.01 * rng.normal(size=len(again)), 0, 1)),
    )
    own = scores[(scores.after == scores.position) & (scores.position > 0)]
    kinds = [own.assign(kind=kind, score=score) for kind, score in (("single", 0.5), ("joint", 0.75))]
    tables.write(folder / "references.csv", pandas.concat(kinds))
    rows = [
        (c, str(b), after, f"task{p}", p, " ".join(map(str, rng.integers(2, size=8))))
        for c in conditions
        for b in range(1, blocks + 1)
        for after in range(T + 1)
        for p in range(1, T + 1)
    ]
    tables.write(folder / "items.csv", ITEMS.frame(rows))
    rows = [
        (c, str(b), f"task{p}", p, 8, 0.6, 0.5)
        for c in conditions
        for b in range(1, blocks + 1)
        for p in range(1, T)
    ]
    tables.write(folder / "savings.csv", SAVINGS.frame(rows))


def test_files_are_documented_repeatable_and_read_back(tmp_path):
    conditions = ["sparse", "dense", "unlocked"]
    synthetic_tables.write(tmp_path / "tables", conditions, blocks=6, T=3)
    extra_tables(tmp_path / "tables", conditions, 6, 3)
    level = {"name": "level", "plus": ["sparse"], "minus": [], "estimand": "level"}
    contrasts = [*synthetic_tables.CONTRASTS[:2], level]
    bases = {str(b): str((b + 1) // 2) for b in range(1, 7)}
    for name, extra in (("one", EXTRA), ("two", EXTRA), ("plain", ())):
        estimate.estimate(
            tmp_path / "tables", tmp_path / name, contrasts, 0.05, 0.05, bases, [*ALWAYS, *extra]
        )
    files = sorted((tmp_path / "one").iterdir())
    assert [f.stem for f in files] == sorted(table.name for table in tables.declared(statistics_tables))
    for file in files:
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
        for made in (file, tmp_path / "plain" / file.name):
            assert list(tables.read(made).columns) == tables.every()[file.stem].names
            assert b"nan" not in made.read_bytes().lower()
    values = tables.read(tmp_path / "one" / "metrics.csv")
    assert set(values.metric) == set(metrics.METRICS)
    assert set(values.scale) == {"raw", "corrected", "bits", "calibrated"}
    assert set(tables.read(tmp_path / "one" / "summary.csv").part) == {"all", "memory", "relation"}
    assert set(values[values.metric == "savings"].value) == {0.1}
    raw = (
        values[(values.scale == "raw") & (values.part == "all") & (values.condition == "dense")]
        .set_index("metric")
        .value
    )
    assert raw["intransigence"].to_numpy() == pytest.approx(0.75 - raw["learning_accuracy"].to_numpy())
    calibrated = values[
        (values.scale == "calibrated") & (values.metric == "forgetting") & (values.part == "all")
    ]
    plain = values[(values.scale == "raw") & (values.metric == "forgetting") & (values.part == "all")]
    assert calibrated.value.to_numpy() == pytest.approx(plain.value.to_numpy() / 2)
    frontier = tables.read(tmp_path / "one" / "frontier.csv")
    assert len(frontier) == 3 * 4 * 2 and frontier.chosen.sum() == 3 * 2
    components = tables.read(tmp_path / "one" / "components.csv")
    assert set(components.component) == {"block", "items", "repeat", "base", "residual", "condition"}
    without = tables.read(tmp_path / "plain" / "components.csv")
    assert set(without.component) == {"block", "base", "residual", "condition"}
    assert not {"savings", "intransigence"} & set(tables.read(tmp_path / "plain" / "metrics.csv").metric)


def test_contrast_means_agree_with_the_metrics_written(tmp_path):
    synthetic_tables.write(tmp_path, synthetic_tables.CONDITIONS[:3], blocks=6, T=3)
    scores = tables.read(tmp_path / "scores.csv")
    bases = {str(b): str(b) for b in range(1, 7)}
    found = compare.contrast_table(indexed(scores), synthetic_tables.CONTRASTS[:1], 0.05, 0.05, bases)
    R = {(s.condition, s.block): s.raw for s in matrices.of_stream(scores) if s.part == "all"}
    by_hand = np.mean(
        [metrics.forgetting(R["sparse", b]) - metrics.forgetting(R["unlocked", b]) for b in bases]
    )
    assert found.iloc[0]["mean"] == pytest.approx(by_hand)

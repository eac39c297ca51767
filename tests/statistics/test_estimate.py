"""From a score table to verdicts, on data made so that the right verdict is known."""

import numpy as np
import pandas
import pytest
import synthetic_tables

from sparse_continual.errors import UserError
from sparse_continual.statistics import columns, estimate, flags, matrices, metrics, tables

WOBBLE = np.array([0.01, -0.01, 0.02, -0.02, 0.005, -0.005, 0.012, -0.012, 0.003, -0.003])


def study(arms, blocks=10, chance=0.0, ceiling=1.0):
    """Two-task score table; `arms` is condition -> (learnt, kept at the end), numbers or lists by block."""
    matrices_of = {}
    for arm, (learnt, kept) in arms.items():
        for b in range(blocks):
            top, end = np.broadcast_to(learnt, blocks)[b], np.broadcast_to(kept, blocks)[b]
            matrices_of[arm, str(b + 1)] = [[0.1, 0.1], [top, 0.1 + WOBBLE[b] / 10], [end, top]]
    return synthetic_tables.frame(matrices_of, chance, ceiling)


def compared(arms, contrasts=None, blocks=10, one_base=False, margin=0.05):
    contrasts = contrasts or [{"name": "x", "plus": ["sparse"], "minus": ["dense"], "family": "f"}]
    values = estimate.metric_table(study(arms, blocks))
    found = estimate.contrast_table(values, contrasts, 0.05, margin, one_base)
    return found.set_index(["contrast", "metric"])


def test_a_plain_effect_is_shown_with_its_interval_and_gate():
    row = compared({"dense": (0.8, 0.3), "sparse": (0.8, 0.5 + WOBBLE)}).loc[("x", "forgetting")]
    assert row.verdict == "shown"
    assert row["mean"] == pytest.approx(-0.2) and row.lower < -0.2 < row.upper < 0
    assert row.simultaneous_lower < row.lower
    assert row.gate_passed and row.learning_difference == pytest.approx(0)
    assert row.tests == 2 and row.exact_reaches_holm == "true"
    assert row.bases == "one per block"


def test_learning_less_closes_the_gate_for_both_primaries():
    found = compared({"dense": (0.8, 0.3), "sparse": (0.6 + WOBBLE, 0.5 + WOBBLE)})
    assert list(found[found.role == "primary"].verdict) == ["gate failed"] * 2
    assert not found.gate_passed.any()
    assert compared({"dense": (0.8, 0.3), "sparse": (0.6, 0.5 + WOBBLE)}, margin=0.3).gate_passed.all()


def test_five_blocks_are_descriptive_and_six_cannot_reach_holm():
    arms = {"dense": (0.8, 0.3), "sparse": (0.8, np.r_[0.5 + WOBBLE][:5])}
    assert compared(arms, blocks=5).loc[("x", "forgetting")].verdict == "descriptive"
    row = compared({"dense": (0.8, 0.3), "sparse": (0.8, 0.5 + WOBBLE[:6])}, blocks=6).loc[
        ("x", "forgetting")
    ]
    assert (row.verdict, row.exact_reaches_level, row.exact_reaches_holm) == ("shown", "true", "false")


def test_noise_is_not_distinguished():
    row = compared({"dense": (0.8, 0.3), "sparse": (0.8, 0.3 + WOBBLE)}).loc[("x", "forgetting")]
    assert row.verdict == "not distinguished" and row.detectable > 0


def test_blocks_that_do_not_differ_put_the_level_out_of_reach():
    kept = np.r_[0.3, 0.3, 0.3 + WOBBLE[2:6]]
    row = compared({"dense": (0.8, 0.3), "sparse": (0.8, kept)}, blocks=6).loc[("x", "forgetting")]
    assert row.sign_flip_smallest == 1 / 8 and row.verdict == "descriptive"


def test_no_variance_is_said_and_takes_the_exact_test():
    found = compared({"dense": (0.8, 0.3), "sparse": (0.8, 0.5)})
    row = found.loc[("x", "forgetting")]
    assert row.p_source == "sign-flip" and row.p == 2 / 2**10
    assert np.isnan(row.lower) and "no variance" in row.note
    assert row.verdict == "shown"
    assert not found[["mean", "holm_p", "sign_flip_p"]][found.role == "primary"].isna().any(axis=None)


def test_one_block_gives_means_and_no_tests():
    row = compared({"dense": (0.8, 0.3), "sparse": (0.8, 0.5)}, blocks=1).loc[("x", "forgetting")]
    assert row.verdict == "descriptive" and row["mean"] == pytest.approx(-0.2) and "single block" in row.note


def test_interaction_and_families():
    arms = {"a": (0.8, 0.1 + WOBBLE), "b": (0.8, 0.2), "c": (0.8, 0.3), "d": (0.8, 0.7 + WOBBLE)}
    contrasts = [
        {"name": "both", "plus": ["a", "b"], "minus": ["c", "d"], "family": "f"},
        {"name": "one", "plus": ["a"], "minus": ["c"], "family": "f"},
        {"name": "alone", "plus": ["b"], "minus": ["c"], "family": "g"},
    ]
    found = compared(arms, contrasts)
    # forgetting: (.7 + .6) - (.5 + .1) = .7
    assert found.loc[("both", "forgetting")]["mean"] == pytest.approx(0.7)
    assert list(found[found.role == "primary"].tests) == [4, 4, 4, 4, 2, 2]


def test_chance_correction_stands_beside_and_changes_no_test():
    contrasts = [{"name": "x", "plus": ["sparse"], "minus": ["dense"], "family": "f"}]
    arms = {"dense": (0.8, 0.3), "sparse": (0.8, 0.5 + WOBBLE)}
    rows = [
        estimate.contrast_table(
            estimate.metric_table(study(arms, chance=c)), contrasts, 0.05, 0.05, True
        ).iloc[0]
        for c in (0.0, 0.2)
    ]
    assert rows[0]["mean"] == rows[1]["mean"] and rows[0].p == rows[1].p
    assert rows[1].corrected_mean == pytest.approx(rows[0]["mean"] / 0.8)
    assert rows[1].bases == "one for all blocks"


def test_ceiling_at_chance_is_refused_by_name():
    with pytest.raises(UserError, match="sparse, block 1.*ceiling above chance"):
        matrices.of_stream(study({"sparse": (0.8, 0.3)}, chance=1.0))


def test_a_missing_cell_is_named():
    scores = study({"sparse": (0.8, 0.3)}, blocks=1)
    with pytest.raises(ValueError, match="sparse, block 1, part all: 5 rows, expected 6"):
        matrices.of_stream(scores[~((scores.after == 1) & (scores.position == 2))])


def test_base_retention_comes_from_position_zero():
    values = estimate.metric_table(study({"dense": (0.8, 0.3)}, blocks=1))
    row = values[(values.metric == "base_retention") & (values.scale == "raw")].iloc[0]
    assert row.value == pytest.approx(-0.2)


def test_flags():
    R = [[0.1, 0.1], [0.12, 0.6], [0.11, 0.13]]
    scores = synthetic_tables.frame({("dense", "1"): R}, chance=0.1)
    runs = pandas.DataFrame(
        [("dense", "1", 2, "task2", "cap", 400)],
        columns=["condition", "block", "position", "task", "stop", "steps"],
    )
    found = flags.flags(scores, runs)
    assert list(zip(found.kind, found.position, strict=True)) == [("floor", 1), ("not learnt", 2), ("cap", 2)]


def test_files_are_documented_repeatable_and_read_back(tmp_path):
    synthetic_tables.write(tmp_path / "tables", synthetic_tables.CONDITIONS[:3], blocks=6, T=3)
    contrasts = synthetic_tables.CONTRASTS[:2]
    for name in ("one", "two"):
        estimate.estimate(tmp_path / "tables", tmp_path / name, contrasts, 0.05, 0.05, False)
    files = sorted((tmp_path / "one").iterdir())
    assert [f.stem for f in files] == ["contrasts", "differences", "flags", "frontier", "metrics", "summary"]
    for file in files:
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
        assert list(tables.read(file).columns) == list(columns.TABLES[file.stem])
        assert b"nan" not in file.read_bytes().lower()
    summary = tables.read(tmp_path / "one" / "summary.csv")
    assert set(summary.metric) == set(columns.METRICS)
    assert set(summary.part) == {"all", "memory", "relation"}
    frontier = tables.read(tmp_path / "one" / "frontier.csv")
    assert len(frontier) == 3 * 4 * 2 and frontier.chosen.sum() == 3 * 2


def test_contrast_means_agree_with_the_metrics_written(tmp_path):
    synthetic_tables.write(tmp_path, synthetic_tables.CONDITIONS[:3], blocks=6, T=3)
    scores = tables.read(tmp_path / "scores.csv")
    values = estimate.metric_table(scores)
    found = estimate.contrast_table(values, synthetic_tables.CONTRASTS[:1], 0.05, 0.05, False)
    R = {(s.condition, s.block): s.raw for s in matrices.of_stream(scores) if s.part == "all"}
    by_hand = np.mean(
        [
            metrics.forgetting(R["sparse", b]) - metrics.forgetting(R["unlocked", b])
            for b in map(str, range(1, 7))
        ]
    )
    assert found.iloc[0]["mean"] == pytest.approx(by_hand)

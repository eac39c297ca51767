"""From tidy tables to matrices: places, scales, reference runs, and what is refused by its name."""

import numpy as np
import pandas
import pytest
import synthetic_tables
from worked import JOINT, SINGLE, WORKED

from sparse_continual.errors import UserError
from sparse_continual.statistics import matrices, metrics


@pytest.fixture
def scores():
    return synthetic_tables.frame({("dense", "1"): WORKED, ("sparse", "1"): WORKED / 2}, chance=0.1)


def references(single=SINGLE, joint=JOINT, condition="dense"):
    """references.csv of one run. The joint runs are scored on all their tasks, and before training."""
    rows = [("single", condition, "1", j, f"task{j}", j, "all", s) for j, s in enumerate(single, 1)]
    for k in range(5):
        rows += [
            ("joint", condition, "1", k, f"task{j}", j, "all", joint[j - 1] if j == k else 0.05 * k)
            for j in range(1, 5)
        ]
    rows = [(*row, 1 - row[-1], 96, 0.1, 1.0) for row in rows]
    columns = "kind condition block after task position part score loss items chance ceiling"
    return pandas.DataFrame(rows, columns=columns.split())


def test_cells_lie_in_their_places_whatever_the_order_of_rows(scores):
    shuffled = scores.sample(frac=1, random_state=3)
    found = {entry.condition: entry for entry in matrices.of_stream(shuffled)}
    assert np.array_equal(found["dense"].raw, WORKED)
    assert np.array_equal(found["sparse"].raw, WORKED / 2)
    assert found["dense"].corrected == pytest.approx((WORKED - 0.1) / 0.9)
    assert found["dense"].bits == pytest.approx(-(1 - WORKED) / np.log(2))  # the table's loss is 1 - score


def test_values_on_each_scale(scores):
    entry = matrices.of_stream(scores)[0]
    raw = entry.values("raw")
    assert list(raw) == list(metrics.OF_MATRIX)
    assert raw["forgetting"] == pytest.approx(0.35 / 3)
    assert entry.values("corrected")["forgetting"] == pytest.approx(0.35 / 3 / 0.9)
    bits = entry.values("bits")
    assert bits["forgetting"] == pytest.approx(0.35 / 3 / np.log(2))
    assert set(raw) - set(bits) == {"learning_accuracy", "average_accuracy", "anytime_average"}


def test_reference_runs_add_their_metrics(scores):
    dense, sparse = matrices.of_stream(scores, references())
    assert dense.values("raw")["forward_transfer_single"] == pytest.approx(-0.05 / 3)
    assert dense.values("raw")["intransigence"] == pytest.approx(0.045)
    assert dense.values("raw")["intransigence_last"] == pytest.approx(0.1)
    assert dense.values("corrected")["intransigence"] == pytest.approx(0.05)
    assert dense.values("bits")["intransigence"] == pytest.approx(0.045 / np.log(2))
    assert not set(metrics.OF_REFERENCE) & set(sparse.values("raw"))  # has no reference runs


def test_one_joint_run_on_all_tasks_gives_the_intransigence_of_the_last(scores):
    table = references()
    dense = matrices.of_stream(scores, table[(table.kind == "joint") & (table.after == 4)])[0]
    assert dense.values("raw")["intransigence_last"] == pytest.approx(0.1)
    assert "intransigence" not in dense.values("raw")


def test_a_joint_run_that_is_missing_is_named(scores):
    table = references()
    table = table[~((table.kind == "joint") & (table.after == 3))]
    with pytest.raises(ValueError, match=r"joint reference scores of dense, block 1.*\[1, 2, 4\]"):
        matrices.of_stream(scores, table)


def test_base_is_averaged_over_its_members(scores):
    member = scores[scores.position == 0].assign(score=0.5, loss=2.0)
    entry = matrices.of_base(pandas.concat([scores, member]))[0]
    assert entry.raw == pytest.approx((np.array([1, 0.9, 0.8, 0.7, 0.6]) + 0.5) / 2)
    assert entry.values("raw") == {"base_retention": pytest.approx(-0.2)}
    assert entry.values("bits") == {"base_retention": pytest.approx(0)}


def test_savings_by_run():
    columns = ["condition", "block", "task", "position", "steps", "score_old", "score_base"]
    rows = [("dense", b, f"task{j}", j, 10, 0.5 + 0.1 * j, 0.4) for b in "12" for j in (1, 2)]
    found = matrices.of_table(metrics.METRICS["savings"], pandas.DataFrame(rows, columns=columns))
    assert found == [("dense", "1", pytest.approx(0.25)), ("dense", "2", pytest.approx(0.25))]


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("score", 1.2, "score 1.2, expected one in \\[0, 1\\]"),
        ("score", -0.1, "score -0.1, expected one in \\[0, 1\\]"),
        ("score", np.nan, "score nan, expected one in \\[0, 1\\]"),
        ("loss", np.nan, "loss nan, expected a finite one"),
        ("loss", np.inf, "loss inf, expected a finite one"),
        ("chance", 1.0, "chance 1.0 and ceiling 1.0, expected a ceiling above chance"),
    ],
)
def test_a_score_that_is_none_is_named(scores, column, value, words):
    own = (scores.condition == "sparse") & (scores.after == 3) & (scores.position == 2)
    scores.loc[own, column] = value
    with pytest.raises(
        UserError, match=f"^scores of sparse, block 1, part all: task task2 after task 3 has {words}"
    ):
        matrices.of_stream(scores)


def test_a_base_score_that_is_none_is_named(scores):
    scores.loc[(scores.condition == "dense") & (scores.after == 1) & (scores.position == 0), "score"] = 2.0
    with pytest.raises(
        UserError, match="^base scores of dense, block 1: task base after task 1 has score 2.0"
    ):
        matrices.of_base(scores)


def test_missing_and_double_cells_are_refused(scores):
    cell = (scores.condition == "dense") & (scores.after == 2) & (scores.position == 4)
    with pytest.raises(ValueError, match="dense, block 1, part all: 19 rows, expected 20"):
        matrices.of_stream(scores[~cell])
    with pytest.raises(ValueError, match="dense, block 1, part all: 21 rows, expected 20"):
        matrices.of_stream(pandas.concat([scores, scores[cell]]))
    other = scores.copy()
    other.loc[cell, "after"] = 3  # as many rows, one cell twice and one not at all
    with pytest.raises(ValueError, match="one per task after 0..4"):
        matrices.of_stream(other)


def test_a_part_that_only_some_tasks_have_makes_no_matrix(scores):
    part = scores[(scores.position.isin([1, 2])) & (scores.condition == "dense")].assign(part="memory")
    found = matrices.of_stream(pandas.concat([scores, part]))
    assert [(entry.condition, entry.part) for entry in found] == [("dense", "all"), ("sparse", "all")]


def test_every_metric_is_computed_from_something():
    known = {*metrics.OF_MATRIX, *metrics.OF_REFERENCE, *metrics.OF_TABLE, "base_retention"}
    assert known == set(metrics.METRICS)

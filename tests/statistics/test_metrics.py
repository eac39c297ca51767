"""Metrics against a worked matrix whose values were computed by other people's code, and by hand."""

import numpy as np
import pytest

from sparse_continual.errors import UserError
from sparse_continual.statistics import metrics

# Four tasks; rows: before the stream, after task 1..4. Values by hand, and by the metric code of GEM,
# A-GEM and Avalanche where these use the same definition.
WORKED = np.array(
    [
        [0.40, 0.25, 0.30, 0.20],
        [0.80, 0.30, 0.20, 0.10],
        [0.70, 0.80, 0.35, 0.15],
        [0.75, 0.90, 0.85, 0.40],
        [0.85, 0.60, 0.65, 0.70],
    ]
)
# Two tasks: learnt to .6 and .8; the first falls to .5, the second rises from 0 to .1 before its turn.
SMALL = np.array([[0.2, 0.0], [0.6, 0.1], [0.5, 0.8]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("average_accuracy", 0.7000),  # GEM
        ("learning_accuracy", 0.7875),
        ("backward_transfer", -0.35 / 3),  # Mammoth, Avalanche
        ("forgetting", 0.35 / 3),  # Avalanche
        ("forgetting_max", 0.1500),  # A-GEM
        ("forward_transfer", 0.1000),
        # learning above zero-shot of tasks 1..3 is .40 + .55 + .55 = 1.50
        ("fraction_lost", 0.35 / 1.50),
    ],
)
def test_worked_matrix(name, expected):
    assert metrics.OF_MATRIX[name](WORKED) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("average_accuracy", 0.65),
        ("learning_accuracy", 0.7),
        ("forgetting", 0.1),
        ("backward_transfer", -0.1),
        ("forgetting_max", 0.1),
        ("forward_transfer", 0.1),
        ("fraction_lost", 0.25),
    ],
)
def test_two_tasks(name, expected):
    assert metrics.OF_MATRIX[name](SMALL) == pytest.approx(expected, abs=1e-12)


def test_improvement_is_negative_forgetting_and_not_clipped():
    R = [[0, 0], [0.5, 0], [0.7, 0.5]]
    assert metrics.forgetting(R) == pytest.approx(-0.2)
    assert metrics.forgetting_max(R) == pytest.approx(-0.2)


def test_row_zero_matters_to_transfer_and_fraction_alone():
    shifted = WORKED.copy()
    shifted[0] -= 0.1
    for name in ("forgetting", "forgetting_max", "learning_accuracy", "average_accuracy"):
        assert metrics.OF_MATRIX[name](shifted) == metrics.OF_MATRIX[name](WORKED)
    assert metrics.forward_transfer(shifted) == pytest.approx(metrics.forward_transfer(WORKED) + 0.1)


def test_fraction_lost_is_not_defined_when_nothing_was_gained():
    assert np.isnan(metrics.fraction_lost([[0.5, 0], [0.5, 0], [0.1, 0.5]]))


def test_base_retention():
    assert metrics.base_retention([0.9, 0.7, 0.8, 0.4]) == pytest.approx(-0.5)
    with pytest.raises(ValueError, match="after task 1"):
        metrics.base_retention([0.9, float("nan"), 0.8])


def test_nan_is_refused_by_its_place():
    R = WORKED.copy()
    R[2, 3] = np.nan
    for metric in metrics.OF_MATRIX.values():
        with pytest.raises(ValueError, match="after task 2 for the task in position 4"):
            metric(R)


def test_one_task_is_the_users_to_mend():
    with pytest.raises(UserError, match="1 task.*at least 2"):
        metrics.forgetting([[0.1], [0.9]])


def test_a_matrix_without_row_zero_is_refused():
    with pytest.raises(ValueError, match="row before the stream"):
        metrics.forgetting(WORKED[1:])


def test_chance_correction():
    assert metrics.correct([0.25, 0.625, 1.0], 0.25, 1.0) == pytest.approx([0, 0.5, 1])
    # a linear change of scale common to all tasks scales the differences and leaves the fraction
    corrected = metrics.correct(WORKED, 0.1, 0.9)
    assert metrics.forgetting(corrected) == pytest.approx(metrics.forgetting(WORKED) / 0.8)
    assert metrics.fraction_lost(corrected) == pytest.approx(metrics.fraction_lost(WORKED))
    with pytest.raises(ValueError, match="ceiling"):
        metrics.correct([0.5], [0.5], [0.5])

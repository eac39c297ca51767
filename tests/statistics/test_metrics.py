"""Metrics against a worked matrix, whose values are by hand and by other people's code, and against loops."""

from pathlib import Path

import numpy as np
import pytest
from worked import JOINT, SINGLE, UNTRAINED, WORKED, others

from sparse_continual.errors import UserError
from sparse_continual.statistics import metrics

# Two tasks: learnt to .6 and .8; the first falls to .5, the second rises from 0 to .1 before its turn.
SMALL = np.array([[0.2, 0.0], [0.6, 0.1], [0.5, 0.8]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("average_accuracy", 0.7000),  # GEM
        ("anytime_average", (0.80 + 0.75 + 2.50 / 3 + 0.70) / 4),  # .7708
        ("learning_accuracy", 0.7875),
        ("backward_transfer", -0.35 / 3),  # -.1167: Mammoth, Avalanche
        ("forgetting", 0.35 / 3),  # .1167: Avalanche
        ("forgetting_max", 0.1500),  # A-GEM
        ("worst_forgetting", 0.20),  # of tasks 2 and 3
        ("forward_transfer", 0.1000),
        # learning above zero-shot of tasks 1..3 is .40 + .55 + .55 = 1.50
        ("fraction_lost", 0.35 / 1.50),  # .2333
        # held above zero-shot: (.40/2 + .30 + .35 + .45/2) / 3 of task 1 over its three steps,
        # (.55/2 + .65 + .35/2) / 2 of task 2, (.55/2 + .35/2) / 1 of task 3
        ("retention_area", (0.55 / 2 + 0.35 / 2 + 1.10 / 2 + 1.075 / 3) / 1.50),
        # deviations from the mean position: (-1.5 .80 - .5 .80 + .5 .85 + 1.5 .70) / 5
        ("plasticity_loss", 0.125 / 5),
    ],
)
def test_worked_matrix(name, expected):
    assert metrics.OF_MATRIX[name](WORKED) == pytest.approx(expected, abs=1e-12)


def test_worked_matrix_with_reference_runs():
    assert metrics.forward_transfer_single(WORKED, SINGLE) == pytest.approx(-0.05 / 3, abs=1e-12)  # -.0167
    assert metrics.intransigence(WORKED, JOINT) == pytest.approx(0.0450, abs=1e-12)
    assert metrics.intransigence_last(WORKED, JOINT[-1]) == pytest.approx(0.1000, abs=1e-12)
    # forward transfer from a random initialisation instead of row 0, as Avalanche has it
    untrained = np.vstack([UNTRAINED, WORKED[1:]])
    assert metrics.forward_transfer(untrained) == pytest.approx(0.50 / 3, abs=1e-12)  # .1667


def test_what_others_compute_under_the_same_names():
    assert {key: round(value, 4) for key, value in others().items()} == {
        ("backward transfer", "Mammoth, Avalanche"): -0.1167,
        ("backward transfer", "GEM, SAPT"): -0.0875,
        ("forgetting", "Avalanche"): 0.1167,
        ("forgetting", "Mammoth"): 0.1667,
        ("forward transfer", "Avalanche, Mammoth's formula"): 0.1667,
        ("forward transfer", "GEM"): 0.1250,
        ("forward transfer", "SAPT, single-task form"): -0.0125,
    }


def test_the_documented_values_are_the_computed_ones():
    """docs/foreign_metrics.md: the value beside each of our names, and beside each of theirs."""
    text = (Path(__file__).parents[2] / "docs" / "foreign_metrics.md").read_text(encoding="utf-8")
    table = [
        [c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    rows = [row for row in table if len(row) == 4][2:]
    references = {"single": SINGLE, "joint": JOINT, "joint_last": JOINT[-1]}
    expected = {name: metric(WORKED) for name, metric in metrics.OF_MATRIX.items()}
    expected |= {
        name: metric(WORKED, references[kind]) for name, (kind, metric) in metrics.OF_REFERENCE.items()
    }
    ours = {whose.split("ours `")[1].split("`")[0]: value for *_, value, whose in rows if "ours `" in whose}
    assert {name: float(value) for name, value in ours.items()} == pytest.approx(expected, abs=5e-5)
    theirs = sorted(round(value, 4) for value in others().values())
    written = sorted(float(row[2]) for row in rows)
    assert not [value for value in theirs if value not in written]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("average_accuracy", 0.65),
        ("anytime_average", 0.625),
        ("learning_accuracy", 0.7),
        ("forgetting", 0.1),
        ("backward_transfer", -0.1),
        ("forgetting_max", 0.1),
        ("worst_forgetting", 0.1),
        ("forward_transfer", 0.1),
        ("fraction_lost", 0.25),
        ("retention_area", 0.875),
        ("plasticity_loss", -0.2),
    ],
)
def test_two_tasks(name, expected):
    assert metrics.OF_MATRIX[name](SMALL) == pytest.approx(expected, abs=1e-12)


def slow(R, single, joint):
    """All metrics from their definitions, cell by cell; R[i][j] as in the definitions: j from 1."""
    T = len(R) - 1
    at = {(i, j): R[i][j - 1] for i in range(T + 1) for j in range(1, T + 1)}
    old = range(1, T)
    lost = [at[j, j] - at[T, j] for j in old]
    gained = sum(at[j, j] - at[0, j] for j in old)
    area = 0.0
    for j in old:
        for i in range(j, T):  # one trapezoid from row i to row i + 1
            area += ((at[i, j] - at[0, j]) + (at[i + 1, j] - at[0, j])) / 2 / (T - j)
    best = [max(at[i, j] for i in range(1, T)) for j in old]
    learnt = [at[j, j] for j in range(1, T + 1)]
    slope = np.polyfit(range(1, T + 1), learnt, 1)[0]
    seen = [sum(at[i, j] for j in range(1, i + 1)) / i for i in range(1, T + 1)]
    return {
        "forgetting": sum(lost) / (T - 1),
        "forward_transfer": sum(at[j - 1, j] - at[0, j] for j in range(2, T + 1)) / (T - 1),
        "fraction_lost": sum(lost) / gained if gained > 1e-12 else float("nan"),
        "learning_accuracy": sum(learnt) / T,
        "average_accuracy": sum(at[T, j] for j in range(1, T + 1)) / T,
        "anytime_average": sum(seen) / T,
        "backward_transfer": sum(at[T, j] - at[j, j] for j in old) / (T - 1),
        "forgetting_max": sum(b - at[T, j] for b, j in zip(best, old, strict=True)) / (T - 1),
        "worst_forgetting": max(lost),
        "retention_area": area / gained if gained > 1e-12 else float("nan"),
        "plasticity_loss": -slope,
        "forward_transfer_single": sum(at[j, j] - single[j - 1] for j in range(2, T + 1)) / (T - 1),
        "intransigence": sum(joint[k - 1] - at[k, k] for k in range(1, T + 1)) / T,
        "intransigence_last": joint[T - 1] - at[T, T],
    }


@pytest.mark.parametrize("seed", range(200))
def test_random_matrices_against_loops(seed):
    rng = np.random.default_rng(seed)
    T = int(rng.integers(2, 9))
    R, single, joint = rng.random((T + 1, T)), rng.random(T), rng.random(T)
    if seed % 2:  # bits are below 0, chance-corrected scores may be
        R, single, joint = 3 * R - 2, 3 * single - 2, 3 * joint - 2
    expected = slow(R.tolist(), single, joint)
    found = {name: metric(R) for name, metric in metrics.OF_MATRIX.items()}
    references = {"single": single, "joint": joint, "joint_last": joint[-1]}
    found |= {name: metric(R, references[kind]) for name, (kind, metric) in metrics.OF_REFERENCE.items()}
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True)


def test_improvement_is_negative_forgetting_and_not_clipped():
    R = [[0, 0], [0.5, 0], [0.7, 0.5]]
    assert metrics.forgetting(R) == pytest.approx(-0.2)
    assert metrics.forgetting_max(R) == pytest.approx(-0.2)
    assert metrics.worst_forgetting(R) == pytest.approx(-0.2)


def test_row_zero_matters_to_transfer_and_shares_alone():
    shifted = WORKED.copy()
    shifted[0] -= 0.1
    reads = {"forward_transfer", "fraction_lost", "retention_area"}
    for name, metric in metrics.OF_MATRIX.items():
        assert (metric(shifted) == metric(WORKED)) == (name not in reads), name
    assert metrics.forward_transfer(shifted) == pytest.approx(metrics.forward_transfer(WORKED) + 0.1)


def test_nothing_lost_is_a_retention_area_of_one():
    R = [[0.1, 0.2, 0.0], [0.9, 0.2, 0.0], [0.9, 0.8, 0.1], [0.9, 0.8, 0.7]]
    assert metrics.retention_area(R) == pytest.approx(1)
    assert metrics.fraction_lost(R) == 0


@pytest.mark.parametrize("name", ["fraction_lost", "retention_area"])
def test_shares_are_not_defined_when_nothing_was_gained(name):
    assert np.isnan(metrics.OF_MATRIX[name]([[0.5, 0], [0.5, 0], [0.1, 0.5]]))


def test_base_retention():
    assert metrics.base_retention([0.9, 0.7, 0.8, 0.4]) == pytest.approx(-0.5)
    with pytest.raises(ValueError, match="after task 1"):
        metrics.base_retention([0.9, float("nan"), 0.8])
    with pytest.raises(ValueError, match="shape"):
        metrics.base_retention([0.9])


def test_savings():
    assert metrics.savings([0.5, 0.7], [0.4, 0.2]) == pytest.approx(0.3)
    with pytest.raises(ValueError, match="expected one per task"):
        metrics.savings([0.5, 0.7], [0.4])
    with pytest.raises(ValueError, match="learnt score of task 2 is NaN"):
        metrics.savings([0.5, 0.7], [0.4, float("nan")])


def test_nan_is_refused_by_its_place():
    R = WORKED.copy()
    R[2, 3] = np.nan
    functions = [*metrics.OF_MATRIX.values()]
    functions += [
        lambda R, f=f: f(R, SINGLE) for f in (metrics.forward_transfer_single, metrics.intransigence)
    ]
    functions += [lambda R: metrics.intransigence_last(R, 0.8)]
    for metric in functions:
        with pytest.raises(ValueError, match="after task 2 for the task in position 4"):
            metric(R)


@pytest.mark.parametrize(
    ("name", "kind"), [("forward_transfer_single", "single"), ("intransigence", "joint")]
)
def test_reference_scores_are_refused_by_their_place(name, kind):
    metric = metrics.OF_REFERENCE[name][1]
    with pytest.raises(ValueError, match=f"{kind} score is NaN for the task in position 3"):
        metric(WORKED, [0.8, 0.8, float("nan"), 0.8])
    with pytest.raises(ValueError, match=rf"{kind} scores have shape \(3,\), expected \(4,\)"):
        metric(WORKED, [0.8, 0.8, 0.8])


def test_a_joint_score_that_is_none_is_refused():
    with pytest.raises(ValueError, match="joint score is NaN for the last task"):
        metrics.intransigence_last(WORKED, float("nan"))


def test_one_task_is_the_users_to_mend():
    with pytest.raises(UserError, match="1 task.*at least 2"):
        metrics.forgetting([[0.1], [0.9]])


def test_a_matrix_without_row_zero_is_refused():
    for metric in metrics.OF_MATRIX.values():
        with pytest.raises(ValueError, match="row before the stream"):
            metric(WORKED[1:])


def test_chance_correction():
    assert metrics.correct([0.25, 0.625, 1.0], 0.25, 1.0) == pytest.approx([0, 0.5, 1])
    # a linear change of scale common to all tasks scales the differences and leaves the shares
    corrected = metrics.correct(WORKED, 0.1, 0.9)
    for name in ("forgetting", "worst_forgetting", "plasticity_loss", "forward_transfer"):
        assert metrics.OF_MATRIX[name](corrected) == pytest.approx(metrics.OF_MATRIX[name](WORKED) / 0.8)
    for name in ("fraction_lost", "retention_area"):
        assert metrics.OF_MATRIX[name](corrected) == pytest.approx(metrics.OF_MATRIX[name](WORKED))
    with pytest.raises(ValueError, match="ceiling"):
        metrics.correct([0.5], [0.5], [0.5])


def test_bits():
    # a choice among four is two bits; certainty is none
    assert metrics.bits([np.log(4), np.log(2), 0]) == pytest.approx([-2, -1, 0])
    # a task known for certain and then guessed among 8 has lost three bits
    loss = np.log([[8, 8], [1, 8], [8, 1]])
    assert metrics.forgetting(metrics.bits(loss)) == pytest.approx(3)

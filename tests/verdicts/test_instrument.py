"""The instrument check passes sound metrics, and stops each kind of broken one."""

import numpy as np
import pytest
import synthetic_tables

from sparse_continual import tables
from sparse_continual.errors import UserError
from sparse_continual.statistics import contrasts, matrices, metrics
from sparse_continual.verdicts import instrument
from sparse_continual.verdicts.tables import INSTRUMENT

CONTRASTS = [
    {"name": "same_shape", "plus": ["sparse"], "minus": ["dense"], "estimand": "same_shape"},
    {"name": "level", "plus": ["sparse"], "minus": [], "estimand": "level"},
]
BLOCKS = [str(b) for b in range(1, 11)]
SETTINGS = {"level": 0.05, "learning_margin": 0.05, "bases": {b: b for b in BLOCKS}, "kept": []}


def scores(seed=0, kept=0.6, top=0.8):
    """{condition: {block: R}} of arms that learn to `top` and keep a share `kept` of it per later task."""
    rng = np.random.default_rng(seed)
    return {
        arm: {b: synthetic_tables.matrix(rng, 4, top, kept, 0.1) for b in BLOCKS}
        for arm in ("dense", "sparse")
    }


def checked(found=None, **changes):
    """Rows of the checks on {condition: {block: R}}."""
    cells = {(arm, block): R for arm, own in (found or scores()).items() for block, R in own.items()}
    rows = instrument.checks(synthetic_tables.frame(cells), CONTRASTS, SETTINGS | changes)
    assert all(list(row) == INSTRUMENT.names for row in rows)
    assert {row["passed"] for row in rows} <= {"true", "false", "not applicable"}
    return rows


def failed(found=None, **changes):
    return [
        (row["check"], row["arm"], row["value"])
        for row in checked(found, **changes)
        if row["passed"] == "false"
    ]


@pytest.fixture
def broken(monkeypatch):
    """Put other functions in the place of metrics of one matrix."""
    return lambda **functions: [
        monkeypatch.setitem(metrics.OF_MATRIX, name, function) for name, function in functions.items()
    ]


def test_sound_metrics_pass():
    assert failed() == []
    assert [(row["check"], row["arm"], row["value"]) for row in checked()[1:]] == [
        ("planted arm", "dense", "gate failed"),
        ("planted arm, transfer", "dense", "gate failed"),
        ("identical arms", "dense", "0, not applicable (the exact test cannot reach the level)"),
        ("identical arms", "sparse", "0, not applicable (the exact test cannot reach the level)"),
    ]


def test_a_blind_gate_is_caught(broken):
    """Learning accuracy that does not see learning lets an arm that learns half as much forget less."""
    broken(learning_accuracy=lambda R: float(R[0].mean()))
    found = dict((check, value) for check, _, value in failed())
    assert found["planted arm"] == "shown" and "worked example" in found


def test_a_blind_gate_is_caught_on_transfer(broken):
    """An arm whose later tasks get worse before they are trained loses half as much of that."""
    found = scores()
    for own in found.values():
        for R in own.values():
            for j in range(2, 5):
                R[j - 1, j - 1] = R[0, j - 1] - 0.04 - 0.01 * R[j, j - 1]
    assert failed(found) == []
    broken(learning_accuracy=lambda R: float(R[0].mean()))
    assert ("planted arm, transfer", "dense", "shown") in failed(found)


def test_a_margin_wider_than_what_is_learnt_is_caught():
    assert failed(learning_margin=0.5) == [("planted arm", "dense", "shown")]
    assert failed(scores(top=0.15)) == [("planted arm", "dense", "shown")]  # learns 5 points, margin 5
    assert failed(scores(top=0.15), learning_margin=0.01) == []


def test_a_metric_of_chance_is_caught(broken):
    rng = np.random.default_rng(0)
    broken(average_accuracy=lambda R: metrics.average_accuracy(R) + 1e-9 * rng.standard_normal())
    assert {check for check, _, _ in failed()} == {"identical arms"}
    assert failed()[0][2].startswith("average_accuracy ")


def test_a_metric_that_counts_its_calls_is_caught(broken):
    calls = []
    broken(plasticity_loss=lambda R: float(calls.append(1) or len(calls)))
    assert [arm for check, arm, _ in failed() if check == "identical arms"] == ["dense", "sparse"]


def test_broken_pairing_is_caught(monkeypatch):
    """Blocks paired by where they stand in the table, and not by name."""

    def by_place(values, plus, minus):
        sums = [
            [sum(row) for row in zip(*(values[a].values() for a in side), strict=True)]
            for side in (plus, minus)
        ]
        return {b: p - m for b, p, m in zip(values[plus[0]], *sums, strict=True)}

    monkeypatch.setattr(contrasts, "differences", by_place)
    assert {check for check, _, _ in failed()} == {"identical arms"}


def test_blocks_that_get_lost_are_caught(monkeypatch):
    sound = contrasts.differences
    monkeypatch.setattr(contrasts, "differences", lambda *given: dict(list(sound(*given).items())[1:]))
    assert ("identical arms", "dense", "270 differences for 300 values") in [
        (check, arm, value.split(",")[0]) for check, arm, value in failed()
    ]


def test_a_matrix_that_follows_the_rows_order_is_caught(monkeypatch):
    """Cells filled in the order of the rows, and not by position and time."""
    sound = matrices._scales

    def by_row(group, where):
        return sound(group, where) | {"raw": group.score.to_numpy()[np.argsort(group.index)[::-1]]}

    monkeypatch.setattr(matrices, "_scales", by_row)
    assert "identical arms" in {check for check, _, _ in failed()}


def test_a_turned_sign_is_caught(broken):
    broken(forgetting=metrics.backward_transfer)
    assert failed() == [("worked example", "", "forgetting -0.116667")]
    broken(forgetting=metrics.forgetting_max)
    assert failed()[0] == ("worked example", "", "forgetting 0.15")


def test_an_arm_that_cannot_forget():
    found = scores()
    for R in found["sparse"].values():
        for j in range(1, 5):
            R[j:, j - 1] = R[j, j - 1]
    assert failed(found, kept=["sparse"]) == []
    R[4, 0] -= 1e-6
    assert [(check, arm) for check, arm, _ in failed(found, kept=["sparse"])] == [
        ("nothing forgotten", "sparse")
    ]


def test_too_few_blocks_show_nothing_of_a_planted_arm():
    """What was only described was not checked: it is not applicable, and neither passed nor failed."""
    few = {arm: {b: own[b] for b in BLOCKS[:3]} for arm, own in scores().items()}
    rows = checked(few, bases={b: b for b in BLOCKS[:3]}, learning_margin=0.5)
    assert [(row["check"], row["passed"], row["value"]) for row in rows[1:]] == [
        ("planted arm", "not applicable", "not applicable (n < 6)"),
        ("planted arm, transfer", "not applicable", "not applicable (n < 6)"),
        ("identical arms", "true", "0, not applicable (n < 6)"),
        ("identical arms", "true", "0, not applicable (n < 6)"),
    ]
    instrument.refuse_failed(rows, "stream people")
    two = dict(zip(BLOCKS, "aabbccddee", strict=True))  # ten blocks of five bases
    assert checked(bases=two)[1]["passed"] == "not applicable"
    six = {arm: {b: own[b] for b in BLOCKS[:6]} for arm, own in scores().items()}
    rows = checked(six, bases={b: b for b in BLOCKS[:6]}, level=0.01)
    assert rows[1]["passed"] == "not applicable" and "cannot reach the level" in rows[1]["value"]


def test_the_worked_example_is_the_published_one():
    R = np.array(instrument.WORKED)
    assert metrics.forgetting(R) == pytest.approx(0.1167, abs=5e-5)
    assert metrics.forward_transfer(R) == pytest.approx(0.1)
    assert metrics.learning_accuracy(R) == pytest.approx(0.7875)


def test_a_failed_check_stops_with_its_reason(tmp_path):
    synthetic_tables.write(tmp_path, ["dense", "sparse"], blocks=6, T=4)
    plan = {**SETTINGS, "contrasts": CONTRASTS, "bases": {b: b for b in BLOCKS[:6]}}
    instrument.check_tables(tmp_path / "scores.csv", tmp_path / "instrument.csv", plan)
    rows = tables.read(tmp_path / "instrument.csv").to_dict("records")
    instrument.refuse_failed(rows, "stream people")
    instrument.check_tables(
        tmp_path / "scores.csv", tmp_path / "instrument.csv", plan | {"learning_margin": 1}
    )
    rows = tables.read(tmp_path / "instrument.csv").to_dict("records")
    with pytest.raises(
        UserError,
        match="stream people: instrument check 'planted arm' of dense: found shown, expected not shown: .*"
        " study.statistics.learning_margin",
    ):
        instrument.refuse_failed(rows, "stream people")


def test_mechanisms_forget_unless_they_say_otherwise():
    assert instrument.forgets("finetune")

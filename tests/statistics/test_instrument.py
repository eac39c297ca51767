"""The instrument check passes sound metrics, and stops each kind of broken one."""

import numpy as np
import pytest
import synthetic_tables

from sparse_continual.errors import UserError
from sparse_continual.statistics import instrument, metrics, tables

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


def failed(functions=None, found=None, **changes):
    rows = instrument.checks(
        metrics.OF_MATRIX | (functions or {}), found or scores(), CONTRASTS, SETTINGS | changes
    )
    assert all(list(row) == instrument.COLUMNS for row in rows)
    return [(row["check"], row["arm"], row["value"]) for row in rows if not row["passed"]]


def test_sound_metrics_pass():
    assert failed() == []
    rows = instrument.checks(metrics.OF_MATRIX, scores(), CONTRASTS, SETTINGS)
    assert [(row["check"], row["arm"]) for row in rows] == [
        ("worked example", ""),
        ("planted arm", "dense"),
        ("identical arms", "dense"),
        ("identical arms", "sparse"),
    ]
    assert rows[1]["value"] == "gate failed"


def test_a_blind_gate_is_caught():
    """Learning accuracy that does not see learning lets an arm that learns half as much forget less."""
    blind = {"learning_accuracy": lambda R: float(R[0].mean())}
    found = dict((check, value) for check, _, value in failed(blind))
    assert found["planted arm"] == "shown" and "worked example" in found


def test_a_margin_wider_than_what_is_learnt_is_caught():
    assert failed(learning_margin=0.5) == [("planted arm", "dense", "shown")]
    assert failed(found=scores(top=0.15)) == [("planted arm", "dense", "shown")]  # learns 5 points, margin 5
    assert failed(found=scores(top=0.15), learning_margin=0.01) == []


def test_a_metric_of_chance_is_caught():
    rng = np.random.default_rng(0)
    noisy = {"average_accuracy": lambda R: metrics.average_accuracy(R) + 1e-9 * rng.standard_normal()}
    assert {check for check, _, _ in failed(noisy)} == {"identical arms"}


def test_a_turned_sign_is_caught():
    turned = {"forgetting": metrics.backward_transfer}
    assert failed(turned) == [("worked example", "", "forgetting -0.116667")]
    assert failed({"forgetting": metrics.forgetting_max})[0] == ("worked example", "", "forgetting 0.15")


def test_an_arm_that_cannot_forget():
    found = scores()
    for R in found["sparse"].values():
        for j in range(1, 5):
            R[j:, j - 1] = R[j, j - 1]
    assert failed(found=found, kept=["sparse"]) == []
    R[4, 0] -= 1e-6
    assert [(check, arm) for check, arm, _ in failed(found=found, kept=["sparse"])] == [
        ("nothing forgotten", "sparse")
    ]


def test_too_few_blocks_show_nothing_of_a_planted_arm():
    few = {arm: {b: own[b] for b in BLOCKS[:3]} for arm, own in scores().items()}
    assert failed(found=few, bases={b: b for b in BLOCKS[:3]}, learning_margin=0.5) == []


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

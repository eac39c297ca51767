"""A quick run of the calibration of the verdicts, and that it would notice a broken rule.

The bounds are five standard errors of few studies; benchmarks/calibration.md has the real figures.
"""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

from sparse_continual.statistics import paired

STUDIES = 150
_spec = importlib.util.spec_from_file_location(
    "calibration", Path(__file__).parents[2] / "benchmarks" / "calibration.py"
)
calibration = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(calibration)


def limit(rate: float, studies: int = STUDIES) -> float:
    return rate + 5 * math.sqrt(rate * (1 - rate) / studies)


@pytest.fixture(scope="module")
def design():
    return calibration.Design(exploratory=True)


@pytest.fixture
def run(design):
    def run(name: str, n: int = 6) -> dict:
        (scenario,) = (s for s in calibration.scenarios(design, n) if s.name == name)
        return calibration.calibrate(design, scenario, n, STUDIES)

    return run


@pytest.mark.parametrize("name", ["nothing", "one member of four", "at the margin", "shared bases"])
def test_few_words_are_wrong_and_intervals_cover(run, name):
    found = run(name)
    assert found["false"]["any"] <= limit(0.05)
    assert 1 - found["together"] <= limit(0.05)
    assert 1 - np.mean(list(found["covered"].values())) <= limit(0.05)
    assert found["misplaced"] == 0


def test_an_arm_that_merely_learns_less_is_not_shown_to_forget_less(run):
    found = run("learns half")
    assert found["false"]["any"] == 0
    for claim in ("important_source", "inductive_bias", "not_a_necessity", "more_than_writes"):
        assert found["words"][claim] == {"gate failed": STUDIES}


def test_learning_less_by_just_the_margin_passes_gates_no_more_often_than_the_level_says(run):
    assert run("learns less by the margin")["false"]["any"] <= limit(0.05)


def test_power_is_what_the_plan_says(run):
    shown = run("effect on one arm", n=20)["words"]["not_a_necessity"]["shown"] / STUDIES
    assert shown == pytest.approx(0.8, abs=limit(0.8) - 0.8)


def test_without_adjustment_the_calibration_notices(run, monkeypatch):
    monkeypatch.setattr(paired, "holm", lambda p: np.asarray(p))
    assert run("nothing", n=20)["false"]["any"] > limit(0.05)


def test_with_intervals_too_short_the_calibration_notices(run, monkeypatch):
    exact = paired.interval
    monkeypatch.setattr(paired, "interval", lambda d, level: exact(d, 10 * level))
    assert 1 - run("nothing")["together"] > limit(0.05)


def test_noise_has_the_components_of_the_script(design):
    """SD of the drawn differences against the plan's, their means against the truth."""
    (scenario,) = (s for s in calibration.scenarios(design, 10) if s.name == "nothing")
    found, _ = calibration.draw(design, scenario, 10, 2000, np.random.default_rng(0))
    truth = calibration.true_differences(design, scenario)
    for claim in design.single:
        if "margin" not in claim:
            continue
        values = found[claim["contrast"], claim["metric"]]
        sd = design.plan(claim, 10)["sd"]
        assert values.std(ddof=1) == pytest.approx(sd, rel=0.03)
        assert values.mean() == pytest.approx(
            truth[claim["contrast"], claim["metric"]], abs=5 * sd / 20_000**0.5
        )


def test_two_blocks_on_a_base_are_alike_by_its_part(design):
    (scenario,) = (s for s in calibration.scenarios(design, 10) if s.name == "shared bases")
    found, bases = calibration.draw(design, scenario, 10, 2000, np.random.default_rng(0))
    first, second = (found["lock", "forgetting"][:, i::2].ravel() for i in (0, 1))
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(calibration.BASE_PART, abs=0.03)
    assert list(bases.items())[:3] == [("0", "0"), ("1", "0"), ("2", "1")]


def test_words_that_are_right_by_hand(design):
    """The sparse arm forgets less than all by 10 points; it learns 6 points less than `dense` alone."""
    means = {
        "sparse": {"forgetting": -0.1},
        "dense": {"learning_accuracy": 0.86},
        "dense_replay": {"forgetting": -0.1},
    }
    truth = calibration.true_differences(design, calibration.Scenario("x", "x", means))
    assert truth["lock", "forgetting"] == -0.1 and truth["same_shape", "learning_accuracy"] == -0.06
    right = calibration.true_words(design, truth)
    assert right["important_source"] == {"shown": True, "contradicted": False, "equivalent": False}
    # one of four members learns less than the arm that it is compared with
    assert right["inductive_bias"] == {"shown": False, "contradicted": False, "equivalent": False}
    assert right["not_a_necessity"] == {"shown": False, "contradicted": False, "equivalent": True}
    assert right["not_the_only_source"]["contradicted"]


def test_plan_reads_the_variance_of_a_contrast(design):
    claim = design.by_name["more_than_writes"]
    sd = math.sqrt(0.024**2 + 0.031**2 + 0.030**2 + 0.027**2)
    assert design.plan(claim, 6)["sd"] == pytest.approx(sd)

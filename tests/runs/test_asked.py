"""What a study asks for beside its cells: references, a repeated block, savings, calibrated options."""

from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from sparse_continual.budgets.demand import priced
from sparse_continual.errors import ConfigError
from sparse_continual.study.config import checked
from sparse_continual.study.study import Study

DEFAULT = yaml.safe_load((Path(__file__).resolve().parents[2] / "config.yaml").read_text())
STREAM = "people"
ALWAYS = {"scores", "items", "runs", "trials", "densities"}


def study_of(**own):
    """The default study's conditions dense and sparse, with keys of its own in the section study."""
    config = deepcopy(DEFAULT)
    config["study"] |= {"conditions": ["dense", "sparse"], "contrasts": [], **own}
    config["study"].pop("claims", None)
    for key in ("references", "repeat", "secondary"):
        config["study"][key] = own.get(key, {})
    return Study(checked(config))


def names(cells):
    return [cell.run.name for cell in cells]


def references(study, kind):
    return [cell for k, cell in study.references(STREAM) if k == kind]


def test_who_asks_for_nothing_pays_nothing():
    study = study_of()
    assert names(study.trained(STREAM)) == names(study.runs(STREAM)) and len(study.runs(STREAM)) == 12
    assert study.secondary(STREAM) == [] and set(study.measured()) == ALWAYS


def test_asking_renames_no_cell():
    asked = study_of(
        references={"single": ["dense"], "joint": ["sparse"]},
        repeat={"conditions": ["dense"]},
        secondary={"savings": {"steps": 5}},
    )
    plain = study_of()
    assert [(c.run.name, c.score.name) for c in asked.runs(STREAM)] == [
        (c.run.name, c.score.name) for c in plain.runs(STREAM)
    ]
    assert set(asked.measured()) == {*ALWAYS, "references", "repeats", "savings"}
    assert len(asked.trained(STREAM)) == 12 + 6 + 6 + 1
    assert len(set(names(asked.trained(STREAM)))) == 25
    for cell in asked.trained(STREAM):  # and the rules find each by its name
        assert asked.get("runs", cell.run.name) == cell.run
        assert asked.get("scores", cell.score.name) == cell.score
    for (condition, block, saving), cell in zip(asked.secondary(STREAM), asked.runs(STREAM), strict=True):
        assert (condition, block, saving.inputs["run"]) == (cell.condition, cell.block, cell.run)
        assert asked.get("savings", saving.name) == saving
        assert (
            saving.manifest == f"results/store/savings/{saving.name}/manifest.json"
            and asked.parameters(saving) > 0
        )


def test_a_single_run_serves_all_orders_of_a_base():
    asked = {"references": {"single": ["dense"]}}
    apart = study_of(**asked)
    for cell in references(apart, "single"):
        assert cell.run.settings["order"] == apart.tasks(STREAM) != cell.order
        assert cell.run.settings["seed"] == apart.block_seed(
            cell.block
        )  # whose batches those of the cell are
        assert cell.run.inputs == apart.run(STREAM, "dense", cell.block).inputs
    assert len(set(names(references(apart, "single")))) == 6
    shared = study_of(**asked, blocks_per_base=3)
    assert len(set(names(references(shared, "single")))) == 2
    assert len({tuple(cell.order) for cell in references(shared, "single")}) == 6


def test_joint_runs_follow_the_order_unless_all_tasks_are_in():
    each = study_of(references={"joint": ["dense"]}, blocks_per_base=3)
    assert [cell.run.settings["reference"] for cell in references(each, "joint")] == [
        {"kind": "joint", "at": [1, 2, 3, 4, 5, 6]}
    ] * 6
    assert all(cell.run.settings["order"] == cell.order for cell in references(each, "joint"))
    assert len(set(names(references(each, "joint")))) == 6
    last = study_of(references={"joint": ["dense"], "joint_at": "last"}, blocks_per_base=3)
    assert len(set(names(references(last, "joint")))) == 2
    assert last.references(STREAM)[0][1].run.settings["reference"] == {"kind": "joint", "at": [6]}


def test_a_repeat_is_the_same_work_under_another_name():
    study = study_of(repeat={"conditions": ["sparse"]})
    (cell,) = study.repeats(STREAM)
    first = study.runs(STREAM)[6]
    assert (cell.condition, cell.block, cell.order) == (first.condition, first.block, first.order)
    assert cell.run.name != first.run.name and cell.run.inputs == first.run.inputs
    assert {**first.run.settings, "repeat": 1} == cell.run.settings


def test_what_is_asked_for_is_priced():
    def steps(**own):
        return {row["condition"]: row["asked_steps"] for row in priced(study_of(**own), STREAM)}

    each = DEFAULT["study"]["training"]["stop"]["steps"]
    assert steps() == {"dense": 0, "sparse": 0}
    assert steps(references={"single": ["dense"], "joint": ["dense", "sparse"]}, blocks=2) == {
        "dense": 2 * (6 + 21) * each,
        "sparse": 2 * 21 * each,
    }
    shared = {"single": ["sparse"], "joint": ["sparse"], "joint_at": "last"}
    assert steps(references=shared, blocks=4, blocks_per_base=2)["sparse"] == 2 * (6 + 6) * each
    asked = {"repeat": {"conditions": ["sparse"]}, "secondary": {"savings": {"steps": 7}}}
    assert steps(**asked, blocks=3) == {"dense": 3 * 2 * 5 * 7, "sparse": 6 * each + 3 * 2 * 5 * 7}


def test_calibration_renames_scores_alone():
    asked, plain = study_of(secondary={"calibrated_options": True}), study_of()
    assert set(asked.measured()) == {*ALWAYS, "calibrated"}
    for one, other in zip(asked.runs(STREAM), plain.runs(STREAM), strict=True):
        assert one.run.name == other.run.name and one.score.name != other.score.name


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (
            {"references": {"single": ["dens"]}},
            "study.references.single: found 'dens', expected a name in study.conditions (did you mean 'dense'?)",
        ),
        (
            {"references": {"joint": ["unlocked"]}},  # it is in conditions, but not in the study
            "study.references.joint: found 'unlocked', expected a name in study.conditions",
        ),
        (
            {"repeat": {"conditions": ["x"]}},
            "study.repeat.conditions: found 'x', expected a name in study.conditions",
        ),
        ({"references": {"joint_at": "some"}}, "study.references.joint_at: found 'some', expected one of all, last"),
        ({"secondary": {"savings": {}}}, "study.secondary.savings: missing key 'steps'; add it"),
        ({"secondary": {"savings": {"steps": 0}}}, "study.secondary.savings.steps: found 0, expected at least 1"),
        (
            {"secondary": {"savings": {"steps": 5}}, "keep_weights": "none"},
            "study.secondary.savings: found with keep_weights: none, expected all or last: it starts "
            "from the last weights",
        ),
    ],
)  # fmt: skip
def test_mistakes(own, words):
    with pytest.raises(ConfigError) as caught:
        study_of(**own)
    (line,) = caught.value.lines
    assert line.startswith(f"config: {words}")

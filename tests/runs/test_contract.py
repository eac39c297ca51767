"""Every kind of mechanism is one file: eight in `contract/`, each added to a copy of the folder of mechanisms.

Two tasks, killed in the second and resumed to the same bytes; scores from saved weights equal those taken beside
training; the plan has a price, whose trained values are those that were trained.
"""

import importlib
import shutil
import sys
from pathlib import Path

import pytest
import torch

from sparse_continual import registry
from sparse_continual.budgets.demand import priced
from sparse_continual.budgets.plan import plan_text
from sparse_continual.budgets.price import price
from sparse_continual.errors import ConfigError, UserError
from sparse_continual.integrity import read_manifest
from sparse_continual.runs import mechanism as contract
from sparse_continual.runs import mechanisms
from sparse_continual.runs.attach import start
from sparse_continual.runs.mechanism import mechanism_class
from sparse_continual.runs.resume import Resume
from sparse_continual.runs.run import run_condition
from sparse_continual.runs.savings import relearn
from sparse_continual.runs.state import load_weights, weights_path
from sparse_continual.scores.evaluate import texts
from sparse_continual.scores.score import score_saved, scorer
from sparse_continual.study.config import checked, merged
from sparse_continual.study.study import Study
from sparse_continual.training import loop

ROOT = Path(__file__).resolve().parents[2]
KINDS = {
    "loss_term": {"weight": 0.1},
    "growing": {},
    "chosen": {},
    "owners": {},
    "block": {},
    "two_sets": {"wake": 3},
    "topology": {"share": 0.2},
    "own_step": {},
}
REWIRED = ("topology", "two_sets")  # after three of the five steps of a task
SCORING = {"batch_size": 5, "calibrated_options": False}
TINY = {"hidden_size": 16, "intermediate_size": 32, "layers": 2, "heads": 2, "kv_heads": 1, "vocabulary": 400}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of the folder of mechanisms, in place of the real one while the test runs."""
    copy, package = tmp_path / "mechanisms", mechanisms.__name__
    shutil.copytree(mechanisms.__path__[0], copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(mechanisms, "__path__", [str(copy)])
    known = set(sys.modules)
    importlib.invalidate_caches()
    yield copy
    for name in {name for name in sys.modules if name.startswith(f"{package}.")} - known:
        del sys.modules[name]
        vars(mechanisms).pop(name.rsplit(".", 1)[1], None)


@pytest.fixture
def added(folder):
    """A function (kind) -> its settings, once its file is in the folder."""

    def add(kind):
        shutil.copy(Path(__file__).parent / "contract" / f"{kind}.py", folder)
        importlib.invalidate_caches()
        return {"kind": kind, **KINDS[kind]}

    return add


class Killed(Exception):
    pass


@pytest.mark.parametrize("kind", KINDS)
def test_a_mechanism_is_one_file(kind, added, job_of, world, tmp_path, monkeypatch):
    settings = added(kind)
    assert len((Path(__file__).parent / "contract" / f"{kind}.py").read_text().splitlines()) <= 60

    def job(name):
        made = job_of("sparse", order=["a", "b"], folder=tmp_path / name, resume=tmp_path / f"{name} resume")
        mixture = read_manifest(world.mixture)["folder"]
        return {**made, "arm": {**made["arm"], "mechanism": settings}, "mixture": mixture}

    whole = job("whole")
    run = run_condition(whole, 1, scorer=scorer(whole, SCORING))
    beside = texts(run["scores"])

    killed, step, count = job("killed"), loop.step, iter(range(99))
    last = (
        8 if kind in REWIRED else 9
    )  # of two times five steps, from 0; 8: the first after the second task is rewired

    def dying(*given):
        if next(count) == last:
            raise Killed
        return step(*given)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "step", dying)
        patch.setattr(Resume, "due", lambda self: True)
        with pytest.raises(Killed):
            run_condition(killed, 1, scorer=scorer(killed, SCORING))
    resumed = run_condition(killed, 1, scorer=scorer(killed, SCORING))
    assert {**resumed, "seconds": 0} == {**run, "seconds": 0}
    for position in (1, 2):
        files = [weights_path(made["folder"], position).read_bytes() for made in (whole, killed)]
        assert files[0] == files[1]

    assert score_saved(whole, SCORING, run, 1) == beside
    _goes_back(whole)
    _costs(settings, run, kind)
    _forgets(kind, beside)


def _goes_back(job):
    """From the last form back to the first: a mechanism takes every form from every other."""
    first, last = start(job["arm"], job), start(job["arm"], job)
    load_weights(first, weights_path(job["folder"], 1))
    for position in (2, 1):
        load_weights(last, weights_path(job["folder"], position))
    for ours, theirs in ((first.state(), last.state()), (first.weights(), last.weights())):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def _costs(settings, run, kind):
    """The plan of a study with the mechanism, and its price on the model that was trained."""
    changes = {
        "mechanisms": {"new": settings},
        "conditions": {"new": {"base": "tiny", "topology": "sparse_2of4", "mechanism": "new"}},
        "study": {"conditions": ["new"], "contrasts": [], "claims": None},
    }
    study = Study(checked(merged([ROOT / "config.yaml"], changes)))
    (line,) = [
        line for line in plan_text(study).splitlines() if line.startswith("new ") and "FLOP" not in line
    ][1:2]
    assert "?" not in line
    (condition,) = priced(study, study.streams[0])
    own = {**condition, "shape": TINY, "tasks": 2, "steps": 5, "batch_size": 8}
    new, plain = price([own, {**own, "mechanism": {"kind": "finetune"}}])
    assert new["trained"] == run["tasks"][-1]["trained"]
    assert new["state_bytes"] > 0 or kind in ("loss_term", "own_step")
    assert new["training_executed"] > plain["training_executed"] or kind != "loss_term"


def _forgets(kind, beside):
    """Losses on the first task after it and after the second: equal where the class says that nothing is forgotten."""
    header, *rows = (line.split(",") for line in beside["scores"].splitlines())
    rows = [dict(zip(header, row, strict=True)) for row in rows]
    losses = [row["loss"] for row in rows if row["task"] == "a" and row["part"] == "all"]
    assert len(losses) == 3 and losses[0] != losses[1]
    assert (losses[1] == losses[2]) == (not mechanism_class(kind).FORGETS)


@pytest.mark.parametrize("moments", ["renewed", "carried"])
def test_rewiring_starts_a_new_optimizer(moments, added, job_of, monkeypatch):
    job = job_of("sparse", order=["a", "b"])
    job["arm"]["mechanism"] = added("two_sets")
    monkeypatch.setattr(mechanism_class("two_sets"), "MOMENTS", moments)
    taken, step = [], loop.step

    def watched(loss, optimizer, *hooks):
        (count,) = {int(state["step"]) for state in optimizer.state.values()} or {0}
        taken.append((id(optimizer), count))
        return step(loss, optimizer, *hooks)

    monkeypatch.setattr(loop, "step", watched)
    run_condition(job, 1)
    ids, counts = zip(*taken, strict=True)
    assert [a == b for a, b in zip(ids[:4], ids[1:5], strict=True)] == [True, True, False, True]
    assert counts == ((0, 1, 2, 0, 1) * 2 if moments == "renewed" else tuple(range(10)))


def test_a_frozen_weight_that_changed_before_the_rewiring_is_found(added, job_of, monkeypatch):
    job = job_of("sparse", order=["a", "b"])
    job["arm"]["mechanism"] = added("topology")
    rewired = []

    def adjust(self):
        with torch.no_grad():
            self.setting.model.model.norm.weight[0] += 1

    def rewire(self, task, done):
        rewired.append(done)

    for hook in (adjust, rewire):
        monkeypatch.setattr(mechanism_class("topology"), hook.__name__, hook)
    with pytest.raises(AssertionError, match="norm.weight: a frozen weight has changed"):
        run_condition(job, 1)
    assert not rewired


def test_scores_depend_on_the_task_that_an_oracle_is_reported(added, job_of):
    job = job_of("sparse", order=["a", "b"])
    job["arm"]["mechanism"] = added("owners")
    run_condition(job, 1)
    mechanism = start(job["arm"], job)
    load_weights(mechanism, weights_path(job["folder"], 2))
    sums = []
    for task in (0, 1, None):
        with torch.no_grad(), mechanism.view(task) as model:
            sums.append(float(model(torch.arange(8)[None]).logits.double().sum()))
    assert sums[0] != sums[1] == sums[2]


@pytest.mark.parametrize("kind", ["growing", "topology", "block"])
def test_references_and_savings_start_from_the_first_form(kind, added, job_of, tmp_path):
    job = job_of("sparse", order=["a", "b"])
    job["arm"]["mechanism"] = added(kind)
    run = run_condition(job, 1)
    alone = {**job, "folder": tmp_path / "alone", "resume": tmp_path / "r", "reference": {"kind": "single"}}
    single = run_condition(alone, 1)
    assert single["weights"]["1"] == run["weights"]["1"] and single["weights"]["2"] != run["weights"]["2"]
    ((row,)) = relearn(job, run, 2, 1)
    assert row["task"] == "a"


# contradictions

BODY = """
from sparse_continual.runs.mechanism import Mechanism as Base

SCHEMA = {{"type": "object", "properties": {{}}}}


class Mechanism(Base):
{}
"""


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (
            "    def memory(self):\n        return {}, {}\n\n    def remember(self, plain, tensors):\n        pass",
            "Mechanism keeps state of its own (memory) but defines no price",
        ),
        ("    def form(self):\n        return {}, {}", "Mechanism defines form without take_form"),
        ("    def load(self, state):\n        pass", "Mechanism defines load without state"),
        (
            "    def rewire(self, task, done):\n        pass",
            "Mechanism defines rewire without after_step, which asks for it; define after_step",
        ),
        ("    TASK_ID = 'oracle'", "Mechanism has TASK_ID = 'oracle' but defines no view"),
        ("    TASK_ID = 'guessed'", "defines no view"),
        ("    ACTS_ON = 'weights'", "Mechanism.ACTS_ON is 'weights', expected one of None, 'places'"),
        (
            "    def loss(self, rows):\n        pass",
            "Mechanism.loss takes (self, rows), expected (self, batch)",
        ),
    ],
)
def test_contradictions_are_refused_when_loaded(body, line, folder):
    (folder / "odd.py").write_text(BODY.format(body))
    importlib.invalidate_caches()
    with pytest.raises(UserError, match="odd.py: ") as error:
        mechanism_class("odd")
    assert line in str(error.value) and "\n" not in str(error.value)
    changes = {"mechanisms": {"odd": {"kind": "odd"}}, "conditions": {"odd": {"mechanism": "odd"}}}
    changes["conditions"]["odd"] |= {"base": "tiny", "topology": "dense"}
    changes["study"] = {"conditions": ["odd"], "contrasts": []}
    with pytest.raises((ConfigError, UserError), match="odd.py: "):
        checked(merged([ROOT / "config.yaml"], changes))


def test_a_file_without_the_class_is_refused(folder):
    (folder / "odd.py").write_text("SCHEMA = {}\n")
    importlib.invalidate_caches()
    with pytest.raises(UserError, match="odd.py: found no class Mechanism derived from"):
        mechanism_class("odd")


def test_the_shipped_mechanisms_keep_the_contract_and_need_no_torch():
    import subprocess

    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'peft'):\n"
        "    sys.modules[name] = None\n"
        "from sparse_continual import registry\n"
        "from sparse_continual.runs.mechanism import mechanism_class\n"
        "print([mechanism_class(kind).ACTS_ON for kind in registry.names('runs.mechanisms')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "['penalty', None, 'places', 'rows']\n", done.stderr
    assert set(registry.names("runs.mechanisms")) == {"ewc", "finetune", "lora", "replay"}
    assert contract.ACTIONS[0] is None

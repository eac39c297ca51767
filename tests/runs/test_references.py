"""Reference runs: each starts from the base, without the training before it."""

import numpy as np
import pytest
from safetensors.torch import load_file

from sparse_continual.runs.attach import start
from sparse_continual.runs.run import run_condition
from sparse_continual.runs.state import weights_path
from sparse_continual.streams.tasks import load_tasks
from sparse_continual.training.measure import measure

SINGLE = {"kind": "single"}


@pytest.fixture
def trained(job_of, tmp_path):
    """A function (arm, **changes) -> (the run, {position: bytes of its weights}, its job)."""
    count = iter(range(99))

    def train(arm, **changes):
        folder = tmp_path / str(next(count))
        job = job_of(arm, folder=folder, resume=folder / "resume", **changes)
        run = run_condition(job, 1)
        return run, {int(i): weights_path(folder, i).read_bytes() for i in map(int, run["weights"])}, job

    return train


@pytest.mark.parametrize("arm", ["sparse", "unlocked", "trained ends", "masked lora", "side lora", "replay"])
def test_a_single_run_is_each_task_alone(arm, trained):
    run, single, _ = trained(arm, reference=SINGLE)
    for position, task in enumerate("abc", 1):
        alone, weights, _ = trained(arm, order=[task])
        assert single[position] == weights[1]
        assert run["tasks"][position - 1] == {**alone["tasks"][0], "position": position}
    assert len(set(single.values())) == 3


def test_a_single_run_knows_no_order(trained):
    _, one, _ = trained("replay", reference=SINGLE)
    _, other, _ = trained("replay", reference=SINGLE, order=["c", "a", "b"])
    assert [one[3], one[1], one[2]] == [other[1], other[2], other[3]]
    _, stream, _ = trained("replay")
    assert stream[1] == one[1] and stream[2] != one[2]


def test_joint_runs_train_the_first_tasks_together(trained, monkeypatch):
    from sparse_continual.runs.mechanism import Mechanism

    drawn, rows = [], Mechanism.rows
    monkeypatch.setattr(Mechanism, "rows", lambda *a: drawn.append(rows(*a)) or drawn[-1])
    run, weights, job = trained("sparse", reference={"kind": "joint", "at": [1, 2, 3]})
    assert [record["steps"] for record in run["tasks"]] == [5, 10, 15]
    assert [record["task"] for record in run["tasks"]] == ["a", "joint_2", "joint_3"]
    # rows are numbered over all pools: a | a b | a b c, of 24 rows each
    for first, size, steps in ((0, 24, drawn[:5]), (24, 48, drawn[5:15]), (72, 72, drawn[15:])):
        taken = np.concatenate(steps) - first
        assert taken.min() >= 0 and taken.max() < size
        seen = np.bincount(taken, minlength=size)
        assert seen.max() - seen.min() <= 1  # epochs over all of them, without replacement
    tasks = load_tasks(job["stream"], job["order"])
    mechanism = start(job["arm"], job)
    mechanism.load(load_file(weights_path(job["folder"], 3)))
    losses = [measure(mechanism.setting.model, task, "validation", 99).loss.mean() for task in tasks]
    assert run["tasks"][2]["validation_loss"] == pytest.approx(np.mean(losses), rel=1e-5)

    _, last, _ = trained("sparse", reference={"kind": "joint", "at": [3]})
    assert last[1] == weights[3]
    _, stream, _ = trained("sparse")
    assert stream[1] == weights[1]


def test_epochs_of_a_joint_run_are_those_of_its_own_rows(trained):
    training = {"batch_size": 8, "stop": {"epochs": 0.9}}  # of 24, 48, 72 rows
    run, _, _ = trained("sparse", reference={"kind": "joint", "at": [1, 2, 3]}, training=training)
    assert [record["steps"] for record in run["tasks"]] == [3, 6, 9]


def test_a_joint_run_stops_at_the_mean_loss(trained):
    training = {"batch_size": 8, "stop": {"loss": 100, "cap": 3, "every": 2}}
    run, _, _ = trained("sparse", reference={"kind": "joint", "at": [2]}, training=training)
    assert [(record["steps"], record["stop"]) for record in run["tasks"]] == [(2, "criterion")]
    training["stop"]["loss"] = 1e-6
    run, _, _ = trained("sparse", reference={"kind": "joint", "at": [2]}, training=training)
    assert [(record["steps"], record["stop"]) for record in run["tasks"]] == [(6, "cap")]


@pytest.mark.parametrize("arm", ["replay", "ewc"])
def test_a_joint_run_has_nothing_to_remember_so_it_is_that_of_finetuning(arm, trained):
    joint = {"kind": "joint", "at": [1, 3]}
    (_, weights, _), (_, plain, _) = (trained(kind, reference=joint) for kind in (arm, "sparse"))
    assert weights == plain and weights[1] != weights[2]
    (_, stream, _), (_, other, _) = (trained(kind) for kind in (arm, "sparse"))
    assert stream[1] == other[1] and stream[2] != other[2]

"""Relearning: the same steps from the last weights and from the base."""

import pytest
from safetensors.torch import load_file

from sparse_continual.errors import UserError
from sparse_continual.identity import seed_of
from sparse_continual.runs import savings
from sparse_continual.runs.attach import start
from sparse_continual.runs.run import run_condition
from sparse_continual.runs.state import weights_path
from sparse_continual.streams.tasks import load_tasks
from sparse_continual.training.batches import batch_rows, collate, loss_of
from sparse_continual.training.loop import adamw, rate, step
from sparse_continual.training.measure import Measured, measure


@pytest.mark.parametrize("arm", ["sparse", "masked lora", "replay"])
def test_against_a_loop_by_hand(arm, job_of, monkeypatch):
    """Losses stand for scores, which are all zero on rows of random tokens."""
    job = job_of(arm)
    run = run_condition(job, 1)
    tasks = load_tasks(job["stream"], job["order"])

    def loss(model, task):
        return measure(model, task, "test", 256).loss.mean()

    def by_hand(task, weights):
        mechanism = start(job["arm"], job)
        if weights:
            mechanism.load(load_file(weights))
        optimizer, seed = adamw(mechanism.parameters(), 3e-3), seed_of("task batches", job["seed"], task.name)
        mechanism.setting.model.train()
        for number in range(4):
            optimizer.param_groups[0]["lr"] = 3e-3 * rate(number, 4, 0)
            batch = collate(task.train, batch_rows(task.train.rows, 8, seed, number))
            step(loss_of(mechanism.setting.model, batch), optimizer, mechanism.places)
        mechanism.setting.model.eval()
        return loss(mechanism.setting.model, task)

    last = weights_path(job["folder"], 3)
    expected = [
        {
            "task": task.name,
            "position": position,
            "steps": 4,
            "score_old": pytest.approx(by_hand(task, last), rel=1e-6),
            "score_base": pytest.approx(by_hand(task, None), rel=1e-6),
        }
        for position, task in enumerate(tasks[:2], 1)
    ]
    monkeypatch.setattr(savings, "measure", lambda m, t, s, n: Measured(measure(m, t, s, n).loss, None))
    rows = savings.relearn(job, run, 4, 1)
    assert rows == expected
    assert all(row["score_old"] != row["score_base"] for row in rows)


def test_last_weights_that_are_gone_are_named(job_of):
    job = job_of("sparse")
    run = run_condition(job, 1)
    weights_path(job["folder"], 3).unlink()
    with pytest.raises(
        UserError, match="after_003.safetensors: missing, or not the weights .* train the run again"
    ):
        savings.relearn(job, run, 4, 1)

"""Batched losses and scores against loops over single rows; the order of rows."""

import numpy as np
import pytest
import torch

from sparse_continual.streams.batches import batch_rows, collate, loss_of, mixture_rows
from sparse_continual.streams.measure import measure
from sparse_continual.streams.sources import cl_benchmark, drift, facts, rules


def single(model, row, answer):
    """(mean NLL, [token is the most probable one]) of one row, without padding, cache or chosen positions."""
    ids = torch.tensor(row[None].astype(np.int64))
    with torch.no_grad():
        logits = model.eval()(input_ids=ids).logits[0].double()
    model.train()
    logs = torch.log_softmax(logits, -1)
    nll = [-logs[t - 1, row[t]].item() for t in range(answer, len(row))]
    return np.mean(nll), [int(logs[t - 1].argmax()) == row[t] for t in range(answer, len(row))]


@pytest.fixture
def tasks(words, benchmark):
    few = {"train_items": 20, "validation_items": 5, "test_items": 12}
    sequences = {"train_sequences": 9, "validation_sequences": 3, "test_sequences": 7, "sequence_length": 12}
    return [
        facts.build({"tasks": 1, "people": 4}, 1, words)[0],
        *rules.build({"rules": ["copy", "addition"], "length": 3, **few}, 1, words),
        drift.build({"tasks": 1, **sequences}, 1, words)[0],
        cl_benchmark.build({"folder": str(benchmark[0]), "tasks": ["toy"], **few}, 1, words)[0],
    ]


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_measure_is_a_loop_over_single_rows(model, tasks, batch_size):
    for task in tasks:
        found, split = measure(model, task, "test", batch_size), task.test
        assert found.score.shape == found.loss.shape == (len(split),) and found.loss.dtype == np.float64
        each = [single(model, split.row(i), split.answers[i]) for i in range(split.rows)]
        for item in range(len(split)):
            rows = np.flatnonzero(split.items == item)
            right = rows[split.correct[item]]
            assert found.loss[item] == pytest.approx(each[right][0], abs=1e-5)
            truth = {
                "exact": all(each[right][1]),
                "tokens": np.mean(each[right][1]),
                "options": rows[np.argmin([each[row][0] for row in rows])] == right,
            }[task.kind]
            assert found.score[item] == pytest.approx(float(truth), abs=1e-9)
    assert model.training


def test_options_have_unequal_lengths_and_varied_outcomes(model, tasks):
    split = tasks[-1].test
    assert len(set(np.diff(split.starts)[:3] - split.answers[:3])) > 1
    assert 0 < measure(model, tasks[-1], split, 8).score.mean() < 1


def test_scores_reach_one_when_the_model_knows(model, tasks):
    """A model that names the row's next token: everything exact is right."""

    class Oracle(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, input_ids, logits_to_keep, use_cache):
            following = torch.roll(input_ids, -1, 1)[:, logits_to_keep]
            logits = 50.0 * torch.nn.functional.one_hot(following, model.config.vocab_size)
            return type("Output", (), {"logits": logits})

    for task in tasks[:-1]:
        found = measure(Oracle(), task, "test", 5)
        assert (found.score == 1).all() and (found.loss < 1e-6).all()


def test_batched_loss_and_gradient_are_the_single_ones(model, tasks):
    for task in tasks:
        split, rows = task.train, np.arange(9) % task.train.rows
        loss = loss_of(model, collate(split, rows))
        gradient = torch.autograd.grad(loss, model.model.layers[0].mlp.up_proj.weight)[0]
        total, count = 0, 0
        for i in rows:
            row, answer = split.row(i), split.answers[i]
            logits = model(input_ids=torch.tensor(row[None].astype(np.int64))).logits[0, answer - 1 : -1]
            target = torch.tensor(row[answer:].astype(np.int64))
            total = total + torch.nn.functional.cross_entropy(logits, target, reduction="sum")
            count += len(row) - answer
        truth = torch.autograd.grad(total / count, model.model.layers[0].mlp.up_proj.weight)[0]
        assert loss.item() == pytest.approx((total / count).item(), abs=1e-5)
        assert torch.allclose(gradient, truth, atol=1e-5)


def test_collate(tasks):
    split = tasks[-1].test
    rows = np.array([3, 0, 7, 7])
    batch = collate(split, rows)
    assert batch["input_ids"].dtype == batch["labels"].dtype == torch.int64
    assert batch["input_ids"].shape == (4, max(len(split.row(i)) for i in rows))
    for row, ids, labels in zip(rows, batch["input_ids"], batch["labels"], strict=True):
        length, answer = len(split.row(row)), split.answers[row]
        assert ids[:length].tolist() == split.row(row).tolist() and (ids[length:] == 0).all()
        assert labels[answer:length].tolist() == split.row(row)[answer:].tolist()
        assert (labels[:answer] == -100).all() and (labels[length:] == -100).all()


def test_epochs_without_replacement():
    steps = [batch_rows(10, 4, 7, step) for step in range(10)]
    flat = np.concatenate(steps)
    for epoch in range(4):
        assert sorted(flat[10 * epoch : 10 * epoch + 10]) == list(range(10))
    assert flat[:10].tolist() != flat[10:20].tolist()
    assert batch_rows(10, 4, 7, 5).tolist() == steps[5].tolist()
    assert batch_rows(10, 4, 8, 0).tolist() != steps[0].tolist()
    assert len(batch_rows(3, 8, 7, 0)) == 8


def test_mixture_draws_by_share_and_in_epochs():
    sizes, shares, taken = [30, 50], [1, 3], [[], []]
    for step in range(600):
        batch = mixture_rows(sizes, shares, 16, 1, step)
        assert sum(len(rows) for _, rows in batch) == 16
        for entry, rows in batch:
            taken[entry].extend(rows)
    assert len(taken[1]) / 9600 == pytest.approx(0.75, abs=0.02)
    for size, rows in zip(sizes, taken, strict=True):
        assert sorted(rows[:size]) == list(range(size)) == sorted(rows[5 * size : 6 * size])
    again = mixture_rows(sizes, shares, 16, 1, 599)
    assert all(e == f and r.tolist() == q.tolist() for (e, r), (f, q) in zip(again, batch, strict=True))

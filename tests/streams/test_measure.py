"""Batched losses and scores against loops over single rows; the order of rows."""

import copy

import numpy as np
import pytest
import torch

from sparse_continual.errors import UserError
from sparse_continual.streams.sources import cl_benchmark, drift, facts, rules
from sparse_continual.streams.tasks import Task, make_split, whole
from sparse_continual.training.batches import batch_rows, collate, loss_of, mixture_rows, refuse_beyond
from sparse_continual.training.measure import judge_options, measure


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


def options_task(options, right):
    """A task in which the items' right options are numbered `right`; every prompt is its own."""
    rows = [[1, 10 + item, *option] for item in range(len(right)) for option in options]
    items = np.repeat(np.arange(len(right)), len(options))
    split = make_split(rows, [2] * len(rows), items, right)
    return Task("t", "options", split, split, split, whole(1 / len(options)))


@pytest.mark.parametrize(
    "options", [[[20], [21]], [[20], [21, 22], [23, 24, 25]], [[20 + n] for n in range(7)]]
)
def test_a_model_without_preference_scores_chance_wherever_the_right_option_stands(model, options):
    blank = copy.deepcopy(model)
    torch.nn.init.zeros_(blank.lm_head.weight)
    for place in range(len(options)):
        found = measure(blank, options_task(options, [place] * 6), "test", 4)
        np.testing.assert_allclose(found.score, 1 / len(options), rtol=1e-15)
        np.testing.assert_allclose(found.loss, np.log(model.config.vocab_size), rtol=1e-6)


def test_ties_are_shared_by_the_options_that_tie():
    task = options_task([[20], [21], [22], [23]], [0, 1, 2, 3, 0, 1])
    losses = [
        [1, 2, 3, 4],  # right, alone
        [1, 1, 3, 4],  # right, with the first
        [1, 2, 1, 1],  # right, with two others
        [1, 1, 1, 4],  # wrong
        [np.nan, 1, 1, 1],  # a loss that is none is never right
        [2, 1, np.nan, 1],
    ]
    found = judge_options(task.test, np.array(losses, float).ravel())
    np.testing.assert_allclose(found.score, [1, 1 / 2, 1 / 3, 0, 0, 0])
    np.testing.assert_array_equal(found.loss, [1, 1, 1, 4, np.nan, 1])


def test_an_option_that_begins_another_is_judged_by_its_mean_loss():
    """Neither the shorter nor the longer one is preferred: the mean per token decides."""

    class Says(torch.nn.Module):
        """Gives token 21 behind token 20 the probability `p`, and 20 behind all others one half."""

        def __init__(self, p):
            super().__init__()
            self.weight, self.p = torch.nn.Parameter(torch.zeros(1)), p

        def forward(self, input_ids, logits_to_keep=0, **_):
            behind = (input_ids == 20)[:, -logits_to_keep:]
            share = torch.where(behind, self.p, 0.5)
            logits = torch.full((*behind.shape, 64), -1e9)
            logits[..., 20] = torch.where(behind, -1e9, share.log())
            logits[..., 21] = torch.where(behind, share.log(), -1e9)
            logits[..., 22] = (1 - share).log()
            return type("Output", (), {"logits": logits, "past_key_values": Cache()})

    class Cache:
        def batch_repeat_interleave(self, count):
            pass

    for p, chosen in ((0.9, 1), (0.5, None), (0.1, 0)):
        found = [measure(Says(p), options_task([[20], [20, 21]], [right]), "test", 8) for right in (0, 1)]
        wanted = [0.5, 0.5] if chosen is None else [float(chosen == 0), float(chosen == 1)]
        assert [one.score[0] for one in found] == wanted


def test_options_have_unequal_lengths_and_varied_outcomes(model, tasks):
    split = tasks[-1].test
    assert len(set(np.diff(split.starts)[:3] - split.answers[:3])) > 1
    assert 0 < measure(model, tasks[-1], "test", 8).score.mean() < 1


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


def test_rows_of_another_tokenizer_are_one_line(model):
    rows = model.config.vocab_size
    fits, beyond = options_task([[20], [rows - 1]], [0, 1]), options_task([[20], [rows]], [0, 1])
    measure(model, fits, "test", 8)
    with pytest.raises(
        UserError, match=f"task t: found token id {rows}, but the model's embedding has {rows} rows"
    ):
        measure(model, beyond, "test", 8)
    with pytest.raises(UserError, match="rows of a name: found token id"):
        refuse_beyond(model, beyond.train, "rows of a name")

"""Elastic weight consolidation against closed forms, and its importances against one row at a time."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sparse_continual.errors import UserError
from sparse_continual.identity import seed_of
from sparse_continual.runs import fisher
from sparse_continual.runs.mechanism import Mechanism as Finetune
from sparse_continual.runs.mechanism import Setting, TaskData
from sparse_continual.runs.mechanisms.ewc import Mechanism as Ewc
from sparse_continual.runs.run import run_condition
from sparse_continual.runs.stream import train_stream
from sparse_continual.streams.tasks import load_tasks, make_split
from sparse_continual.training.batches import IGNORED

ON = {"lambda": 30.0, "gamma": 0.9, "fisher": "sample", "normalise": True}


def data_of(split, seed=3, device="cpu"):
    return TaskData(0, range(split.rows), split, 5, seed, device)


def test_strength_zero_is_fine_tuning_byte_for_byte(job_of, tmp_path):
    runs = {}
    for arm in ("sparse", "ewc"):
        job = job_of(arm, folder=tmp_path / arm, resume=tmp_path / f"{arm} resume")
        if arm == "ewc":
            job["arm"]["mechanism"] = {**job["arm"]["mechanism"], "lambda": 0}
        runs[arm] = run_condition(job, 1)
    assert runs["ewc"]["weights"] == runs["sparse"]["weights"]
    assert runs["ewc"]["tasks"] == runs["sparse"]["tasks"]


def test_a_penalty_changes_later_tasks_and_not_the_first_step(job_of, started):
    """At a task's first step the values are the anchor, so the penalty's gradient is 0."""
    job = job_of("ewc")
    tasks = load_tasks(job["stream"], job["order"])
    mechanism, gradients = started("ewc"), []

    def adjust():
        plain = [p.grad.clone() for p in mechanism.parameters()]
        Ewc.adjust(mechanism)
        added = [p.grad - old for p, old in zip(mechanism.parameters(), plain, strict=True)]
        gradients.append(sum(float(a.abs().sum()) for a in added))

    mechanism.adjust = adjust
    train_stream(mechanism, [[task] for task in tasks], job["training"], 3e-3, 11, lambda position: None)
    assert gradients[:6] == [0] * 6 and gradients[10] == 0
    assert all(value > 0 for value in gradients[6:10] + gradients[11:])


def test_the_penalty_of_a_quadratic_task_in_closed_form(started):
    """Descending (theta - b)^2 h / 2 + penalty ends at (h b + lambda gamma F a) / (h + lambda gamma F)."""
    mechanism = started("ewc")
    (name, values), *_ = mechanism.named().items()
    rng = torch.Generator().manual_seed(1)
    importance, target = torch.rand(values.shape, generator=rng), torch.randn(values.shape, generator=rng)
    anchor, curvature = values.detach().clone(), 0.5 + torch.rand(values.shape, generator=rng)
    mechanism.remember({"mean": 1.0}, {f"fisher.{name}": importance, f"anchor.{name}": anchor})
    optimizer = torch.optim.SGD([values], lr=0.03)
    for _ in range(600):
        values.grad = (curvature * (values - target)).detach()
        mechanism.adjust()
        optimizer.step()
    strength = 30.0 * 0.9 * importance
    expected = (curvature * target + strength * anchor) / (curvature + strength)
    torch.testing.assert_close(values.detach(), expected, rtol=1e-4, atol=1e-5)


def test_importances_add_up_online_and_are_normalised_by_the_first_mean(started, monkeypatch):
    mechanism = started("ewc")
    ((name, values),) = mechanism.named().items()
    drawn = [torch.rand(values.shape) * scale for scale in (4, 1, 9)]
    given = iter(drawn)
    monkeypatch.setattr(fisher, "diagonal", lambda *_: {name: next(given).clone()})
    for _ in drawn:
        mechanism.end_task(None)
    expected = ((drawn[0] * 0.9 + drawn[1]) * 0.9 + drawn[2]) / drawn[0].mean()
    torch.testing.assert_close(mechanism.fisher[name], expected)
    assert torch.equal(mechanism.anchor[name], values)


# Fisher


class Softmax(torch.nn.Module):
    """Logits (0, w x) from a row's first token, x its embedding: p(1) = 1 / (1 + exp(-w x))."""

    def __init__(self, weight):
        super().__init__()
        self.input = torch.nn.Embedding(4, 1)
        self.input.weight.data = torch.tensor([[0.0], [0.0], [0.7], [-1.5]])
        self.linear = torch.nn.Linear(1, 1, bias=False)
        self.linear.weight.data.fill_(weight)
        self.device = torch.device("cpu")

    def forward(self, input_ids, use_cache=False, logits_to_keep=None):
        read = self.linear(self.input(input_ids))[:, logits_to_keep]
        return SimpleNamespace(logits=torch.cat([torch.zeros_like(read), read], -1))


@pytest.fixture
def softmax():
    """A function (settings, rows [(input token, answer)]) -> the mechanism and its task."""

    def make(rows, **settings):
        model = Softmax(0.8)
        split = make_split([np.array(row) for row in rows], [1] * len(rows), parts=np.zeros(len(rows), int))
        setting = Setting(model, {"linear.weight": model.linear}, None, None, "frozen", 3)
        return Ewc(setting, {**ON, **settings}), data_of(split)

    return make


def p_of(x, weight=0.8):
    return 1 / (1 + np.exp(-weight * x))


def test_exact_is_p_times_1_minus_p_times_x_squared(softmax):
    mechanism, task = softmax([(2, 1), (3, 0), (3, 1)])
    (found,) = fisher.diagonal(mechanism, task, "exact", 2).values()
    inputs = np.array([0.7, -1.5, -1.5])
    p = p_of(inputs)
    assert float(found) == pytest.approx((p * (1 - p) * inputs**2).mean(), rel=1e-5)


def test_empirical_takes_the_rows_own_answers(softmax):
    mechanism, task = softmax([(2, 1), (3, 0), (3, 1)])
    (found,) = fisher.diagonal(mechanism, task, "empirical", 2).values()
    inputs, answers = np.array([0.7, -1.5, -1.5]), np.array([1, 0, 1])
    assert float(found) == pytest.approx((((answers - p_of(inputs)) * inputs) ** 2).mean(), rel=1e-5)


def test_sampling_converges_to_the_exact_value(softmax):
    mechanism, task = softmax([(2, 0)] * 20000)
    (found,) = fisher.diagonal(mechanism, task, "sample", 5000).values()
    p = p_of(0.7)
    scores = (1 - p) ** 2 * 0.49, p**2 * 0.49  # of answers 1 and 0
    error = np.sqrt(p * (1 - p) / 20000) * abs(scores[0] - scores[1])
    assert float(found) == pytest.approx(p * (1 - p) * 0.49, abs=4 * error)


@pytest.mark.parametrize("kind", ["sample", "empirical"])
@pytest.mark.parametrize("arm", ["sparse", "dense", "masked writes", "trained ends"])
def test_rows_at_once_equal_one_row_at_a_time(kind, arm, job_of, started):
    mechanism = started(arm)
    (task,) = load_tasks(job_of(arm)["stream"], ["a"])
    data = data_of(task.train)
    found = fisher.diagonal(mechanism, data, kind, 8)
    assert found.keys() == mechanism.named().keys()
    if kind == "empirical":
        expected = {name: torch.zeros_like(tensor) for name, tensor in mechanism.named().items()}
        for row in range(task.train.rows):
            squares = fisher.squared_by_row(mechanism, data.batch([row]), torch.ones(1))
            for name in expected:
                expected[name] += squares[name] / task.train.rows
    else:
        expected = fisher.diagonal(mechanism, data, kind, 1)
    for name, tensor in found.items():
        assert tensor.any() or "ends" in name
        torch.testing.assert_close(tensor, expected[name], rtol=2e-4, atol=1e-7)
    assert all(p.grad is None for p in mechanism.parameters())
    mechanism.verify()


def test_one_row_at_a_time_against_autograd(job_of, started):
    """The gradient of the summed log-probabilities of the answer, by torch.func on the plain model."""
    mechanism = started("dense")
    (task,) = load_tasks(job_of("dense")["stream"], ["a"])
    batch = data_of(task.train).batch([4])
    weights = torch.tensor([0.3])
    found = fisher.squared(mechanism, batch, weights)
    model = mechanism.setting.model
    logits = model(batch["input_ids"]).logits[0].log_softmax(-1)
    answer = (batch["labels"][0] != IGNORED).nonzero().flatten().tolist()
    total = sum(logits[at - 1, batch["input_ids"][0, at]] for at in answer)
    gradients = torch.autograd.grad(total, list(mechanism.named().values()))
    for (name, _), gradient in zip(mechanism.named().items(), gradients, strict=True):
        torch.testing.assert_close(found[name], 0.3 * gradient.square(), rtol=1e-4, atol=1e-8)


def test_answers_are_drawn_token_by_token_from_the_model(job_of, started):
    """Frequencies of drawn answers of two tokens against the product of conditional probabilities."""
    model = started("dense").setting.model
    (task,) = load_tasks(job_of("dense")["stream"], ["a"])
    row = int(np.argmin(np.diff(task.train.starts)))
    batch = {key: value.repeat(4000, 1) for key, value in data_of(task.train).batch([row]).items()}
    drawn = fisher._drawn(model, batch, np.random.default_rng(seed_of("test")))
    first = int((drawn["labels"][0] != IGNORED).nonzero()[0])
    assert torch.equal(drawn["input_ids"][:, :first], batch["input_ids"][:, :first])
    with torch.no_grad():
        start = model(drawn["input_ids"][:1, :first]).logits[0, -1].double().softmax(-1)
        tops = start.topk(3).indices
        for token in tops:
            share = float((drawn["input_ids"][:, first] == token).double().mean())
            assert share == pytest.approx(
                float(start[token]), abs=5 * float(start[token] / 4000) ** 0.5 + 1e-3
            )
        token = drawn["input_ids"][:, first].mode().values
        ids = torch.cat([drawn["input_ids"][0, :first], token[None]])[None]
        second = model(ids).logits[0, -1].double().softmax(-1)
    after = drawn["input_ids"][drawn["input_ids"][:, first] == token][:, first + 1]
    top = second.argmax()
    share, count = float((after == top).double().mean()), len(after)
    assert share == pytest.approx(float(second[top]), abs=5 * float(second[top] / count) ** 0.5 + 1e-3)


def test_exact_is_refused_for_longer_answers(job_of):
    job = job_of("ewc")
    job["arm"]["mechanism"] = {**job["arm"]["mechanism"], "fisher": "exact"}
    with pytest.raises(
        UserError, match="ewc: fisher: exact with answers of up to 2 tokens.*use fisher: sample"
    ):
        run_condition(job, 1)


def test_transposed_weights():
    """GPT-2 stores its matrices transposed."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from sparse_continual.models.load import prunable

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=32, n_positions=16, n_embd=8, n_layer=1, n_head=2)).eval()
    mechanism = Finetune(Setting(model, prunable(model), None, None, "frozen", 3), {})
    rows = [np.array([1, 5, 9, 4]), np.array([2, 7, 8, 3, 6])]
    data = data_of(make_split(rows, [2, 3], parts=np.zeros(2, int)))
    found = fisher.squared(mechanism, data.batch([0, 1]), torch.ones(2))
    expected = fisher.squared_by_row(mechanism, data.batch([0, 1]), torch.ones(2))
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-8)


def test_the_view_is_the_model(started):
    mechanism = started("ewc")
    assert isinstance(mechanism.view(1), nullcontext)
    with mechanism.view(None) as model:
        assert model is mechanism.setting.model

"""Losses of a teacher: closed forms, scipy, and a student that reads row by row without padding."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from sparse_continual.streams.tasks import make_split
from sparse_continual.training import distillation
from sparse_continual.training.batches import collate, loss_of


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_divergence_of_two_words():
    teacher, student = torch.tensor([[0.0, np.log(3)]]), torch.tensor([[0.0, 0.0]])
    wanted = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    assert distillation.divergence(student, teacher) == pytest.approx(wanted)
    root = 3**0.5  # at temperature 2 the odds are the root of what they were
    p = np.array([1, root]) / (1 + root)
    assert distillation.divergence(student, teacher, 2) == pytest.approx(4 * (p * np.log(2 * p)).sum())


@pytest.mark.parametrize("temperature", [0.5, 1, 3])
def test_divergence_against_scipy(temperature):
    student, teacher = random(5, 3, 11), 3 * random(5, 3, 11, seed=1)
    q, p = (
        np.exp(logits.numpy() / temperature) for logits in (student, teacher)
    )  # scipy makes them add up to 1
    found = distillation.divergence(student, teacher, temperature)
    assert found.shape == (5, 3)
    np.testing.assert_allclose(found, temperature**2 * entropy(p, q, axis=-1), rtol=1e-10)
    assert (distillation.divergence(teacher, teacher + 7, temperature).abs() < 1e-12).all()


def test_squarehead_against_sums_written_out():
    student, teacher = [random(2, 4, 3, seed=s) for s in (0, 1)], [random(2, 4, 3, seed=s) for s in (2, 3)]
    real = torch.tensor([[True, True, True, False], [True, False, False, False]])
    wanted = 0
    for s, t in zip(student, teacher, strict=True):
        distance = energy = 0
        for row, length in ((0, 3), (1, 1)):
            for place in range(length):
                for unit in range(3):
                    distance += float(s[row, place, unit] - t[row, place, unit]) ** 2
                    energy += float(t[row, place, unit]) ** 2
        wanted += distance / energy
    assert distillation.squarehead(student, teacher, real) == pytest.approx(wanted, rel=1e-12)


def test_squarehead_is_relative_and_counts_blocks():
    """Nothing of the teacher: 1 a block; what is e of it off: e^2; the scale of either block does not matter."""
    teacher, real = [random(2, 4, 3), 100 * random(2, 4, 3, seed=1)], torch.ones(2, 4, dtype=torch.bool)
    nothing = [torch.zeros_like(t) for t in teacher]
    assert distillation.squarehead(nothing, teacher, real) == pytest.approx(2)
    assert distillation.squarehead([1.1 * t for t in teacher], teacher, real) == pytest.approx(0.02)
    assert distillation.squarehead(teacher, teacher, real) == 0


def test_squarehead_of_a_teacher_that_says_nothing():
    """Finite, least where the student says nothing too; every other teacher's own energy counts, to the last bit."""
    student, real = random(2, 4, 3).requires_grad_(), torch.ones(2, 4, dtype=torch.bool)
    silence = torch.zeros_like(student)
    loss = distillation.squarehead([student], [silence], real)
    loss.backward()
    assert loss == student.square().sum() / distillation.ENERGY and student.grad.isfinite().all()
    assert distillation.squarehead([silence], [silence], real) == 0
    weak = 1e-3 * random(2, 4, 3, seed=1)
    exact = (student - weak).square().sum() / weak.square().sum()
    assert distillation.squarehead([student], [weak], real) == exact


@pytest.fixture
def ragged():
    """A batch of rows of 4 to 9 tokens, of which the last 2 or 3 are predicted."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(4, 64, size=length) for length in (4, 9, 6, 7)]
    answers = [len(row) - 2 - number % 2 for number, row in enumerate(rows)]
    return make_split(rows, answers), rows, answers


def by_rows(model, rows, answers):
    """[(logits that predict a counted token, their targets, hidden states by block)] of each row by itself."""
    found = []
    for row, answer in zip(rows, answers, strict=True):
        read = model(torch.tensor(row)[None], output_hidden_states=True)
        found.append((read.logits[0, answer - 1 : -1], row[answer:], [h[0] for h in read.hidden_states[1:]]))
    return found


def test_a_students_loss_against_rows_read_one_by_one(llama, ragged):
    """Every counted token weighs the same in the text and in the logits, every real one in the states."""
    split, rows, answers = ragged
    teacher, student = llama(), llama()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
        taught, read = by_rows(teacher, rows, answers), by_rows(student, rows, answers)
    text, divergences, distance, energy = [], [], np.zeros(2), np.zeros(2)
    for (t_logits, _, t_states), (s_logits, targets, s_states) in zip(taught, read, strict=True):
        text += [-torch.log_softmax(l_, -1)[w].item() for l_, w in zip(s_logits, targets, strict=True)]
        p, q = (np.exp(logits.double().numpy() / 2) for logits in (t_logits, s_logits))
        divergences += list(4 * entropy(p, q, axis=-1))
        distance += [(s - t).square().sum().item() for s, t in zip(s_states, t_states, strict=True)]
        energy += [t.square().sum().item() for t in t_states]
    terms = np.mean(text), np.mean(divergences), (distance / energy).sum()
    batch = collate(split, np.arange(4))
    loss = distillation.Distillation(teacher, logits=0.5, squarehead=3, temperature=2)
    assert loss(student, batch).item() == pytest.approx(terms[0] + 0.5 * terms[1] + 3 * terms[2], rel=1e-4)
    (parts,) = loss.parts
    assert [parts[name] for name in ("text", "logits", "squarehead")] == pytest.approx(terms, rel=1e-4)
    assert min(terms) > 0.01
    for weights, wanted in (
        ({"logits": 2}, terms[0] + 2 * terms[1]),
        ({"squarehead": 2}, terms[0] + 2 * terms[2]),
    ):
        found = distillation.Distillation(teacher, temperature=2, **weights)(student, batch).item()
        assert found == pytest.approx(wanted, rel=1e-4)


def test_a_teachers_copy_learns_from_the_text_alone(llama, ragged):
    """Both terms are at their least, 0: the loss is that of the text, and so is its gradient."""
    batch = collate(ragged[0], np.arange(4))
    teacher, plain = llama(), llama()
    student = copy.deepcopy(teacher)
    distillation.Distillation(teacher, logits=1, squarehead=1, temperature=2)(student, batch).backward()
    loss_of(plain, batch).backward()
    for (name, p), q in zip(student.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-6, msg=name)
    assert all(parameter.grad is None for parameter in teacher.parameters())

"""The loop of every training, against a loop written out by hand."""

import ast
import math
from pathlib import Path

import pytest
import torch

import sparse_continual
from sparse_continual.training.loop import CLIP, adamw, descend

TARGET = torch.tensor([1.0, -0.2, 0.05])
STEPS, WARMUP = 20, 4


def by_hand(first=0, last=STEPS, added=0.0):
    """(weights, steps whose gradient was clipped) of AdamW without weight decay, its formulas written out."""
    weights, mean, square = torch.zeros(3), torch.zeros(3), torch.zeros(3)
    clipped = []
    for number in range(first, last):
        gradient = 2 * (weights - TARGET) + added
        norm = float(gradient.norm())
        clipped.append(norm > CLIP)
        gradient = gradient * min(1, CLIP / (norm + 1e-6))
        warm = (number + 1) / WARMUP
        rate = 0.1 * (warm if number < WARMUP else 0.55 + 0.45 * math.cos(math.pi * (number - WARMUP) / 16))
        taken = number - first + 1
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        weights = weights - rate * (mean / (1 - 0.9**taken)) / ((square / (1 - 0.999**taken)).sqrt() + 1e-8)
    return weights, clipped


def trained(weights=None, **hooks):
    weights = torch.nn.Parameter(torch.zeros(3)) if weights is None else weights
    optimizer = adamw([weights], 0.1)
    done = descend(lambda number: (weights - TARGET).square().sum(), optimizer, STEPS, WARMUP, **hooks)
    assert weights.grad is None
    return weights.detach(), done


def test_the_loop_warms_up_clips_and_anneals():
    clips = []
    weights, done = trained(after_step=lambda done, loss, clipped: clips.append(bool(clipped)))
    expected, clipped = by_hand()
    torch.testing.assert_close(weights, expected, rtol=1e-5, atol=1e-6)
    assert done == STEPS and clips == clipped and {True, False} == set(clips)


def test_a_hook_ends_the_loop_and_another_start_has_the_later_rates():
    losses = []
    weights, done = trained(after_step=lambda done, loss, _: losses.append(loss.item()) or done == 7)
    assert done == 7 and losses[0] == pytest.approx(float(TARGET.square().sum())) and len(losses) == 7
    torch.testing.assert_close(weights, by_hand(last=7)[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(trained(first=7)[0], by_hand(first=7)[0], rtol=1e-5, atol=1e-6)


def test_gradients_are_adjusted_before_they_are_clipped():
    weights = torch.nn.Parameter(torch.zeros(3))
    adjusted, _ = trained(weights, adjust=lambda: weights.grad.add_(5.0))
    torch.testing.assert_close(adjusted, by_hand(added=5.0)[0], rtol=1e-5, atol=1e-6)


def test_no_other_code_steps_an_optimizer():
    """But Wanda++'s regional optimisation, which descends one row at a time and block by block."""
    package = Path(sparse_continual.__file__).parent
    steps = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "step"
    }
    assert steps == {"training/loop.py", "pruning/methods/wandapp.py"}

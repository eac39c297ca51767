"""SNIP: finite differences of a gate on single weights, one global sort, batches that change nothing."""

import pytest
import torch
from layers import functions, job_of

from sparse_continual import prune
from sparse_continual.errors import UserError
from sparse_continual.models.load import matrix_of, prunable
from sparse_continual.training import gradual
from sparse_continual.training.gradual import lm_loss

snip = functions("snip")


@pytest.mark.parametrize("family", ["OPT", "GPT2"])
def test_scores_are_the_slopes_of_a_gate(family, rows):
    from families import build

    model = build(family).double()
    job = job_of(
        model, [row[: 6 + i] for i, row in enumerate(rows[:11])]
    )  # of unequal length, in two batches
    with torch.no_grad():
        gradient = snip.gather(job)
        for name in list(job.linears)[::3]:
            weight = matrix_of(job.linears[name])
            found = snip.scores(weight, gradient(name))[3, 5].item()
            value, losses = weight[3, 5].item(), []
            for gate in (1 + 1e-4, 1 - 1e-4):
                weight[3, 5] = gate * value
                losses.append(lm_loss(model, job.rows).item())
            weight[3, 5] = value
            assert found == pytest.approx(abs(losses[0] - losses[1]) / 2e-4, rel=1e-5, abs=1e-9)


def test_the_largest_slopes_of_all_matrices_stay(llama, rows):
    model = llama()
    gradient = snip.gather(job_of(llama(), rows))
    dense = {name: module.weight.clone() for name, module in prunable(model).items()}
    topology = prune(model, "snip", sparsity=0.5, calibration=rows)
    flat = torch.cat([(gradient(name) * weight).abs().flatten() for name, weight in dense.items()])
    mask = torch.ones(len(flat), dtype=torch.bool)
    mask[flat.sort(stable=True).indices[: round(0.5 * len(flat))]] = False
    assert torch.equal(mask, torch.cat([m.flatten() for m in topology.masks.values()]))
    for name, found in topology.masks.items():
        assert torch.equal(model.get_parameter(name).detach(), torch.where(found, dense[name], 0))
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("limit", "value", "rows_at_once"), [("BATCH", 5, 5), ("TOKENS", 40, 2), ("TOKENS", 1, 1)]
)
def test_batches_change_nothing(llama, rows, monkeypatch, limit, value, rows_at_once):
    rows = rows[:, :16]
    whole = prune(llama(), "snip", sparsity=0.7, calibration=rows)
    monkeypatch.setattr(snip, limit, value)
    seen = []
    monkeypatch.setattr(
        gradual, "lm_loss", lambda *given, **own: seen.append(len(given[1])) or lm_loss(*given, **own)
    )
    parts = prune(llama(), "snip", sparsity=0.7, calibration=rows)
    agreement = [(parts.masks[n] == m).float().mean().item() for n, m in whole.masks.items()]
    assert min(agreement) > 0.998  # sums in another order
    assert max(seen) == rows_at_once and sum(seen) == len(rows)


def test_other_allocations_and_patterns_are_refused(llama, rows):
    with pytest.raises(UserError, match="method snip: found allocation 'uniform', expected global"):
        prune(llama(), "snip", sparsity=0.5, calibration=rows, allocation="uniform")
    with pytest.raises(UserError, match="method snip: found pattern '2:4', expected unstructured"):
        prune(llama(), "snip", "2:4", calibration=rows)


def test_a_matrix_without_gradient_would_be_emptied(llama, rows):
    model = llama()
    model.model.layers[1].mlp.down_proj.weight.data.zero_()  # so nothing reaches gate_proj and up_proj
    with pytest.raises(UserError, match="model.layers.1.mlp.*: allocation global would empty this matrix"):
        prune(model, "snip", sparsity=0.5, calibration=rows)

"""`counts: reference` against loops that follow the authors' own code line by line, in float32."""

import pytest
import torch
from layers import layer, method, pruned

from sparse_continual import prune
from sparse_continual.topologies.counts import Count

PATTERNS = [("unstructured", 0.5), ("unstructured", 0.7), ("2:4", 0.5)]


def by_magnitude(weight, inputs, groups, sparsity):
    """Wanda's repository, prune_magnitude."""
    scores = weight.abs()
    gone = torch.zeros_like(weight, dtype=torch.bool)
    if groups:
        for at in range(0, weight.shape[1], 4):
            gone.scatter_(1, at + scores[:, at : at + 4].topk(2, dim=1, largest=False)[1], True)
    else:
        limit = scores.flatten().sort()[0][int(weight.numel() * sparsity)]
        gone = scores <= limit
    return weight.masked_fill(gone, 0)


def by_wanda(weight, inputs, groups, sparsity):
    """Wanda's repository, prune_wanda: a running mean of squares, int(columns * sparsity) per row."""
    mean, seen = torch.zeros(weight.shape[1]), 0
    for sequence in inputs:
        mean *= seen / (seen + 1)
        seen += 1
        mean += sequence.T.norm(p=2, dim=1) ** 2 / seen
    scores = weight.abs() * mean.sqrt().reshape(1, -1)
    gone = torch.zeros_like(weight, dtype=torch.bool)
    if groups:
        for at in range(0, weight.shape[1], 4):
            gone.scatter_(1, at + scores[:, at : at + 4].topk(2, dim=1, largest=False)[1], True)
    else:
        order = scores.sort(dim=-1, stable=True)[1]
        gone.scatter_(1, order[:, : int(weight.shape[1] * sparsity)], True)
    return weight.masked_fill(gone, 0)


def by_sparsegpt(weight, inputs, groups, sparsity, block=128, damping=0.01):
    """SparseGPT's repository, add_batch and fasterprune."""
    weight, columns = weight.clone(), weight.shape[1]
    hessian, seen = torch.zeros(columns, columns), 0
    for sequence in inputs:
        hessian *= seen / (seen + 1)
        seen += 1
        scaled = (2 / seen) ** 0.5 * sequence.T
        hessian += scaled @ scaled.T
    dead = hessian.diagonal() == 0
    hessian[dead, dead] = 1
    weight[:, dead] = 0
    hessian.diagonal().add_(damping * hessian.diagonal().mean())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    inverse = torch.linalg.cholesky(inverse, upper=True)
    for first in range(0, columns, block):
        last = min(first + block, columns)
        part, errors = weight[:, first:last].clone(), torch.zeros(weight.shape[0], last - first)
        own = inverse[first:last, first:last]
        if groups:
            gone = torch.zeros_like(part, dtype=torch.bool)
        else:
            scores = part**2 / own.diagonal().reshape(1, -1) ** 2
            gone = scores <= scores.flatten().sort()[0][int(scores.numel() * sparsity)]
        for i in range(last - first):
            if groups and i % 4 == 0:
                scores = part[:, i : i + 4] ** 2 / own.diagonal()[i : i + 4].reshape(1, -1) ** 2
                gone.scatter_(1, i + scores.topk(2, dim=1, largest=False)[1], True)
            new = part[:, i].masked_fill(gone[:, i], 0)
            errors[:, i] = (part[:, i] - new) / own[i, i]
            part[:, i:] -= errors[:, i : i + 1] @ own[i, i:].unsqueeze(0)
            part[:, i] = new
        weight[:, first:last] = part
        weight[:, last:] -= errors @ inverse[first:last, last:]
    return weight


AUTHORS = {"magnitude": by_magnitude, "wanda": by_wanda, "sparsegpt": by_sparsegpt}


@pytest.mark.parametrize("name", AUTHORS)
@pytest.mark.parametrize(("pattern", "sparsity"), PATTERNS)
def test_masks_and_weights_are_the_authors(name, pattern, sparsity):
    groups = (2, 4) if pattern == "2:4" else None
    for seed, (rows, columns) in enumerate([(24, 64), (17, 172), (32, 260)]):
        weight, inputs = layer(seed, rows, columns, torch.float32)
        for sequence in inputs:
            sequence[:, seed * 5] = 0  # a dead input
        expected = AUTHORS[name](weight, inputs, groups, sparsity)
        mask, found = pruned(method(name), weight, inputs, weight.numel() // 2, groups, sparsity)
        if groups is None and name != "wanda":  # one too many per group that competes
            kept = (1 - sparsity) * weight.numel()
            assert int(mask.sum()) < kept
        assert ((found != 0) == (expected != 0)).double().mean() >= 0.999
        both = (found != 0) & (expected != 0)
        assert (found.float() - expected)[both].norm() <= 1e-4 * expected.norm()


def test_ties_go_all_together():
    weight = torch.tensor([[1.0, 1.0, 1.0, 2.0], [1.0, 1.0, 3.0, 4.0]])
    mask, _ = method("magnitude").prune_matrix(weight, None, Count(6, None, 0.25))
    assert mask.tolist() == [[False, False, False, True], [False, False, True, True]]


def test_whole_models_record_what_was_kept(llama, rows):
    """Wanda rounds down in every row: 32 inputs at 0.7 keep 10 of 32."""
    model = llama()
    topology = prune(model, "wanda", "unstructured", 0.7, rows, counts="reference")
    for name, mask in topology.masks.items():
        columns = mask.shape[1]
        assert (mask.sum(1) == columns - int(columns * 0.7)).all()
        assert topology.record["kept"][name] == int(mask.sum())
    assert topology.record["counts"] == "reference"
    topology.check(model)

"""SparseGPT on single matrices, against loops and explicit inverses."""

import pytest
import torch
from layers import COLUMNS, functions, hessian, layer, measured, pruned, read_by

from sparse_continual import prune
from sparse_continual.errors import UserError
from sparse_continual.models.load import prunable
from sparse_continual.pruning import input_statistics
from sparse_continual.topologies.counts import Count

sparsegpt = functions("sparsegpt")


def explicit(weight, matrix, mask):
    """Column by column with the inverse of the rest of H computed again each time."""
    weight = weight.clone()
    for j in range(weight.shape[1]):
        inverse = torch.linalg.inv(matrix[j:, j:])
        for row in range(weight.shape[0]):
            if not mask[row, j]:
                weight[row, j:] -= weight[row, j] / inverse[0, 0] * inverse[0]
                weight[row, j] = 0
    return weight


@pytest.mark.parametrize("block", [1, 3, 8, 12, 100])
def test_sparsegpt_for_a_fixed_mask_is_the_explicit_loop(block):
    weight, inputs = layer(4, rows=5, columns=24)
    mask = torch.rand(5, 24, generator=torch.Generator().manual_seed(9)) < 0.5
    factor, dead = measured(sparsegpt.Statistics, inputs).factor(0.01)
    found_mask, found, loss = sparsegpt.sweep(
        weight, factor, dead, lambda start, s: mask[:, start : start + s.shape[1]], block, block
    )
    assert torch.equal(found_mask, mask)
    torch.testing.assert_close(found, explicit(weight, hessian(inputs, 0.01), mask), rtol=1e-10, atol=1e-10)


def test_sparsegpt_chooses_by_the_inverse_of_the_columns_to_come():
    """N:M against a loop that computes w_j^2 / [(H_{j:,j:})^-1]_00 at the start of each group."""
    weight, inputs = layer(5, rows=4, columns=12)
    matrix, expected = hessian(inputs, 0.01), weight.clone()
    mask = torch.ones(4, 12, dtype=torch.bool)
    for j in range(12):
        if j % 4 == 0:
            diagonal = [torch.linalg.inv(matrix[k:, k:])[0, 0] for k in range(j, j + 4)]
            scores = expected[:, j : j + 4].square() / torch.stack(diagonal)
            mask[:, j : j + 4].scatter_(1, scores.argsort(1)[:, :2], False)
        inverse = torch.linalg.inv(matrix[j:, j:])
        step = torch.where(mask[:, j], 0, expected[:, j] / inverse[0, 0])
        expected[:, j:] -= torch.outer(step, inverse[0])
        expected[~mask[:, j], j] = 0
    found_mask, found = pruned(sparsegpt.METHOD, weight, inputs, groups=(2, 4), block=7)
    assert torch.equal(found_mask, mask)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("block", [4, 8, 128])
def test_sparsegpt_n_of_m_does_not_depend_on_the_block(block):
    weight, inputs = layer(6)
    mask, new = pruned(sparsegpt.METHOD, weight, inputs, groups=(2, 4), block=block)
    first_mask, first = pruned(sparsegpt.METHOD, weight, inputs, groups=(2, 4), block=32)
    assert torch.equal(mask, first_mask)
    torch.testing.assert_close(new, first, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_reported_loss_is_the_damped_layer_error(dtype):
    weight, inputs = layer(7, dtype=dtype)
    statistics = measured(sparsegpt.Statistics, inputs)
    mask, _ = sparsegpt.prune_matrix(weight, statistics, Count(1024))
    factor, dead = statistics.factor(0.01)
    _, new, loss = sparsegpt.sweep(
        weight, factor, dead, lambda at, s: mask[:, at : at + s.shape[1]], 128, 128
    )
    change = new - weight
    outputs = sum((change @ x.T.double()).square().sum() for x in inputs) / len(inputs)
    damping = 0.01 * hessian(inputs).diagonal().mean() * change.square().sum() / 2
    assert loss.sum().item() == pytest.approx((outputs + damping).item(), rel=1e-4)


def test_diagonal_inputs_make_sparsegpt_a_sort():
    """Uncorrelated inputs: the smallest w^2 H_jj of the matrix go, and nothing else moves."""
    weight, _ = layer(8)
    scales = torch.linspace(0.5, 3, COLUMNS).double()
    inputs = [torch.diag(scales)]
    mask, new = pruned(sparsegpt.METHOD, weight, inputs, kept=700, damping=1e-12)
    expected = (weight.abs() * scales).flatten().sort(stable=True).indices[: weight.numel() - 700]
    assert set(expected.tolist()) == set((~mask).flatten().nonzero().flatten().tolist())
    torch.testing.assert_close(new[mask], weight[mask], rtol=1e-9, atol=0)


def test_dead_inputs_go_first_and_their_surplus_keeps_its_value():
    weight, inputs = layer(9)
    for sequence in inputs:
        sequence[:, :40] = 0
    mask, new = pruned(sparsegpt.METHOD, weight, inputs, kept=1024)
    assert mask[:, 40:].all() and int(mask.sum()) == 1024
    assert torch.equal(new[mask], weight[mask])


def test_fewer_tokens_than_inputs_is_solved_by_damping():
    weight, inputs = layer(10)
    mask, new = pruned(sparsegpt.METHOD, weight, [inputs[0][:5]], kept=1024)
    assert int(mask.sum()) == 1024 and torch.isfinite(new).all()


def test_failed_factorisation_is_an_error_not_a_fallback():
    weight, inputs = layer(11)
    with pytest.raises(UserError, match="cannot be factorised"):
        pruned(sparsegpt.METHOD, weight, [inputs[0][:5]], kept=1024, damping=1e-30)
    inputs[0][0, 0] = float("nan")
    with pytest.raises(UserError, match="cannot be factorised"):
        pruned(sparsegpt.METHOD, weight, inputs, kept=1024)


def test_single_precision_for_wide_matrices_agrees(monkeypatch):
    weight, inputs = layer(13, dtype=torch.float32)
    mask, new = pruned(sparsegpt.METHOD, weight, inputs, groups=(2, 4))
    monkeypatch.setattr(input_statistics, "EXACT", 0)
    single_mask, single = pruned(sparsegpt.METHOD, weight, inputs, groups=(2, 4))
    assert single.dtype == torch.float32
    assert (mask == single_mask).double().mean() >= 0.999
    both = mask & single_mask
    assert (single[both] - new[both]).norm() <= 1e-4 * new.norm()


ORDER = [  # of the authors' llama.py, with their `true_sequential`
    ["self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj"],
    ["self_attn.o_proj"],
    ["mlp.up_proj", "mlp.gate_proj"],
    ["mlp.down_proj"],
]


@pytest.mark.parametrize("true_sequential", [False, True])
def test_true_sequential_measures_again_after_each_group(llama, rows, true_sequential):
    """The explicit loop on the inputs of whole passes of a model that is pruned so far: by groups, or by blocks."""
    model, read = llama().double(), llama().double()
    dense = {name: module.weight.detach().clone() for name, module in prunable(model).items()}
    options = {"true_sequential": True} if true_sequential else {}
    masks = prune(model, "sparsegpt", "2:4", None, rows, **options).masks
    for number in range(2):
        for group in ORDER if true_sequential else [sum(ORDER, [])]:
            names = [f"model.layers.{number}.{name}.weight" for name in group]
            inputs = read_by(read, names, rows)
            for name in names:
                expected = explicit(dense[name], hessian(inputs[name], 0.01), masks[name])
                found = model.get_parameter(name).detach()
                torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
                read.get_parameter(name).data.copy_(found)

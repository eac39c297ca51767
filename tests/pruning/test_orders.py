"""Theorems and orders between methods, and counts that hold for all of them, on random layers."""

import pytest
import torch
from layers import ROWS, error, functions, hessian, layer, least_squares, measured, method, one_shot, pruned

from sparse_continual import registry


def alone(name):
    """Whether a method's kernel needs no more than one matrix and what is summed over its inputs."""
    found = method(name)
    return found.statistics is not None or not (found.gather or found.prune_block)


KERNELS = [name for name in registry.names("pruning.methods") if one_shot(name) and alone(name)]


@pytest.mark.parametrize("seed", range(20, 28))
def test_order_of_layer_errors(seed):
    """Least squares <= SparseGPT on its mask, row by row; SparseGPT's update on Wanda's mask <= Wanda;
    SparseGPT <= Wanda <= magnitude at 50 %, 2:4 and, with blocks below the width, 70 %."""
    weight, inputs = layer(seed)
    matrix = hessian(inputs)
    sparsegpt = functions("sparsegpt")
    factor, dead = measured(sparsegpt.Statistics, inputs).factor(1e-10)

    def updated(mask):
        return sparsegpt.sweep(weight, factor, dead, lambda at, s: mask[:, at : at + s.shape[1]], 16, 16)[1]

    for groups, kept, block in [(None, 1024, 128), ((2, 4), 1024, 128), (None, 614, 16)]:
        by_wanda, masked = pruned(method("wanda"), weight, inputs, kept, groups)
        wanda_error = error(masked, weight, matrix).sum()
        by_magnitude = pruned(method("magnitude"), weight, inputs, kept, groups)[0]
        assert wanda_error <= error(weight * by_magnitude, weight, matrix).sum()
        mask, new = pruned(method("sparsegpt"), weight, inputs, kept, groups, damping=1e-10, block=block)
        assert error(new, weight, matrix).sum() <= wanda_error
        best = error(least_squares(weight, mask, matrix), weight, matrix)
        assert (best <= error(new, weight, matrix) + 1e-9).all()
        assert error(updated(by_wanda), weight, matrix).sum() <= wanda_error


@pytest.mark.parametrize("name", KERNELS)
def test_counts_are_exact_for_any_shape_and_ties(name):
    chosen = method(name)
    for seed, (rows, columns) in enumerate([(1, 4), (3, 8), (7, 12), (16, 20), (5, 132)]):
        weight, inputs = layer(seed, rows, columns)
        for values in (weight, torch.ones_like(weight), torch.zeros_like(weight), weight.sign()):
            for kept in (1, rows * columns // 3, rows * columns // 2 + 1, rows * columns):
                assert int(pruned(chosen, values, inputs, kept)[0].sum()) == kept
            mask, _ = pruned(chosen, values, inputs, rows * columns // 4, (1, 4))
            assert (mask.view(-1, 4).sum(1) == 1).all()


def test_rows_permuted_permute_the_masks():
    weight, inputs = layer(12)
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(0))
    for chosen in (method("wanda"), method("sparsegpt")):
        mask, _ = pruned(chosen, weight, inputs, kept=1024)
        assert torch.equal(mask[order], pruned(chosen, weight[order], inputs, kept=1024)[0])


def test_narrow_matrices_at_high_sparsity_are_about_as_good_as_wanda():
    """One block as wide as the matrix: single layers may be worse than Wanda, the mean is not."""
    ratios = []
    for seed in range(40, 52):
        weight, inputs = layer(seed)
        matrix = hessian(inputs)
        _, new = pruned(method("sparsegpt"), weight, inputs, kept=614)
        _, masked = pruned(method("wanda"), weight, inputs, kept=614)
        ratios.append((error(new, weight, matrix).sum() / error(masked, weight, matrix).sum()).item())
    assert sum(ratios) / len(ratios) <= 1.05

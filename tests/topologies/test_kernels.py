"""The methods on single matrices, against loops, explicit inverses and theorems."""

import pytest
import torch

from sparse_continual.errors import UserError
from sparse_continual.topologies.methods import magnitude, sparsegpt, wanda

ROWS, COLUMNS, TOKENS, SEQUENCES = 32, 64, 40, 8


def layer(seed, rows=ROWS, columns=COLUMNS, dtype=torch.float64):
    """(weight, sequences of correlated inputs of uneven scale)."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    scales = torch.exp(0.7 * normal(columns))
    mixing = torch.eye(columns, dtype=torch.float64) + 0.6 * normal(columns, columns) / columns**0.5
    inputs = [((normal(TOKENS, columns) @ mixing) * scales).to(dtype) for _ in range(SEQUENCES)]
    return normal(rows, columns).to(dtype), inputs


def measured(method, inputs):
    statistics = method.Statistics(inputs[0].shape[1], "cpu")
    for sequence in inputs:
        statistics.add(sequence[None])
    return statistics


def hessian(inputs, damping=0.0):
    stacked = torch.cat(inputs).double()
    plain = 2 / len(inputs) * stacked.T @ stacked
    return plain + damping * plain.diagonal().mean() * torch.eye(len(plain), dtype=torch.float64)


def error(new, old, matrix):
    """[rows]: 1/2 (v - w) H (v - w)^T."""
    change = new.double() - old.double()
    return (change @ matrix * change).sum(1) / 2


def pruned(method, weight, inputs, groups=None, kept=None, **options):
    mask, new = method.prune_matrix(weight, measured(method, inputs), groups, kept, **options)
    return mask, new.masked_fill(~mask, 0)


def test_wanda_on_even_inputs_is_magnitude_per_row():
    weight, _ = layer(0)
    even = [torch.ones(5, COLUMNS) for _ in range(3)]
    mask, new = pruned(wanda, weight, even, kept=ROWS * COLUMNS // 2)
    for row in range(ROWS):
        smallest = sorted(range(COLUMNS), key=lambda j: (abs(weight[row, j].item()), j))[: COLUMNS // 2]
        assert set(smallest) == set((~mask[row]).nonzero().flatten().tolist())
    grouped, _ = pruned(wanda, weight, even, groups=(2, 4), kept=ROWS * COLUMNS // 2)
    assert torch.equal(grouped, magnitude.prune_matrix(weight, None, (2, 4), None)[0])


def test_wanda_scores_by_weight_and_input_norm():
    weight, inputs = layer(1, rows=6, columns=8)
    norms = torch.cat(inputs).square().sum(0).sqrt()
    mask, new = pruned(wanda, weight, inputs, kept=19)  # 48 weights: 3 a row, and one more in the first
    scores = weight.abs() * norms
    for row, kept in enumerate([4, 3, 3, 3, 3, 3]):
        assert set(mask[row].nonzero().flatten().tolist()) == set(scores[row].topk(kept).indices.tolist())
    assert torch.equal(new[mask], weight[mask])


def test_wanda_does_not_see_scales_moved_between_weights_and_inputs():
    weight, inputs = layer(2)
    scale = torch.exp2(torch.arange(COLUMNS) % 5 - 2.0).double()
    mask, _ = pruned(wanda, weight, inputs, kept=1024)
    assert torch.equal(mask, pruned(wanda, weight / scale, [x * scale for x in inputs], kept=1024)[0])
    assert torch.equal(mask, pruned(wanda, weight, [4 * x for x in inputs], kept=1024)[0])


def test_wanda_with_the_same_columns_permuted_in_groups():
    weight, inputs = layer(3)
    order = torch.arange(COLUMNS).view(-1, 4).flip(1).flatten()
    mask, _ = pruned(wanda, weight, inputs, groups=(2, 4))
    permuted, _ = pruned(wanda, weight[:, order], [x[:, order] for x in inputs], groups=(2, 4))
    assert torch.equal(mask[:, order], permuted)


def explicit(weight, matrix, mask):
    """Column by column with the inverse of the rest of H computed anew each time."""
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
    factor, dead = measured(sparsegpt, inputs).factor(0.01)
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
    found_mask, found = pruned(sparsegpt, weight, inputs, groups=(2, 4), block=7)
    assert torch.equal(found_mask, mask)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("block", [4, 8, 128])
def test_sparsegpt_n_of_m_does_not_depend_on_the_block(block):
    weight, inputs = layer(6)
    mask, new = pruned(sparsegpt, weight, inputs, groups=(2, 4), block=block)
    first_mask, first = pruned(sparsegpt, weight, inputs, groups=(2, 4), block=32)
    assert torch.equal(mask, first_mask)
    torch.testing.assert_close(new, first, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_reported_loss_is_the_damped_layer_error(dtype):
    weight, inputs = layer(7, dtype=dtype)
    statistics = measured(sparsegpt, inputs)
    mask, _ = sparsegpt.prune_matrix(weight, statistics, None, 1024)
    factor, dead = statistics.factor(0.01)
    _, new, loss = sparsegpt.sweep(
        weight, factor, dead, lambda at, s: mask[:, at : at + s.shape[1]], 128, 128
    )
    change = new - weight
    outputs = sum((change @ x.T.double()).square().sum() for x in inputs) / len(inputs)
    damping = 0.01 * hessian(inputs).diagonal().mean() * change.square().sum() / 2
    assert loss.sum().item() == pytest.approx((outputs + damping).item(), rel=1e-4)


def least_squares(weight, mask, matrix):
    """The best weights on a mask, row by row."""
    best = torch.zeros_like(weight)
    for row in range(len(weight)):
        kept, gone = mask[row].nonzero().flatten(), (~mask[row]).nonzero().flatten()
        pull = matrix[kept][:, gone] @ weight[row, gone]
        best[row, kept] = weight[row, kept] + torch.linalg.solve(matrix[kept][:, kept], pull)
    return best


@pytest.mark.parametrize("seed", range(20, 28))
def test_order_of_layer_errors(seed):
    """Least squares <= SparseGPT on its mask, row by row; SparseGPT's update on Wanda's mask <= Wanda;
    SparseGPT <= Wanda <= magnitude at 50 %, 2:4 and, with blocks below the width, 70 %."""
    weight, inputs = layer(seed)
    matrix = hessian(inputs)
    factor, dead = measured(sparsegpt, inputs).factor(1e-10)

    def updated(mask):
        return sparsegpt.sweep(weight, factor, dead, lambda at, s: mask[:, at : at + s.shape[1]], 16, 16)[1]

    for groups, kept, block in [(None, 1024, 128), ((2, 4), 1024, 128), (None, 614, 16)]:
        by_wanda, masked = pruned(wanda, weight, inputs, groups, kept)
        wanda_error = error(masked, weight, matrix).sum()
        by_magnitude = magnitude.prune_matrix(weight, None, groups, kept)[0]
        assert wanda_error <= error(weight * by_magnitude, weight, matrix).sum()
        mask, new = pruned(sparsegpt, weight, inputs, groups, kept, damping=1e-10, block=block)
        assert error(new, weight, matrix).sum() <= wanda_error
        best = error(least_squares(weight, mask, matrix), weight, matrix)
        assert (best <= error(new, weight, matrix) + 1e-9).all()
        assert error(updated(by_wanda), weight, matrix).sum() <= wanda_error


def test_diagonal_inputs_make_sparsegpt_a_sort():
    """Uncorrelated inputs: the smallest w^2 H_jj of the matrix go, and nothing else moves."""
    weight, _ = layer(8)
    scales = torch.linspace(0.5, 3, COLUMNS).double()
    inputs = [torch.diag(scales)]
    mask, new = pruned(sparsegpt, weight, inputs, kept=700, damping=1e-12)
    expected = (weight.abs() * scales).flatten().sort(stable=True).indices[: weight.numel() - 700]
    assert set(expected.tolist()) == set((~mask).flatten().nonzero().flatten().tolist())
    torch.testing.assert_close(new[mask], weight[mask], rtol=1e-9, atol=0)


def test_dead_inputs_go_first_and_their_surplus_keeps_its_value():
    weight, inputs = layer(9)
    for sequence in inputs:
        sequence[:, :40] = 0
    mask, new = pruned(sparsegpt, weight, inputs, kept=1024)
    assert mask[:, 40:].all() and int(mask.sum()) == 1024
    assert torch.equal(new[mask], weight[mask])


def test_fewer_tokens_than_inputs_is_solved_by_damping():
    weight, inputs = layer(10)
    mask, new = pruned(sparsegpt, weight, [inputs[0][:5]], kept=1024)
    assert int(mask.sum()) == 1024 and torch.isfinite(new).all()


def test_failed_factorisation_is_an_error_not_a_fallback():
    weight, inputs = layer(11)
    with pytest.raises(UserError, match="cannot be factorised"):
        pruned(sparsegpt, weight, [inputs[0][:5]], kept=1024, damping=1e-30)
    inputs[0][0, 0] = float("nan")
    with pytest.raises(UserError, match="cannot be factorised"):
        pruned(sparsegpt, weight, inputs, kept=1024)


@pytest.mark.parametrize("method", [magnitude, wanda, sparsegpt])
def test_counts_are_exact_for_any_shape_and_ties(method):
    for seed, (rows, columns) in enumerate([(1, 4), (3, 8), (7, 12), (16, 20), (5, 132)]):
        weight, inputs = layer(seed, rows, columns)
        for values in (weight, torch.ones_like(weight), torch.zeros_like(weight), weight.sign()):
            statistics = None if method is magnitude else measured(method, inputs)
            for kept in (1, rows * columns // 3, rows * columns // 2 + 1, rows * columns):
                mask, _ = method.prune_matrix(values, statistics, None, kept)
                assert int(mask.sum()) == kept
            mask, _ = method.prune_matrix(values, statistics, (1, 4), rows * columns // 4)
            assert (mask.view(-1, 4).sum(1) == 1).all()


def test_rows_permuted_permute_the_masks():
    weight, inputs = layer(12)
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(0))
    for method in (wanda, sparsegpt):
        mask, _ = pruned(method, weight, inputs, kept=1024)
        assert torch.equal(mask[order], pruned(method, weight[order], inputs, kept=1024)[0])


def test_narrow_matrices_at_high_sparsity_are_about_as_good_as_wanda():
    """One block as wide as the matrix: single layers may be worse than Wanda, the mean is not."""
    ratios = []
    for seed in range(40, 52):
        weight, inputs = layer(seed)
        matrix = hessian(inputs)
        _, new = pruned(sparsegpt, weight, inputs, kept=614)
        _, masked = pruned(wanda, weight, inputs, kept=614)
        ratios.append((error(new, weight, matrix).sum() / error(masked, weight, matrix).sum()).item())
    assert sum(ratios) / len(ratios) <= 1.05


def test_single_precision_for_wide_matrices_agrees(monkeypatch):
    weight, inputs = layer(13, dtype=torch.float32)
    mask, new = pruned(sparsegpt, weight, inputs, groups=(2, 4))
    monkeypatch.setattr(sparsegpt, "EXACT", 0)
    single_mask, single = pruned(sparsegpt, weight, inputs, groups=(2, 4))
    assert single.dtype == torch.float32
    assert (mask == single_mask).double().mean() >= 0.999
    both = mask & single_mask
    assert (single[both] - new[both]).norm() <= 1e-4 * new.norm()

"""ExactOBS on single matrices: brute force, least squares, theorems."""

from itertools import combinations

import pytest
import torch
from layers import (
    COLUMNS,
    ROWS,
    error,
    functions,
    hessian,
    layer,
    least_squares,
    measured,
    method,
    pruned,
    read_by,
)

from sparse_continual import prune
from sparse_continual.errors import UserError
from sparse_continual.models.load import prunable
from sparse_continual.pruning import input_statistics
from sparse_continual.topologies.counts import Count

obc = functions("obc")


@pytest.mark.parametrize("groups", [None, (2, 4), (3, 8)])
def test_weights_are_the_best_for_their_mask_and_growths_add_up_to_the_error(groups):
    weight, inputs = layer(0)
    matrix = hessian(inputs)
    mask, new = pruned(obc.METHOD, weight, inputs, 1024, groups)
    torch.testing.assert_close(new, least_squares(weight, mask, matrix), rtol=1e-9, atol=1e-9)
    inverse, dead = obc._inverse(measured(input_statistics.SecondMoments, inputs))
    order, growth = obc.remove_all(weight, inverse, dead, groups)
    for row in range(ROWS):
        gone = int((~mask[row]).sum())
        found = error(new[row : row + 1], weight[row : row + 1], matrix)
        torch.testing.assert_close(growth[row, :gone].sum()[None], found, rtol=1e-8, atol=1e-10)
        assert (growth[row] >= 0).all() and sorted(order[row, :gone].tolist()) == sorted(
            set(order[row, :gone].tolist())
        )


def test_the_first_removal_is_the_best_and_more_are_near_it():
    """8 columns, 4 removals: every subset tried."""
    ratios = []
    for seed in range(6):
        weight, inputs = layer(seed, rows=3, columns=8)
        matrix = hessian(inputs)

        def best(removed, weight=weight, matrix=matrix):
            found = torch.full((3,), torch.inf, dtype=torch.float64)
            for places in combinations(range(8), removed):
                mask = torch.ones(3, 8, dtype=torch.bool)
                mask[:, list(places)] = False
                found = found.minimum(error(least_squares(weight, mask, matrix), weight, matrix))
            return found

        for removed in (1, 4):
            mask, new = pruned(obc.METHOD, weight, inputs, 3 * (8 - removed), rows="equal")
            found = error(new, weight, matrix)
            assert (found >= best(removed) - 1e-9).all()
            if removed == 1:
                torch.testing.assert_close(found, best(1), rtol=1e-9, atol=0)
            else:
                ratios += (found / best(removed)).tolist()
    assert max(ratios) < 8 and sum(ratios) / len(ratios) < 1.5


@pytest.mark.parametrize("seed", range(60, 66))
def test_order_of_layer_errors(seed):
    """OBC with equal rows <= undamped SparseGPT; global rows <= equal ones; unstructured <= 2:4, row by row."""
    weight, inputs = layer(seed)
    matrix = hessian(inputs)

    def loss(*arguments, **options):
        return error(pruned(*arguments, **options)[1], weight, matrix)

    equal = loss(obc.METHOD, weight, inputs, 1024, rows="equal")
    paired = loss(obc.METHOD, weight, inputs, 1024, (2, 4))
    assert loss(obc.METHOD, weight, inputs, 1024).sum() <= equal.sum() + 1e-9
    assert (equal <= paired + 1e-9).all()
    assert paired.sum() <= loss(method("sparsegpt"), weight, inputs, 1024, (2, 4), damping=1e-10).sum()
    free = loss(method("sparsegpt"), weight, inputs, 1024, damping=1e-10)
    assert loss(obc.METHOD, weight, inputs, 1024).sum() <= free.sum()


def test_uncorrelated_inputs_make_it_a_sort():
    """The smallest w^2 H_jj of the matrix go (of the row, with equal rows: Wanda), and nothing else moves."""
    weight, _ = layer(8)
    scales = torch.linspace(0.5, 3, COLUMNS).double()
    inputs = [torch.diag(scales)]
    mask, new = pruned(obc.METHOD, weight, inputs, 700)
    expected = (weight.abs() * scales).flatten().sort(stable=True).indices[: weight.numel() - 700]
    assert set(expected.tolist()) == set((~mask).flatten().nonzero().flatten().tolist())
    torch.testing.assert_close(new[mask], weight[mask], rtol=1e-12, atol=0)
    mask, _ = pruned(obc.METHOD, weight, inputs, 1024, rows="equal")
    assert torch.equal(mask, pruned(method("wanda"), weight, inputs, 1024)[0])


def test_batches_of_rows_change_nothing(monkeypatch):
    weight, inputs = layer(9)
    whole = pruned(obc.METHOD, weight, inputs, 900)
    monkeypatch.setattr(obc, "BATCH", 5 * COLUMNS**2)
    parts = pruned(obc.METHOD, weight, inputs, 900)
    assert torch.equal(whole[0], parts[0])
    torch.testing.assert_close(whole[1], parts[1], rtol=1e-10, atol=1e-10)


def test_few_tokens_are_damped_and_the_damping_is_reported():
    weight, inputs = layer(10)
    statistics = measured(input_statistics.SecondMoments, [inputs[0][:5]])
    assert torch.isfinite(obc.prune_matrix(weight, statistics, Count(1024))[1]).all()
    assert 0 < statistics.notes["damping"] <= 1e-3
    whole = measured(input_statistics.SecondMoments, inputs)
    obc.prune_matrix(weight, whole, Count(1024))
    assert whole.notes == {"damping": 0.0, "dead": 0}


def test_dead_inputs_go_first_and_zeros_cost_nothing():
    weight, inputs = layer(11)
    for sequence in inputs:
        sequence[:, :40] = 0
    mask, new = pruned(obc.METHOD, weight, inputs, 1024)
    assert mask[:, 40:].all() and torch.equal(new[mask], weight[mask])
    weight, inputs = layer(12)
    weight[:, ::2] = 0
    mask, new = pruned(obc.METHOD, weight, inputs, 1024)
    assert not mask[:, ::2].any()
    torch.testing.assert_close(new, weight, rtol=1e-12, atol=1e-12)


def test_what_cannot_be_done_is_refused():
    weight, inputs = layer(13)
    with pytest.raises(UserError, match="found 64 inputs, expected at most 63.*use sparsegpt"):
        pruned(obc.METHOD, weight, inputs, 1024, max_columns=63)
    inputs[0][0, 0] = float("nan")
    with pytest.raises(UserError, match="not positive definite"):
        pruned(obc.METHOD, weight, inputs, 1024)


@pytest.mark.parametrize("one_pass", [False, True])
def test_one_pass_takes_second_moments_from_the_dense_model(llama, rows, one_pass):
    """Weights are the least-squares ones for their mask and the inputs of whole passes of a model: the dense one,
    or one whose earlier blocks are pruned."""
    model, read = llama().double(), llama().double()
    dense = {name: module.weight.detach().clone() for name, module in prunable(model).items()}
    options = {"one_pass": True} if one_pass else {}
    masks = prune(model, "obc", "unstructured", 0.5, rows, **options).masks
    for number in range(2):
        names = [name for name in dense if name.startswith(f"model.layers.{number}.")]
        for name, inputs in read_by(read, names, rows).items():
            best = least_squares(dense[name], masks[name], hessian(inputs))
            torch.testing.assert_close(model.get_parameter(name).detach(), best, rtol=1e-6, atol=1e-8)
        if not one_pass:
            for name in names:
                read.get_parameter(name).data.copy_(model.get_parameter(name))

"""Wanda on single matrices."""

import torch
from layers import COLUMNS, ROWS, functions, layer, method, pruned

wanda = functions("wanda")


def test_wanda_on_even_inputs_is_magnitude_per_row():
    weight, _ = layer(0)
    even = [torch.ones(5, COLUMNS) for _ in range(3)]
    mask, new = pruned(wanda.METHOD, weight, even, kept=ROWS * COLUMNS // 2)
    for row in range(ROWS):
        smallest = sorted(range(COLUMNS), key=lambda j: (abs(weight[row, j].item()), j))[: COLUMNS // 2]
        assert set(smallest) == set((~mask[row]).nonzero().flatten().tolist())
    grouped, _ = pruned(wanda.METHOD, weight, even, groups=(2, 4), kept=ROWS * COLUMNS // 2)
    assert torch.equal(grouped, pruned(method("magnitude"), weight, even, groups=(2, 4))[0])


def test_wanda_scores_by_weight_and_input_norm():
    weight, inputs = layer(1, rows=6, columns=8)
    norms = torch.cat(inputs).square().sum(0).sqrt()
    mask, new = pruned(
        wanda.METHOD, weight, inputs, kept=19
    )  # 48 weights: 3 a row, and one more in the first
    scores = weight.abs() * norms
    for row, kept in enumerate([4, 3, 3, 3, 3, 3]):
        assert set(mask[row].nonzero().flatten().tolist()) == set(scores[row].topk(kept).indices.tolist())
    assert torch.equal(new[mask], weight[mask])


def test_wanda_does_not_see_scales_moved_between_weights_and_inputs():
    weight, inputs = layer(2)
    scale = torch.exp2(torch.arange(COLUMNS) % 5 - 2.0).double()
    mask, _ = pruned(wanda.METHOD, weight, inputs, kept=1024)
    assert torch.equal(mask, pruned(wanda.METHOD, weight / scale, [x * scale for x in inputs], kept=1024)[0])
    assert torch.equal(mask, pruned(wanda.METHOD, weight, [4 * x for x in inputs], kept=1024)[0])


def test_wanda_with_the_same_columns_permuted_in_groups():
    weight, inputs = layer(3)
    order = torch.arange(COLUMNS).view(-1, 4).flip(1).flatten()
    mask, _ = pruned(wanda.METHOD, weight, inputs, groups=(2, 4))
    permuted, _ = pruned(wanda.METHOD, weight[:, order], [x[:, order] for x in inputs], groups=(2, 4))
    assert torch.equal(mask[:, order], permuted)

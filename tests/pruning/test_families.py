"""Every architecture family at tiny size: what is pruned, to which counts, and what is left alone."""

import pytest
import torch
from families import FAMILIES, build
from layers import method, one_shot

from sparse_continual import prune, registry
from sparse_continual.models.load import matrix_of, prunable
from sparse_continual.topologies.counts import kept_total

OPTIONS = {"shuffled": {"of": "sparsegpt"}, "wandapp": {"samples": 4, "rounds": 1}}


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_pruned(family):
    model = build(family)
    found = {name: tuple(matrix_of(module).shape) for name, module in prunable(model).items()}
    _, each, first = FAMILIES[family]
    assert len(found) == 2 * each and next(iter(found.values())) == first
    assert not any("embed" in name or "lm_head" in name or "norm" in name for name in found)


@pytest.mark.parametrize("name", [n for n in registry.names("pruning.methods") if one_shot(n)])
@pytest.mark.parametrize("family", FAMILIES)
def test_counts_patterns_and_untouched_rest(family, name, rows):
    method(OPTIONS.get(name, {}).get("of", name))
    for pattern, sparsity in (("unstructured", 0.6), ("2:4", None)):
        model = build(family)
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        topology = prune(model, name, pattern, sparsity, rows[:6], **OPTIONS.get(name, {}))
        topology.check(model)
        linears = prunable(model)
        sizes = {n: tuple(matrix_of(m).shape) for n, m in linears.items()}
        assert sum(int(m.sum()) for m in topology.masks.values()) == kept_total(sizes, pattern, sparsity)
        if pattern == "2:4":
            assert all(
                (matrix_of(linears[n], m).reshape(-1, 4).sum(1) == 2).all() for n, m in topology.masks.items()
            )
        for n, parameter in model.named_parameters():
            assert torch.equal(parameter, before[n]) == (n not in linears)
        assert torch.isfinite(model(rows[:2]).logits).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_are_measured_on_what_the_pruned_ones_before_put_out(family, rows):
    """Wanda by hand on the whole model: the second block's inputs once the first is pruned."""
    model, byhand = build(family), build(family)
    topology = prune(model, "wanda", "2:4", None, rows[:6])
    linears = prunable(byhand)
    sums = {}

    def record(name):
        def hook(module, args):
            sums[name] = sums.get(name, 0) + args[0].flatten(0, -2).double().square().sum(0)

        return hook

    for block in range(2):
        names = [n for n in linears if f".{block}." in n]
        handles = [linears[n].register_forward_pre_hook(record(n)) for n in names]
        with torch.no_grad():
            for row in rows[:6]:
                byhand(row[None])
        for handle in handles:
            handle.remove()
        for n in names:
            weight = matrix_of(linears[n]).data
            groups = (weight.abs() * sums[n].sqrt().float()).reshape(-1, 4)
            mask = (
                torch.zeros_like(groups, dtype=torch.bool)
                .scatter_(1, groups.topk(2).indices, True)
                .view_as(weight)
            )
            assert torch.equal(matrix_of(linears[n], topology.masks[n]), mask), n
            linears[n].weight.data.mul_(topology.masks[n])


def test_conv1d_is_the_linear_of_its_transposed_weight(rows):
    """GPT-2's mask is that of the same matrix as an nn.Linear."""
    model = build("GPT2")
    name, module = next(iter(prunable(model).items()))
    weight = module.weight.detach().T.clone()
    mask = prune(model, "magnitude", "1:4").masks[name]
    assert mask.shape == module.weight.shape == (32, 96)
    kept = weight.abs().reshape(-1, 4).argmax(1)
    assert torch.equal(mask.T.reshape(-1, 4).int().argmax(1), kept)

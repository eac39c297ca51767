"""Random and shuffled topologies: exact, independent of each other, and of nothing but their counts."""

import pytest
import torch

from sparse_continual import prune
from sparse_continual.errors import UserError
from sparse_continual.models.load import prunable


def test_random_masks_depend_on_seed_and_name_alone(llama):
    first, again, other = (prune(llama(), "random", sparsity=0.5, seed=seed) for seed in (0, 0, 1))
    assert first.sha256 == again.sha256 != other.sha256
    deep = prune(llama(num_hidden_layers=3), "random", sparsity=0.5, seed=0)
    assert all(torch.equal(deep.masks[name], mask) for name, mask in first.masks.items())
    masks = [m for n, m in first.masks.items() if n.endswith("gate_proj.weight")]
    assert (masks[0] == masks[1]).float().mean() == pytest.approx(0.5, abs=0.06)


def test_random_places_are_equally_likely(llama):
    """60 draws of 2:4: each place of a group is kept in half of them (five standard deviations)."""
    name, kept = "model.layers.0.self_attn.q_proj.weight", 0
    for seed in range(60):  # a model of its own for each: what one draw removes stays absent
        model = llama(num_hidden_layers=1)
        kept = kept + prune(model, "random", "2:4", seed=seed).masks[name].view(-1, 4).float()
    assert (kept.mean(0) / 60 - 0.5).abs().max() < 5 * 0.5 / (60 * 256) ** 0.5
    assert prune(llama(), "random", "2:4", seed=0).pattern == "2:4"


def dense_of(llama):
    return {name: module.weight.clone() for name, module in prunable(llama()).items()}


@pytest.mark.parametrize("of", ["wanda", "sparsegpt", "magnitude", "obc"])
@pytest.mark.parametrize("within", ["matrix", "row"])
def test_shuffled_keeps_counts_and_dense_values(llama, rows, of, within):
    """Of SparseGPT too: its masks come from blocks that read what SparseGPT left, its updates are dropped."""
    dense, model = dense_of(llama), llama()
    plain = prune(llama(), of, sparsity=0.6, calibration=rows)
    topology = prune(model, "shuffled", sparsity=0.6, calibration=rows, of=of, within=within)
    for name, mask in topology.masks.items():
        assert int(mask.sum()) == int(plain.masks[name].sum())
        assert (mask.sum(1).tolist() == plain.masks[name].sum(1).tolist()) == (within == "row")
        assert (mask == plain.masks[name]).float().mean() < 0.75
        assert torch.equal(model.get_parameter(name).detach(), torch.where(mask, dense[name], 0))
    assert topology.record["calibration"] == plain.record["calibration"]


def test_shuffled_takes_the_options_of_a_method_that_prunes_whole_blocks(llama, rows):
    """Rows lose as many weights as by obc with `one_pass` alone, which differs from obc without it."""
    dense, options = dense_of(llama), {"one_pass": True}
    plain = prune(llama(), "obc", sparsity=0.5, calibration=rows, **options)
    model = llama()
    topology = prune(model, "shuffled", sparsity=0.5, calibration=rows, of="obc", options=options)
    other = prune(llama(), "obc", sparsity=0.5, calibration=rows)
    for name, mask in topology.masks.items():
        assert mask.sum(1).tolist() == plain.masks[name].sum(1).tolist()
        assert torch.equal(model.get_parameter(name).detach(), torch.where(mask, dense[name], 0))
    last = "model.layers.1.mlp.down_proj.weight"
    assert topology.masks[last].sum(1).tolist() != other.masks[last].sum(1).tolist()


def test_shuffled_groups_and_allocations(llama, rows):
    topology = prune(llama(), "shuffled", "2:4", of="magnitude")
    assert all((mask.view(-1, 4).sum(1) == 2).all() for mask in topology.masks.values())
    options = {"sparsity": 0.6, "allocation": "global"}
    plain, shuffled = (
        prune(llama(), "magnitude", **options),
        prune(llama(), "shuffled", of="magnitude", **options),
    )
    assert plain.record["kept"] == shuffled.record["kept"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "method shuffled: missing key 'of'"),
        ({"of": "wand"}, "no variant 'wand'.*did you mean 'wanda"),
        ({"of": "random"}, "found of 'random', expected a method that works on single matrices"),
        ({"of": "wanda", "allocation": "global"}, "method wanda: found allocation 'global'"),
        ({"of": "wanda"}, "method shuffled: found no calibration"),
        ({"of": "magnitude", "within": "group"}, "found within 'group' under pattern unstructured"),
        ({"of": "magnitude", "options": {"x": 1}}, "options of magnitude: unknown key 'x'"),
    ],
)
def test_mistakes(llama, options, words):
    with pytest.raises(UserError, match=words):
        prune(llama(), "shuffled", sparsity=0.5, **options)

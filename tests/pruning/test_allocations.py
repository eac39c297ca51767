"""Shares of the matrices: exact totals, closed forms, brute force, and what the whole models keep."""

import random
from fractions import Fraction

import pytest
import torch

from sparse_continual import prune, registry
from sparse_continual.errors import UserError
from sparse_continual.models.load import prunable
from sparse_continual.topologies.counts import kept_total, matrices


def allocation(name):
    return registry.load("pruning.allocations", name)


def some_sizes(draw):
    return {f"m{i}": (draw.randint(1, 60), draw.randint(1, 60)) for i in range(draw.randint(1, 9))}


def test_totals_are_exact_and_no_matrix_holds_more_than_it_can():
    draw = random.Random(1)
    for _ in range(200):
        sizes = some_sizes(draw)
        total = draw.randint(1, sum(r * c for r, c in sizes.values()))
        generator = torch.Generator().manual_seed(draw.randint(0, 999))
        scores = {n: torch.randint(0, 4, size, generator=generator).float() for n, size in sizes.items()}
        blocks = [([name], values.flatten()) for name, values in scores.items()]
        for name, evidence in [("uniform", ()), ("erk", ()), ("owl", (blocks,)), ("global", (scores.get,))]:
            counts = allocation(name).kept(sizes, total, *evidence)
            assert list(counts) == list(sizes) and sum(counts.values()) == total, name
            assert all(0 <= counts[n] <= r * c for n, (r, c) in sizes.items()), name


def test_erk_is_proportional_to_the_sides_and_dense_where_that_is_too_much():
    sizes = {"big": (100, 100), "wide": (10, 200), "small": (4, 4)}
    counts = allocation("erk").kept(sizes, 3016)
    assert counts["small"] == 16  # eps * 8 would be more than its 16 weights
    eps = Fraction(3000, 200 + 210)
    assert (counts["big"], counts["wide"]) == (round(eps * 200), round(eps * 210))


def test_erk_of_equal_shapes_is_uniform():
    sizes = {f"m{i}": (8, 12) for i in range(5)}
    assert allocation("erk").kept(sizes, 123) == allocation("uniform").kept(sizes, 123)


def test_global_is_one_stable_sort_of_all_scores():
    draw = random.Random(2)
    for seed in range(30):
        sizes, generator = some_sizes(draw), torch.Generator().manual_seed(seed)
        scores = {name: torch.randn(size, generator=generator).abs() for name, size in sizes.items()}
        if seed % 2:
            scores = {name: (4 * values).round() for name, values in scores.items()}  # many ties
        flat = torch.cat([values.flatten() for values in scores.values()])
        total = draw.randint(1, len(flat))
        mask = torch.ones(len(flat), dtype=torch.bool)
        mask[flat.sort(stable=True).indices[: len(flat) - total]] = False
        parts = mask.split([r * c for r, c in sizes.values()])
        counts = allocation("global").kept(sizes, total, scores.get)
        assert list(counts.values()) == [int(part.sum()) for part in parts]


def test_owl_by_hand():
    """Three blocks of one matrix each: D = 0, 10 and 5 per cent outliers, lam 0.1: deviations -0.1, 0.1, 0."""
    sizes = {name: (10, 10) for name in "abc"}
    values = {name: torch.ones(100) for name in "abc"}
    values["b"][:10], values["c"][:5] = 100, 100
    owl = allocation("owl")
    blocks = [([name], vector) for name, vector in values.items()]
    assert owl.kept(sizes, 150, blocks, m=5, lam=0.1) == {"a": 40, "b": 60, "c": 50}
    even = [([name], torch.ones(100)) for name in "abc"]
    assert owl.kept(sizes, 150, even) == allocation("uniform").kept(sizes, 150)
    tight = owl.kept(sizes, 6, blocks, m=5, lam=0.4)  # held at a hundredth, the others make up for it
    assert tight["a"] == 1 and sum(tight.values()) == 6


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("magnitude", "erk"),
        ("magnitude", "owl"),
        ("magnitude", "global"),
        ("wanda", "erk"),
        ("wanda", {"name": "owl", "m": 2, "lam": 0.2}),
        ("sparsegpt", "owl"),
    ],
)
def test_whole_models(llama, shape, rows, name, chosen):
    model = llama()
    topology = prune(model, name, "unstructured", 0.6, rows, allocation=chosen)
    topology.check(model)
    found = sum(int(mask.sum()) for mask in topology.masks.values())
    assert found == kept_total(matrices(shape), "unstructured", 0.6)
    assert topology.record["allocation"] == chosen
    blocks = {n: m.float().mean().item() for n, m in topology.masks.items()}
    assert len({round(d, 2) for d in blocks.values()}) > 1 or chosen == "owl"


def test_global_magnitude_sees_scales_and_uniform_does_not(llama):
    masks = {}
    for chosen in ("uniform", "global"):
        for scale in (1, 4):
            model = llama()
            model.model.layers[0].mlp.up_proj.weight.data.mul_(scale)
            masks[chosen, scale] = prune(model, "magnitude", sparsity=0.5, allocation=chosen).masks
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(masks["uniform", 1][name], masks["uniform", 4][name])
    assert masks["global", 4][name].sum() > 1.3 * masks["global", 1][name].sum()


def test_outliers_are_counted_on_the_dense_model(llama, rows):
    """OWL's evidence must not depend on the method that prunes afterwards, nor the blocks on each other."""
    chosen = {"name": "owl", "m": 2, "lam": 0.2}
    kept = [
        prune(llama(), m, sparsity=0.6, calibration=rows, allocation=chosen).record
        for m in ("wanda", "magnitude")
    ]
    assert kept[0]["kept"] == kept[1]["kept"] and kept[0]["calibration"] == kept[1]["calibration"]


def test_an_emptied_matrix_is_refused_and_nothing_changes(llama):
    model = llama()
    name = "model.layers.1.self_attn.k_proj.weight"
    model.get_parameter(name).data.mul_(1e-6)
    before = {n: m.weight.clone() for n, m in prunable(model).items()}
    with pytest.raises(UserError, match=f"^{name}: allocation global would empty this matrix"):
        prune(model, "magnitude", sparsity=0.5, allocation="global")
    assert all(torch.equal(m.weight, before[n]) for n, m in prunable(model).items())


def test_the_default_and_uniform_are_one(llama):
    one, other = (prune(llama(), "magnitude", sparsity=0.5, **o) for o in ({}, {"allocation": "uniform"}))
    assert one.sha256 == other.sha256

"""Pruning models that are pruned already: what was absent stays absent, and everything is counted in the weights."""

import re

import numpy as np
import pytest
import torch
from layers import error, hessian, layer, least_squares, measured, method
from transformers import GPT2Config, GPT2LMHeadModel, MixtralConfig, MixtralForCausalLM

from sparse_continual import prune, registry
from sparse_continual.errors import UserError
from sparse_continual.models.experts import experts_apart
from sparse_continual.models.load import load_model, matrix_of, prunable, save_model
from sparse_continual.pruning.make import make_topology
from sparse_continual.streams.lexicon import tokenizer
from sparse_continual.topologies.counts import Count, fit

TRAINED = {"steps": 4, "batch_size": 3, "warmup": 1, "learning_rate": 1e-2}
OPTIONS = {
    "gmp": {**TRAINED, "start": 0.3, "every": 1},
    "imp": TRAINED,
    "l0": TRAINED,
    "loraprune": {**TRAINED, "every": 1, "export": "masked"},
    "llm_pruner": {"export": "masked"},
    "maskllm": TRAINED,
    "movement": TRAINED,
    "shuffled": {"of": "sparsegpt"},
    "wandapp": {"samples": 4, "rounds": 2, "learning_rate": 1e-3},
}
READY = ("dense", "counted")  # which prune nothing
PRUNERS = [name for name in registry.names("pruning.methods") if name not in READY]
STEPS = [  # (pattern, sparsity) before, and after
    (("unstructured", 0.5), ("unstructured", 0.7)),
    (("unstructured", 0.7), ("2:4", None)),
    (("2:4", None), ("unstructured", 0.75)),
    (("2:4", None), ("1:4", None)),
    (("unstructured", 0.5), ("structured", 0.5)),
]
CASES = [
    (name, first, then)
    for name in PRUNERS
    for first, then in STEPS
    if ("N:M" if ":" in then[0] else then[0]) in registry.load("pruning.methods", name).patterns
]


def zeros_of(model):
    return {name: module.weight == 0 for name, module in prunable(model).items()}


def fewer(existing, pattern):
    """How many weights N:M leaves, group by group."""
    kept, of = map(int, pattern.split(":"))
    return sum(min(kept, int(group.sum())) for mask in existing for group in mask.reshape(-1, of))


@pytest.mark.parametrize(("name", "first", "then"), CASES)
def test_absent_weights_stay_absent_and_counts_are_exact(llama, rows, name, first, then):
    method(OPTIONS.get(name, {}).get("of", name))
    model = llama()
    prune(model, "magnitude", *first)
    absent, read = zeros_of(model), []

    def look(weight_name):
        def hook(module, args):  # also what stands in for a weight while a method trains
            read.append(int((module.weight[absent[weight_name]] != 0).sum()))

        return hook

    handles = [m.register_forward_pre_hook(look(n)) for n, m in prunable(model).items()]
    topology = prune(model, name, *then, rows[:8], seed=0, **OPTIONS.get(name, {}))
    for handle in handles:
        handle.remove()
    assert not any(read)
    after = zeros_of(model)
    for weight_name, mask in topology.masks.items():
        assert not (absent[weight_name] & ~after[weight_name]).any()
        assert torch.equal(mask, ~after[weight_name])
    weights = sum(mask.numel() for mask in topology.masks.values())
    kept = sum(int(mask.sum()) for mask in topology.masks.values())
    existing = [~mask.numpy() for mask in absent.values()]
    if then[0] == "unstructured":
        assert kept == round((1 - then[1]) * weights)
    elif then[0] != "structured":
        assert kept == fewer(existing, then[0])
    else:  # half of the lines, and of their weights those that were there
        assert 0.2 * weights < kept < 0.3 * weights
    assert topology.record["absent_before"] == sum(int((~mask).sum()) for mask in existing)
    assert sum(topology.record["kept"].values()) == kept == round(topology.density * weights)


def test_methods_that_prune_nothing(llama):
    """`counted` takes the zeros as they are, and `dense` refuses them."""
    model = llama()
    prune(model, "magnitude", "unstructured", 0.5)
    counted = registry.load("pruning.methods", "counted").read(model)
    assert all(torch.equal(mask, ~zeros_of(model)[name]) for name, mask in counted.masks.items())
    with pytest.raises(UserError, match=r"method dense: .* \(0.5\) are exactly zero.*method counted"):
        prune(model, "dense", "dense")
    prune(model, "magnitude", "unstructured", 0.5)  # the share that it has: nothing goes
    assert all(torch.equal(mask, ~zeros_of(model)[name]) for name, mask in counted.masks.items())


@pytest.mark.parametrize("name", ["magnitude", "wanda", "sparsegpt", "obc", "random", "shuffled"])
def test_the_sparsity_that_a_model_has_changes_no_byte(llama, rows, name):
    model = llama()
    prune(model, "random", "unstructured", 0.5)
    before = [p.detach().clone() for p in model.parameters()]
    prune(model, method(name) and name, "unstructured", 0.5, rows[:8], **OPTIONS.get(name, {}))
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(
    "name", [name for name in PRUNERS if name != "maskllm"]
)  # N:M has no sparsity of its own
def test_a_lower_sparsity_than_the_models_is_refused(llama, rows, name):
    model = llama()
    if "unstructured" in registry.load("pruning.methods", name).patterns:
        prune(model, "magnitude", "unstructured", 0.7)
        words, then = r"^sparsity 0.5: .* \(0.7\) are exactly zero.*at least 0.7", ("unstructured", 0.5)
    else:
        prune(model, "llm_pruner", "structured", 0.5, rows[:4], export="masked")
        words, then = (
            "^sparsity 0.4: .* 1 of the 2 heads of model.layers.0 .*at least 0.5$",
            ("structured", 0.4),
        )
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(UserError, match=words):
        prune(model, name, *then, rows[:4], **OPTIONS.get(name, {}))
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))


def test_on_sparse(llama):
    """`refuse` stops at more zeros than chance gives; what is no choice, or has none, is told."""
    model = llama()
    name = "model.layers.1.mlp.gate_proj.weight"
    weights = sum(m.weight.numel() for m in prunable(model).values())
    model.get_parameter(name).data.flatten()[: weights // 1000] = 0
    prune(model, "magnitude", "unstructured", 0.5, on_sparse="refuse")
    words = r"^on_sparse refuse: .*\(0.5\) are exactly zero.*expected at most 0.001"
    with pytest.raises(UserError, match=words):
        prune(model, "magnitude", "unstructured", 0.7, on_sparse="refuse")
    assert prune(model, "magnitude", "unstructured", 0.7, on_sparse="keep").record["on_sparse"] == "keep"
    with pytest.raises(UserError, match="found on_sparse 'grow', expected keep or refuse"):
        prune(llama(), "magnitude", "2:4", on_sparse="grow")
    with pytest.raises(UserError, match="method dense: found on_sparse 'keep', expected none"):
        prune(llama(), "dense", "dense", on_sparse="keep")


@pytest.mark.parametrize(("pattern", "sparsity"), [("unstructured", 0.5), ("2:4", None)])
@pytest.mark.parametrize("name", ["magnitude", "sparsegpt", "obc", "wanda", "gmp", "shuffled"])
def test_accidental_zeros_of_a_dense_model(llama, rows, name, pattern, sparsity):
    """Three zeros in one matrix, two of them in one group, do not exist; counts are those of a dense model."""
    model = llama()
    places = torch.tensor([4, 6, 900])
    victim = "model.layers.0.self_attn.q_proj.weight"
    model.get_parameter(victim).data.flatten()[places] = 0
    topology = prune(model, method(name) and name, pattern, sparsity, rows[:8], **OPTIONS.get(name, {}))
    assert not topology.masks[victim].flatten()[places].any()
    assert topology.density == 0.5
    assert all(torch.equal(mask, ~zeros_of(model)[n]) for n, mask in topology.masks.items())


def test_a_matrix_that_is_sparser_than_its_share_leaves_the_rest_to_the_others(llama):
    model = llama()
    victim = "model.layers.0.mlp.up_proj.weight"
    own = model.get_parameter(victim).data
    own.flatten()[150:] = 0
    topology = prune(model, "magnitude", "unstructured", 0.5)
    weights = {name: mask.numel() for name, mask in topology.masks.items()}
    share = (sum(weights.values()) / 2 - 150) / (sum(weights.values()) - weights[victim])
    assert topology.record["kept"][victim] == 150
    for name, kept in topology.record["kept"].items():
        assert name == victim or abs(kept - share * weights[name]) < 1
    assert sum(topology.record["kept"].values()) == sum(weights.values()) // 2


@pytest.mark.parametrize("allocation", ["uniform", "erk", "owl", "global"])
def test_allocations_give_no_matrix_more_than_it_has(llama, rows, allocation):
    model = llama()
    prune(model, "random", "unstructured", 0.3, seed=2)
    for name in ("model.layers.0.mlp.up_proj.weight", "model.layers.1.self_attn.k_proj.weight"):
        model.get_parameter(name).data[1:] = 0
    model.get_parameter("model.layers.1.self_attn.v_proj.weight").data.zero_()  # nothing to leave empty
    absent = zeros_of(model)
    topology = prune(model, "magnitude", "unstructured", 0.6, rows[:8], allocation=allocation)
    weights = sum(mask.numel() for mask in absent.values())
    assert sum(topology.record["kept"].values()) == round(0.4 * weights)
    for name, mask in topology.masks.items():
        assert not (mask & absent[name]).any()


@pytest.mark.parametrize("counts", ["exact", "reference"])
@pytest.mark.parametrize("name", ["magnitude", "wanda", "sparsegpt"])
def test_a_matrix_that_is_absent_as_a_whole(llama, rows, name, counts):
    model = llama()
    prune(model, "magnitude", "unstructured", 0.3)
    victim = "model.layers.1.mlp.up_proj.weight"
    model.get_parameter(victim).data.fill_(-0.0)
    topology = prune(model, method(name) and name, "unstructured", 0.6, rows[:8], counts=counts)
    assert not topology.masks[victim].any() and not model.get_parameter(victim).signbit().any()
    assert topology.density == pytest.approx(0.4, abs=1e-4 if counts == "exact" else 0.05)


def test_fit():
    assert fit([10, 10, 10], [4, 100, 100]) == [4, 13, 13]
    assert fit([10, 20, 30], [5, 100, 100]) == [5, 22, 33]
    assert fit([10, 10, 0], [5, 5, 50]) == [5, 5, 10]
    assert fit([3, 2], [3, 2]) == [3, 2]
    assert fit([0, 0], [0, 4]) == [0, 0]
    generator = np.random.default_rng(0)
    for _ in range(200):
        room = generator.integers(0, 40, 6)
        shares = generator.multinomial(generator.integers(0, room.sum() + 1), [1 / 6] * 6)
        found = np.array(fit(shares.tolist(), room.tolist()))
        assert found.sum() == shares.sum() and (found <= room).all() and (found >= 0).all()


@pytest.mark.parametrize(("kept", "groups"), [(500, None), (None, (2, 4))])
@pytest.mark.parametrize("name", ["obc", "sparsegpt"])
def test_updates_know_what_is_absent(name, kept, groups):
    """Of the final mask OBC's weights are the least-squares ones, absent places included. SparseGPT's are never worse
    than leaving the weights as they were."""
    chosen = method(name)
    weight, inputs = layer(4)
    existing = torch.rand(weight.shape, generator=torch.Generator().manual_seed(3)) < 0.4
    weight = weight * existing
    if groups:
        kept = int(existing.view(-1, groups[1]).sum(1).clamp(max=groups[0]).sum())
    count = Count(kept, groups, existing=existing)
    mask, new = chosen.prune_matrix(weight, measured(chosen.statistics, inputs), count)
    new = new.masked_fill(~mask, 0)
    assert int(mask.sum()) == kept and not (mask & ~existing).any()
    matrix = hessian(inputs)
    if name == "obc":
        torch.testing.assert_close(new, least_squares(weight, mask, matrix), rtol=1e-6, atol=1e-8)
    assert error(new, weight, matrix).sum() < error(weight * mask, weight, matrix).sum()


@pytest.mark.parametrize("within", ["row", "matrix"])
def test_shuffled_keeps_counts_and_permutes_existing_places_alone(llama, rows, within):
    model, other = llama(), llama()
    for one in (model, other):
        prune(one, "magnitude", "unstructured", 0.5)
    absent, before = zeros_of(model), {n: m.weight.clone() for n, m in prunable(model).items()}
    found = prune(other, "wanda", "unstructured", 0.7, rows[:8])
    topology = prune(model, "shuffled", "unstructured", 0.7, rows[:8], of="wanda", within=within)
    moved = 0
    for name, mask in topology.masks.items():
        if within == "row":
            assert torch.equal(mask.sum(1), found.masks[name].sum(1))
        assert mask.sum() == found.masks[name].sum() and not (mask & absent[name]).any()
        assert torch.equal(model.get_parameter(name)[mask], before[name][mask])
        moved += int((mask != found.masks[name]).sum())
    assert moved > 1000


def test_a_shuffle_is_uniform_over_existing_places():
    chosen = method("shuffled")
    existing = torch.tensor([[True, True, False, True, False, True]])
    mask = torch.tensor([[True, True, False, False, False, False]])
    total = torch.zeros(6)
    for seed in range(600):
        total += chosen.prune_matrix(None, (mask, seed), Count(2, existing=existing))[0][0]
    assert total[[2, 4]].sum() == 0
    assert (total[[0, 1, 3, 5]] - 300).abs().max() < 60  # 5 standard deviations


@pytest.mark.parametrize("name", ["magnitude", "wanda"])
def test_reference_counts_leave_what_the_authors_code_leaves(llama, rows, name):
    """Their thresholds on |W| a, by hand, for the first block, whose inputs pruning has not changed."""
    model = llama()
    prune(model, "random", "unstructured", 0.5)
    weight = model.get_parameter("model.layers.0.self_attn.q_proj.weight").detach().clone()
    norms, inputs = torch.ones(weight.shape[1]), []
    if name == "wanda":
        linear = model.model.layers[0].self_attn.q_proj
        handle = linear.register_forward_pre_hook(lambda module, args: inputs.append(args[0][0]))
        with torch.no_grad():
            for row in rows[:8]:
                model(row[None])
        handle.remove()
        norms = torch.cat(inputs).double().square().sum(0).sqrt().float()
    topology = prune(model, method(name) and name, "unstructured", 0.7, rows[:8], counts="reference")
    scores = weight.abs() * norms
    if name == "magnitude":
        kept = scores > scores.flatten().sort().values[int(scores.numel() * 0.7)]
    else:
        order = scores.sort(dim=1, stable=True).indices[:, : int(scores.shape[1] * 0.7)]
        kept = torch.ones_like(scores, dtype=torch.bool).scatter(1, order, False)
    assert torch.equal(topology.masks["model.layers.0.self_attn.q_proj.weight"], kept & (weight != 0))


@pytest.mark.parametrize("name", ["llm_pruner", "loraprune"])
def test_absent_heads_and_channels_go_first_and_count(llama, rows, name):
    """From a quarter of the channels and half of the heads to half of both: the absent ones are among them."""
    model = llama(num_attention_heads=8, num_key_value_heads=4)
    prune(
        model,
        method("llm_pruner") and "llm_pruner",
        "structured",
        0.25,
        rows[:4],
        export="masked",
        importance="l1",
    )
    absent = zeros_of(model)
    topology = prune(model, name, "structured", 0.5, rows[:4], **OPTIONS[name])
    for weight_name, mask in topology.masks.items():
        assert not (mask & absent[weight_name]).any() and mask.float().mean() == 0.5
        assert torch.equal(mask, model.get_parameter(weight_name) != 0)


@pytest.mark.parametrize("name", ["llm_pruner", "loraprune"])
def test_a_compact_model_keeps_its_further_zeros_absent(llama, rows, name):
    """Dead lines that belong to no head and no channel of their own do not change its shape."""
    models = llama(), llama()
    made = []
    for model, export in zip(models, ("masked", "compact"), strict=True):
        prune(model, "magnitude", "unstructured", 0.5)
        with torch.no_grad():
            model.model.layers[0].mlp.gate_proj.weight[:, 3] = 0  # an input
            model.model.layers[1].mlp.up_proj.weight[5] = 0  # of a channel that has its other weights
        made.append(
            prune(
                model,
                method(name) and name,
                "structured",
                0.5,
                rows[:4],
                **OPTIONS[name] | {"export": export},
            )
        )
    masked, compact = made
    for weight_name, mask in compact.masks.items():
        weight = models[1].get_parameter(weight_name)
        assert mask.shape == weight.shape and torch.equal(mask, weight != 0)
        assert mask.sum() == masked.masks[weight_name].sum() < mask.numel()
    assert compact.record["kept"] == masked.record["kept"]
    with torch.no_grad():
        logits = [model(rows[:2]).logits for model in models]
    torch.testing.assert_close(*logits)


def gpt2():
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=64, n_positions=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2
        )
    ).eval()


def mixtral():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    return MixtralForCausalLM(
        MixtralConfig(
            vocab_size=64, num_key_value_heads=2, num_local_experts=4, max_position_embeddings=64, **sizes
        )
    ).eval()


@pytest.mark.parametrize(("pattern", "sparsity"), [("unstructured", 0.7), ("2:4", None)])
@pytest.mark.parametrize("name", ["sparsegpt", "gmp", "maskllm", "l0", "shuffled"])
@pytest.mark.parametrize("build", [gpt2, mixtral])
def test_transposed_matrices_and_experts(rows, build, name, pattern, sparsity):
    if ("N:M" if sparsity is None else pattern) not in method(name).patterns:
        pytest.skip("not defined")
    model = build()
    prune(model, "magnitude", "unstructured", 0.6)
    absent = zeros_of(model)
    with experts_apart(model):
        existing = [(matrix_of(m) != 0).numpy() for m in prunable(model).values()]
    topology = prune(model, name, pattern, sparsity, rows, **OPTIONS.get(name, {}))
    kept = sum(int(mask.sum()) for mask in topology.masks.values())
    weights = sum(mask.numel() for mask in topology.masks.values())
    assert kept == (fewer(existing, pattern) if sparsity is None else round(0.3 * weights))
    for weight_name, mask in topology.masks.items():
        assert not (mask & absent[weight_name]).any()
        assert torch.equal(mask, model.get_parameter(weight_name) != 0)


def test_a_studys_topology_of_a_sparse_base(llama, rows, tmp_path):
    """make_topology: counts and pattern in its table are those of the weights; what is refused is so before text."""
    model = llama(vocab_size=len(tokenizer()))
    prune(model, "magnitude", "unstructured", 0.7)
    save_model(model, tokenizer(), tmp_path / "base")

    def made(**topology):
        return make_topology(
            {"topology": topology, "recovery": None}, tmp_path / "base", [], tmp_path / "made", 5
        )

    facts, densities = made(method="magnitude", pattern="2:4")
    pruned = load_model(facts["folder"])
    assert {row["pattern"] for row in densities} == {"2:4"}
    for row in densities:
        weight = pruned.get_parameter(row["matrix"])
        assert row["nonzeros"] == int((weight != 0).sum()) < weight.numel() / 2
    assert "on_sparse" not in facts["record"]
    for refused, words in (
        ({"pattern": "2:4", "on_sparse": "refuse"}, "on_sparse refuse: "),
        ({"pattern": "unstructured", "sparsity": 0.5}, "sparsity 0.5: "),
    ):
        with pytest.raises(UserError, match=re.escape(words)):  # without a text to read, had it come so far
            made(method="wanda", calibration={"sequences": 10**9, "tokens": 8}, **refused)

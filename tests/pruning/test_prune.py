"""Pruning whole models: exact counts, nothing else touched, the same bytes every time."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from layers import method as need
from layers import one_shot
from torch.utils.data import DataLoader
from transformers import BatchEncoding

from sparse_continual import Topology, prune, registry
from sparse_continual.errors import UserError
from sparse_continual.models.load import prunable
from sparse_continual.pruning.allocations import uniform
from sparse_continual.streams.calibration import digest
from sparse_continual.topologies.counts import kept_total, matrices

OPTIONS = {"shuffled": {"of": "wanda"}, "wandapp": {"samples": 4, "rounds": 2}}
METHODS = [name for name in registry.names("pruning.methods") if one_shot(name)]


def pruned(model, method, *settings, **options):
    return prune(model, method, *settings, **OPTIONS.get(method, {}), **options)


def raw(tensor):
    return tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("pattern", "sparsity"), [("unstructured", 0.5), ("unstructured", 0.83), ("2:4", None), ("1:8", None)]
)
def test_exact_counts_zeros_and_untouched_ends(llama, shape, rows, method, pattern, sparsity):
    model = llama()
    before = {name: raw(p) for name, p in model.named_parameters()}
    topology = pruned(model, method, pattern, sparsity, rows, seed=0)
    counts = {name: int(mask.sum()) for name, mask in topology.masks.items()}
    sizes = matrices(shape)
    assert counts == uniform.kept(sizes, kept_total(sizes, pattern, sparsity))
    topology.check(model)
    linears = prunable(model)
    for name, mask in topology.masks.items():
        absent = linears[name].weight[~mask]
        assert raw(absent) == bytes(4 * len(absent))  # +0.0 in every bit
        if pattern != "unstructured":
            kept, of = map(int, pattern.split(":"))
            assert (mask.view(-1, of).sum(1) == kept).all()
    for name, parameter in model.named_parameters():
        assert (raw(parameter) == before[name]) == (name not in linears)


@pytest.mark.parametrize("method", METHODS)
def test_same_inputs_same_bytes(llama, rows, method):
    models = [llama(), llama()]
    first, second = (pruned(model, method, "unstructured", 0.5, rows, seed=0) for model in models)
    assert first.sha256 == second.sha256
    assert all(raw(a) == raw(b) for a, b in zip(*(m.parameters() for m in models), strict=True))
    assert first.record == second.record


@pytest.mark.parametrize("method", METHODS)
def test_no_sparsity_changes_no_byte(llama, rows, method):
    model = llama()
    before = [raw(p) for p in model.parameters()]
    pruned(model, method, "unstructured", 0, rows, seed=0)
    assert [raw(p) for p in model.parameters()] == before


def test_blocks_are_measured_on_what_the_pruned_ones_before_put_out(llama, rows):
    """Wanda by hand: each block's inputs from the model whose earlier blocks are pruned already."""
    model, byhand = llama(), llama()
    topology = prune(model, "wanda", "2:4", None, rows, seed=0)
    linears = prunable(byhand)
    for block in range(2):
        names = [name for name in linears if f"layers.{block}." in name]
        sums = dict.fromkeys(names, 0)

        def record(name, sums):
            def hook(module, args):
                sums[name] = sums[name] + args[0][0].square().sum(0)

            return hook

        handles = [linears[name].register_forward_pre_hook(record(name, sums)) for name in names]
        with torch.no_grad():
            for row in rows:
                byhand(row[None])
        for handle in handles:
            handle.remove()
        for name in names:
            weight = linears[name].weight.data
            groups = (weight.abs() * sums[name].sqrt()).view(-1, 4)
            gone = groups.topk(2, largest=False).indices
            mask = torch.ones_like(groups, dtype=torch.bool).scatter_(1, gone, False).view_as(weight)
            weight[~mask] = 0
            assert torch.equal(mask, topology.masks[name])


def test_rows_of_unequal_length_and_untied_biased_models(llama, rows):
    need("sparsegpt")
    model = llama(tie_word_embeddings=False, attention_bias=True, mlp_bias=True).train()
    ragged = [row[: 5 + i % 9] for i, row in enumerate(rows)]
    head = raw(model.lm_head.weight)
    topology = prune(model, "sparsegpt", "unstructured", 0.5, ragged, seed=0, block=16)
    topology.check(model)
    assert raw(model.lm_head.weight) == head and model.training
    assert topology.record["options"] == {"block": 16, "damping": 0.01}


def test_half_precision_models_keep_their_type(llama, rows):
    need("sparsegpt")
    model = llama().to(torch.bfloat16)
    topology = prune(model, "sparsegpt", "2:4", None, rows, seed=0)
    topology.check(model)
    assert all(mask.float().mean() == 0.5 for mask in topology.masks.values())
    assert model.dtype == torch.bfloat16


def test_a_model_of_another_family(rows):
    from transformers import OPTConfig, OPTForCausalLM

    config = OPTConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=2,
        ffn_dim=48,
        num_attention_heads=4,
        max_position_embeddings=64,
        word_embed_proj_dim=32,
    )
    model = OPTForCausalLM(config).eval()
    topology = prune(model, "wanda", "2:4", None, rows, seed=0)
    topology.check(model)
    assert len(topology.masks) == 12


@pytest.mark.parametrize(
    ("method", "pattern", "sparsity", "calibrated", "words"),
    [
        ("magnitude", "4:7", None, False, "model.layers.0.self_attn.q_proj.weight: .*7 divides, found 32"),
        ("magnitude", "dense", None, False, "method magnitude: found pattern 'dense'"),
        ("wanda", "2:4", None, False, "method wanda: found no calibration"),
        ("wandb", "2:4", None, False, "did you mean 'wanda"),
        ("magnitude", "unstructured", 1.0, False, "sparsity 1.0"),
    ],
)
def test_mistakes_change_nothing(llama, rows, method, pattern, sparsity, calibrated, words):
    model = llama()
    before = [raw(p) for p in model.parameters()]
    with pytest.raises(UserError, match=words):
        prune(model, method, pattern, sparsity, rows if calibrated else None, seed=0)
    assert [raw(p) for p in model.parameters()] == before


@pytest.mark.parametrize("method", METHODS)
def test_broken_weights_are_named(llama, rows, method):
    model = llama()
    name = "model.layers.1.mlp.gate_proj.weight"
    model.get_parameter(name).data[3, 4] = float("nan")
    with pytest.raises(UserError, match=f"^{name}: "):
        pruned(model, method, "2:4", None, rows, seed=0)


def test_dense_keeps_everything(llama):
    model = llama()
    before = [raw(p) for p in model.parameters()]
    assert prune(model, "dense", "dense").density == 1
    assert [raw(p) for p in model.parameters()] == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"counts": "rounded"}, "method magnitude: found counts 'rounded', expected exact or reference"),
        ({"damping": 0.1}, "method magnitude: unknown key 'damping'"),
        ({"sparsity": -0.1}, "sparsity -0.1"),
        ({"sparsity": float("nan")}, "sparsity nan"),
    ],
)
def test_options_are_checked(llama, options, words):
    settings = {"method": "magnitude", "sparsity": 0.5} | options
    with pytest.raises(UserError, match=words):
        prune(llama(), **settings)


def encoding(rows, mask):
    return BatchEncoding({"input_ids": rows, "attention_mask": mask})


def hole(rows):
    mask = torch.ones_like(rows)
    mask[5, 7] = 0
    return mask


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows[:0], "no calibration sequences"),
        (lambda rows: rows[:, :1], "sequence 0: too short: found 1 tokens, expected at least 2"),
        (lambda rows: rows.repeat(1, 4), "sequence 0: found 80 tokens, the model reads at most 64"),
        (lambda rows: rows + 60, "sequence 0: found token id 1.., but the model's vocabulary has 64"),
        (lambda rows: rows - 60, "sequence 0: found token id -5., but the model's vocabulary has 64"),
        (lambda rows: rows.float(), "sequence 0: found torch.float32 of shape .20., expected token ids"),
        (lambda rows: ["text"], "sequence 0: found str, expected token ids"),
        (lambda rows: "text", "calibration: found str, expected token ids.*; have a tokenizer make them"),
        (
            lambda rows: ["a text"],
            "calibration sequence 0: found str, expected .*; have a tokenizer make them",
        ),
        (lambda rows: rows > 9, "sequence 0: found torch.bool of shape .20., expected token ids"),
        (
            lambda rows: rows.to(torch.uint8),
            "sequence 0: found torch.uint8 of shape .20., expected token ids",
        ),
        (lambda rows: rows[0], r"sequence 0: found torch.int64 of shape \[\], expected token ids"),
        (lambda rows: rows[0, 0], r"calibration: found torch.int64 of shape \[\], expected token ids"),
        (
            lambda rows: rows.tolist(),
            "sequence 0: found list, expected .*; give those of each sequence as a 1-D",
        ),
        (
            lambda rows: 128,
            "calibration: found int, expected .*; make it a list of tensors .torch.as_tensor of each seq",
        ),
        (lambda rows: (row for row in rows), "calibration: found generator, expected .*; make it a list"),
        (lambda rows: rows.numpy(), "calibration: found ndarray, expected .*; make it a list"),
        (lambda rows: DataLoader(rows), "calibration: found DataLoader, expected .*; make it a list"),
        (lambda rows: {}, "no calibration sequences"),
        (
            lambda rows: {"ids": rows},
            "found input_ids NoneType, expected .input_ids, attention_mask. as a token",
        ),
        (lambda rows: BatchEncoding({"input_ids": "text"}), "found input_ids str, expected"),
        (
            lambda rows: {"input_ids": rows[None]},
            r"found input_ids torch.int64 of shape .1, 24, 20., expected",
        ),
        (
            lambda rows: {"input_ids": rows.float()},
            "sequence 0: found torch.float32 of shape .20., expected tok",
        ),
        (lambda rows: encoding(rows, rows[:3] > 0), "input_ids and attention_mask have different shapes"),
        (lambda rows: encoding(rows, rows[:, :3] > 0), "input_ids and attention_mask have different shapes"),
        (lambda rows: encoding(rows, rows * 0), "sequence 0: too short: found 0 tokens"),
        (lambda rows: encoding(rows, rows), "sequence 0: attention_mask: found other values than 0 and 1"),
        (lambda rows: encoding(rows, hole(rows)), "sequence 5: attention_mask: found 0 between ones"),
    ],
)
def test_calibration_is_checked(llama, rows, change, words):
    model = llama()
    before = [raw(p) for p in model.parameters()]
    with pytest.raises(UserError, match=words):
        prune(model, "wanda", "2:4", calibration=change(rows))
    assert [raw(p) for p in model.parameters()] == before


def test_broken_activations_are_named(llama, rows):
    model = llama()
    model.model.layers[1].input_layernorm.weight.data[3] = float("inf")
    with pytest.raises(UserError, match="^model.layers.1.self_attn.q_proj.weight: "):
        prune(model, "wanda", "2:4", calibration=rows)


def test_the_public_names_are_light_and_whole(llama, rows, tmp_path):
    code = (
        "import sys, sparse_continual\n"
        "assert 'torch' not in sys.modules\n"
        "from sparse_continual import prune, Topology, audit, metrics\n"
        "assert callable(prune) and callable(Topology.load) and callable(audit) and callable(metrics.forgetting)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    topology = prune(llama(), method="wanda", pattern="unstructured", sparsity=0.75, calibration=rows, seed=0)
    assert topology.density == pytest.approx(0.25, abs=1e-4) and topology.cost["seconds"] > 0
    topology.save(tmp_path / "topology.safetensors")
    again = Topology.load(tmp_path / "topology.safetensors")
    assert (again.density, again.sha256) == (topology.density, topology.sha256)
    assert again.record == {"calibration": digest(rows)}


MODELS = {
    "str": (lambda llama: "checkpoint", "found str, expected a causal language model of transformers"),
    "NoneType": (lambda llama: None, "found NoneType, expected a causal language model"),
    "layers": (
        lambda llama: torch.nn.Sequential(torch.nn.Linear(4, 4)),
        "found Sequential, expected a causal",
    ),
    "headless": (lambda llama: llama().model, "found LlamaModel, expected .* with its head"),
    "meta": (
        lambda llama: llama().to("meta"),
        r"found LlamaForCausalLM whose model.embed_tokens.weight has no values \(device meta\)",
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_what_is_no_model_with_its_weights(llama, kind):
    make, words = MODELS[kind]
    with pytest.raises(UserError, match=f"^model: {words}.*; load one with .*load_model"):
        prune(make(llama), "magnitude", "2:4")


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "structured"])
@pytest.mark.parametrize("sparsity", ["0.5", "50%", [0.5], {"mlp": 0.5}, True, torch.tensor(0.5), 0.5j])
def test_a_sparsity_is_a_number(llama, rows, pattern, sparsity):
    method = "llm_pruner" if pattern == "structured" else "magnitude"
    need(method)
    with pytest.raises(UserError, match="^sparsity .*: expected a number, 0 <= sparsity < 1"):
        prune(llama(), method, pattern, sparsity, rows)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
def test_a_sparsity_of_numpy_is_the_decimal_that_was_written(llama, kind):
    """0.7 in single precision is 0.699999988."""
    topology = prune(llama(), "magnitude", "unstructured", kind(0.7))
    assert topology.record == prune(llama(), "magnitude", "unstructured", 0.7).record
    assert type(topology.record["sparsity"]) is float


@pytest.mark.parametrize("seed", [torch.tensor(1), torch.Generator(), "0", 1.5, None, True])
def test_a_seed_is_an_integer(llama, seed):
    with pytest.raises(UserError, match="^seed .*: expected an integer"):
        prune(llama(), "random", "2:4", seed=seed)


def test_a_seed_of_numpy(llama):
    one, other = (prune(llama(), "random", "2:4", seed=seed) for seed in (np.int64(3), 3))
    assert one.sha256 == other.sha256 and type(one.record["seed"]) is int

"""Every architecture family at tiny size: what is pruned, to which counts, and what is left alone."""

import pytest
import torch
from layers import method, one_shot

from sparse_continual import registry
from sparse_continual.models.load import matrix_of, prunable
from sparse_continual.topologies import prune
from sparse_continual.topologies.counts import kept_total

COMMON = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA = {**COMMON, "intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 64}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
FAMILIES = {  # settings, matrices per block, and the shape of the first, outputs by inputs
    "Llama": (LLAMA, 7, (32, 32)),
    "Mistral": ({**LLAMA, "sliding_window": 8}, 7, (32, 32)),
    "Qwen2": (
        {**LLAMA, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
        7,
        (32, 32),
    ),
    "Qwen3": ({**LLAMA, "head_dim": 12}, 7, (48, 32)),
    "Phi": (LLAMA, 6, (32, 32)),
    "Phi3": ({**LLAMA, **SPECIAL}, 4, (32, 32)),
    "OPT": ({**COMMON, "ffn_dim": 48, "max_position_embeddings": 64, "word_embed_proj_dim": 32}, 6, (32, 32)),
    "GPTNeoX": ({**COMMON, "intermediate_size": 48, "max_position_embeddings": 64}, 4, (96, 32)),
    "GPT2": (
        {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, **SPECIAL},
        4,
        (96, 32),
    ),
    "Mpt": (
        {
            "vocab_size": 64,
            "d_model": 32,
            "n_layers": 2,
            "n_heads": 4,
            "max_seq_len": 64,
            "expansion_ratio": 2,
        },
        4,
        (96, 32),
    ),
}
OPTIONS = {"shuffled": {"of": "sparsegpt"}, "wandapp": {"samples": 4, "rounds": 1}}


def build(family):
    import transformers

    kind = {"GPT2": "GPT2LMHead"}.get(family, f"{family}For")
    model = getattr(transformers, f"{kind}CausalLM" if kind.endswith("For") else f"{kind}Model")
    torch.manual_seed(0)
    made = model(getattr(transformers, f"{family}Config")(**FAMILIES[family][0])).eval()
    for module in prunable(made).values():
        torch.nn.init.normal_(module.weight, std=0.2)
        if module.bias is not None:
            torch.nn.init.normal_(module.bias, std=0.2)
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_pruned(family):
    model = build(family)
    found = {name: tuple(matrix_of(module).shape) for name, module in prunable(model).items()}
    _, each, first = FAMILIES[family]
    assert len(found) == 2 * each and next(iter(found.values())) == first
    assert not any("embed" in name or "lm_head" in name or "norm" in name for name in found)


@pytest.mark.parametrize("name", [n for n in registry.names("topologies.methods") if one_shot(n)])
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
    method("wanda")
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
    method("magnitude")
    model = build("GPT2")
    name, module = next(iter(prunable(model).items()))
    weight = module.weight.detach().T.clone()
    mask = prune(model, "magnitude", "1:4").masks[name]
    assert mask.shape == module.weight.shape == (32, 96)
    kept = weight.abs().reshape(-1, 4).argmax(1)
    assert torch.equal(mask.T.reshape(-1, 4).int().argmax(1), kept)

"""Compact models of many families: they compute what the masked ones do and are reloaded, or nothing was changed."""

import pytest
import torch

from sparse_continual import prune
from sparse_continual.errors import UserError
from sparse_continual.models.load import load_model, prunable, save_model
from sparse_continual.topologies import compact

BASE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WIDE = {"head_dim": 8}  # more than hidden size / heads
TRAINED = {"steps": 6, "every": 2, "batch_size": 2, "warmup": 0, "learning_rate": 1e-2}
MADE = {  # name -> (class, settings, sparsity, elements of other parameters of block 0 that are cut)
    "OLMo2": ("Olmo2", WIDE, 0.5, {"self_attn.q_norm.weight": 32, "self_attn.k_norm.weight": 16}),
    "OLMo2, a query for each key": (
        "Olmo2",
        {"num_key_value_heads": 8},
        0.4,
        {"self_attn.q_norm.weight": 20, "self_attn.k_norm.weight": 20},
    ),
    "OLMo2 with biases, channels alone": ("Olmo2", {"attention_bias": True}, 0.2, {}),
    "OLMo3": ("Olmo3", {}, 0.5, {"self_attn.q_norm.weight": 16, "self_attn.k_norm.weight": 8}),
    "Granite-SWA": ("GraniteSWA", {"attention_bias": True}, 0.5, {"self_attn.sinks": 4}),
    "Gemma-4, heads of two widths": (
        "Gemma4",
        {"hidden_size_per_layer_input": 0, "head_dim": 8, "global_head_dim": 16},
        0.5,
        {"self_attn.q_norm.weight": 8},
    ),
    "Gemma-4 unified": ("Gemma4Unified", {"head_dim": 8, "global_head_dim": 4}, 0.5, {}),
    "Gemma-3": ("Gemma3", {"head_dim": 4, "sliding_window": 8}, 0.5, {"self_attn.q_norm.weight": 4}),
    "Cohere, a norm of each head": (
        "Cohere",
        {"use_qk_norm": True},
        0.5,
        {"self_attn.q_norm.weight": 16, "self_attn.k_norm.weight": 8},
    ),
    "EXAONE-4": ("Exaone4", WIDE, 0.5, {"self_attn.q_norm.weight": 8}),
    "HunYuan": ("HunYuanDenseV1", WIDE, 0.5, {}),
    "SmolLM3": ("SmolLM3", {}, 0.5, {}),
    "Qwen2": ("Qwen2", {}, 0.5, {"self_attn.q_proj.bias": 16, "self_attn.k_proj.bias": 8}),
    "Llama with biases": (
        "Llama",
        {"attention_bias": True, "mlp_bias": True},
        0.5,
        {"mlp.up_proj.bias": 24, "mlp.down_proj.bias": 32},
    ),
    "BitNet, channels alone": ("BitNet", {}, 0.2, {"mlp.ffn_sub_norm.weight": 38}),
    "StableLM, channels alone": ("StableLm", {"qk_layernorm": True}, 0.2, {}),
    "Helium, channels alone": ("Helium", {"head_dim": 4}, 0.2, {}),
    "DiffLlama, channels alone": ("DiffLlama", {}, 0.2, {}),
}
REFUSED = {  # name -> (class, settings, sparsity, words)
    "BitNet": (
        "BitNet",
        {},
        0.5,
        "BitNetForCausalLM: export compact: .* does not run: model.layers.0.self_attn.attn_sub_norm .*export: masked",
    ),
    "Helium": (
        "Helium",
        {"head_dim": 4},
        0.5,
        r"Helium.*cannot describe it: model.layers.0.self_attn.o_proj.weight would be 32 by 16, .* 32 by 32",
    ),
    "StableLM": ("StableLm", {}, 0.5, r"StableLm.*self_attn.q_proj.weight would be 16 by 32, .* is 32 by 32"),
    "StableLM, a norm of each head": (
        "StableLm",
        {"qk_layernorm": True},
        0.5,
        r"StableLm.* would lack model.layers.0.self_attn.k_layernorm.norms.2.weight",
    ),
    "DiffLlama": (
        "DiffLlama",
        {},
        0.5,
        r"DiffLlama.*self_attn.o_proj.weight reads .* heads .* cannot be removed",
    ),
    "OLMo2 with biases": (
        "Olmo2",
        {"attention_bias": True},
        0.5,
        r"Olmo2.*q_norm.weight takes the mean over all rows of model.layers.0.self_attn.q_proj.weight.*bias",
    ),
    "Llama, 7 of 8 heads": ("Llama", {"num_key_value_heads": 8}, 0.2, "Llama.*not a multiple of .* heads .7"),
}


def build(kind, **changes):
    import transformers

    config = {"Gemma3": "Gemma3Text", "Gemma4": "Gemma4Text", "Gemma4Unified": "Gemma4UnifiedText"}
    config = getattr(transformers, f"{config.get(kind, kind)}Config")(**BASE | changes)
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 or name.endswith(("bias", "sinks")):
                parameter.normal_(std=0.2)
            elif "norm" in name:
                parameter.normal_(1, 0.2)
    return model


def pruned(model, rows, sparsity, export, name="llm_pruner"):
    options = TRAINED if name == "loraprune" else {}
    return prune(model, name, "structured", sparsity, rows[:4], export=export, **options)


def reloaded(model, folder):
    from sparse_continual.streams.lexicon import tokenizer

    save_model(model, tokenizer(), folder)
    return load_model(folder)


def plain(model):
    """Module name -> its attributes that are plain values, but for private ones and where it was loaded from."""
    kinds = (bool, int, float, str, tuple, list)
    return {
        name: {
            key: value
            for key, value in vars(module).items()
            if isinstance(value, kinds) and key != "name_or_path" and not key.startswith("_")
        }
        for name, module in model.named_modules()
    }


def state(model):
    """Everything of a model that pruning may change: tensors by identity and value, config, attributes, hooks."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    hooks = [
        len(found)
        for module in model.modules()
        for found in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
    ]
    return (
        [(name, id(tensor), tensor.requires_grad) for name, tensor in tensors],
        [tensor.detach().clone() for _, tensor in tensors],
        model.config.to_dict(),
        dict(vars(model.config)),
        plain(model),
        hooks,
    )


def expect_same(before, after):
    assert all(torch.equal(a, b) for a, b in zip(before[1], after[1], strict=True))
    assert before[:1] + before[2:] == after[:1] + after[2:]


@torch.no_grad()
def expect_equal(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=2e-5 * one.abs().max().item())


@pytest.mark.parametrize("family", MADE)
def test_compact_is_masked_and_is_reloaded(family, rows, tmp_path):
    kind, settings, sparsity, cut = MADE[family]
    masked, small = build(kind, **settings), build(kind, **settings)
    one = pruned(masked, rows, sparsity, "masked")
    two = pruned(small, rows, sparsity, "compact")
    expect_equal(masked(rows).logits, small(rows).logits)
    two.check(small)
    assert one.record["kept"] == two.record["kept"]
    assert sum(m.weight.numel() for m in prunable(small).values()) == sum(one.record["kept"].values())
    for name, many in cut.items():
        assert small.get_parameter(f"model.layers.0.{name}").numel() == many, name
    again = reloaded(small, tmp_path)
    assert torch.equal(again(rows).logits, small(rows).logits)
    assert plain(again) == plain(small)


@pytest.mark.parametrize("kind", ["Olmo2", "GraniteSWA"])
def test_after_training_too(kind, rows, tmp_path):
    masked, small = build(kind), build(kind)
    pruned(masked, rows, 0.5, "masked", "loraprune")
    pruned(small, rows, 0.5, "compact", "loraprune")
    expect_equal(masked(rows).logits, small(rows).logits)
    assert torch.equal(reloaded(small, tmp_path)(rows).logits, small(rows).logits)


def test_a_compact_model_becomes_smaller_still(rows):
    masked, small = build("Olmo2"), build("Olmo2")
    for sparsity in (0.25, 0.5):
        pruned(small, rows, sparsity, "compact")
    assert (small.config.num_key_value_heads, small.config.intermediate_size) == (2, 18)
    again = small(rows).logits
    assert torch.isfinite(again).all() and not torch.equal(again, masked(rows).logits)


@pytest.mark.parametrize("family", REFUSED)
def test_what_cannot_be_compact_is_refused_while_nothing_has_changed(family, rows):
    kind, settings, sparsity, words = REFUSED[family]
    model = build(kind, **settings).train()
    model.lm_head.weight.requires_grad_(False)
    before = state(model)
    with pytest.raises(UserError, match=words) as error:
        pruned(model, rows, sparsity, "compact")
    assert "\n" not in str(error.value)
    expect_same(before, state(model))
    if kind == "DiffLlama":  # whose heads work in pairs: masked, other heads' columns would go
        with pytest.raises(UserError, match=words):
            pruned(model, rows, sparsity, "masked")
        expect_same(before, state(model))
    else:
        pruned(model, rows, sparsity, "masked")


def test_a_norm_over_fewer_heads_by_hand(rows):
    """x w / sqrt(mean x^2 + eps) over 64 values of which 32 are zero, against the 32, in double precision."""
    masked, small = build("Olmo2", **WIDE), build("Olmo2", **WIDE)
    pruned(masked, rows, 0.5, "masked")
    pruned(small, rows, 0.5, "compact")
    whole, part = (model.model.layers[0].self_attn for model in (masked, small))
    stays = whole.q_proj.weight.any(1)
    assert stays.sum() == 32
    torch.testing.assert_close(part.q_proj.weight, whole.q_proj.weight[stays] * 0.5**0.5)
    torch.testing.assert_close(part.q_norm.weight, whole.q_norm.weight[stays] * 2**0.5)
    inputs = torch.randn(5, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def normed(attention, eps=1e-2):  # far from negligible
        found = inputs @ attention.q_proj.weight.double().T
        return found * attention.q_norm.weight.double() / (found.square().mean(1, keepdim=True) + eps).sqrt()

    torch.testing.assert_close(normed(part), normed(whole)[:, stays], rtol=1e-6, atol=1e-7)


def test_a_smaller_model_that_computes_something_else_is_refused(rows, monkeypatch):
    monkeypatch.setattr(compact, "_balance_norms", lambda *arguments: None)
    model = build("Olmo2")
    before = state(model)
    with pytest.raises(
        UserError, match="Olmo2.*something else than the masked one: model.layers.0.self_attn.o_proj"
    ):
        pruned(model, rows, 0.5, "compact")
    expect_same(before, state(model))


def test_heads_that_are_paired_otherwise_are_reported(rows, monkeypatch):
    """Queries of a Llama that read the keys in turn, and not in groups."""
    from transformers.models.llama import modeling_llama

    def in_turn(states, times):
        return states.repeat(1, times, 1, 1)

    monkeypatch.setattr(modeling_llama, "repeat_kv", in_turn)
    for export in ("compact", "masked"):
        model = build("Llama", attn_implementation="eager")
        before = state(model)
        with pytest.raises(
            UserError, match="o_proj.weight reads columns of heads whose rows of v_proj are zero"
        ):
            pruned(model, rows, 0.5, export)
        expect_same(before, state(model))


def test_a_trial_that_breaks_off_changes_nothing(rows, monkeypatch):
    model, whole, calls = build("Olmo2"), compact.Plan.cut, []

    def broken(*args):
        whole(*args)
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError

    monkeypatch.setattr(compact.Plan, "cut", broken)
    before = state(model)
    with pytest.raises(MemoryError):
        pruned(model, rows, 0.5, "compact")
    expect_same(before, state(model))


def test_one_block_is_cut_at_a_time(rows, monkeypatch):
    model, whole, most = build("Olmo2"), compact.Plan.cut, []

    def counted(plan, model, block, kept, changes):
        whole(plan, model, block, kept, changes)
        most.append(sum(len(layer.self_attn.q_proj.weight) < 32 for layer in model.model.layers))

    monkeypatch.setattr(compact.Plan, "cut", counted)
    pruned(model, rows, 0.5, "compact")
    assert most == [1, 1, 1, 2]  # tried out one by one, then cut for good


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(dtype, rows):
    masked, small = build("Olmo2").to(dtype), build("Olmo2").to(dtype)
    pruned(masked, rows, 0.5, "masked")
    pruned(small, rows, 0.5, "compact")
    one, other = masked(rows).logits, small(rows).logits
    exact = masked.double()(rows).logits  # but for norms and rotations, which are in single precision
    rounding = max(1e-6, (one - exact).square().mean().sqrt().item())
    assert other.dtype == dtype and (one - other).double().square().mean().sqrt() < 3 * rounding


def test_the_text_part_of_a_larger_config(rows, tmp_path):
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    def made():
        torch.manual_seed(0)
        sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
        config = Gemma3Config(
            text_config={**BASE, "head_dim": 4},
            vision_config={"hidden_size": 16, "intermediate_size": 16, **sizes},
            mm_tokens_per_image=4,
            image_token_index=3,
        )
        return Gemma3ForConditionalGeneration(config).eval()

    masked, small = made(), made()
    pruned(masked, rows, 0.5, "masked")
    pruned(small, rows, 0.5, "compact")
    expect_equal(masked(input_ids=rows).logits, small(input_ids=rows).logits)
    small.save_pretrained(tmp_path)
    again = Gemma3ForConditionalGeneration.from_pretrained(tmp_path).eval()
    assert torch.equal(again(input_ids=rows).logits, small(input_ids=rows).logits)

"""FLOPs that were counted on the meta device: against formulas, models with weights, and closed forms of a GPT-NeoX."""

import pytest
import torch
import transformers  # noqa: F401 - where it is imported, no other process counts
from shapes import RANK, SHAPES, Adapted
from torch.utils.flop_counter import FlopCounterMode

from sparse_continual.budgets.price import describe, price, table, unknown_flops
from sparse_continual.budgets.pruning import making
from sparse_continual.budgets.shapes import control
from sparse_continual.errors import UserError
from sparse_continual.models.architecture import CHEAP, _operations
from sparse_continual.models.load import prunable
from sparse_continual.models.shape import shape_of_config
from sparse_continual.training.arithmetic import (
    Shape,
    costs,
    forward_flops,
    lora_training_flops,
    masked_lora_training_flops,
    training_flops,
)

TOKENS = 12
D, F, V, LAYERS = 32, 80, 48, 3
WIDE = {"vocab_size": V, "hidden_size": D, "num_hidden_layers": LAYERS, "num_attention_heads": 4}
WIDE |= {"intermediate_size": F, "max_position_embeddings": 64}
NEOX = {"model_type": "gpt_neox", **WIDE}
FAMILIES = {
    "gpt_neox": NEOX,
    "gpt2": {"model_type": "gpt2", "vocab_size": V, "n_embd": D, "n_layer": LAYERS, "n_head": 4},
    "phi": {"model_type": "phi", **WIDE},
    "opt": {
        "model_type": "opt",
        **WIDE,
        "ffn_dim": F,
        "word_embed_proj_dim": 16,
    },  # with matrices beside the blocks
    "bloom": {"model_type": "bloom", "vocab_size": V, "hidden_size": D, "n_layer": LAYERS, "n_head": 4},
    "gemma2": {"model_type": "gemma2", **WIDE, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4},
    "olmo2": {"model_type": "olmo2", **WIDE, "num_key_value_heads": 2},
    "stablelm": {"model_type": "stablelm", **WIDE, "num_key_value_heads": 2},
    "starcoder2": {"model_type": "starcoder2", **WIDE, "num_key_value_heads": 2},
}
BLOCK = 4 * D * D + 2 * D * F  # q, k, v in one; dense; h_to_4h; 4h_to_h
ROTARY = 2  # of its table, for every token: a quarter of a head of 8


def counted(config, *lengths):
    return Shape(**shape_of_config(config, lengths=lengths or (TOKENS,)))


def with_weights(config):
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = {key: value for key, value in config.items() if key != "model_type"}
    made = AutoConfig.for_model(config["model_type"], **fields)
    return AutoModelForCausalLM.from_config(made, attn_implementation="eager")


def measured(model, training=False, frozen=False, batch=2):
    """FLOPs per token of a model with weights on rows that it really computes."""
    if frozen:
        model.requires_grad_(False)
        for module in prunable(model).values():
            module.weight.requires_grad_(True)
    ids = torch.randint(0, V, (batch, TOKENS))
    with FlopCounterMode(display=False) as counter:
        logits = model(input_ids=ids, use_cache=False).logits
        if training:
            logits.sum().backward()
    return counter.get_total_flops() / (batch * TOKENS)


@pytest.mark.parametrize("shape", SHAPES)
def test_counts_of_a_llama_are_its_formulas(shape):
    """All but the rotary table: s * d a row, so d a token."""
    config = {
        "model_type": "llama",
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
    }
    config |= {"num_hidden_layers": shape.layers, "num_attention_heads": shape.heads, "head_dim": shape.head}
    config |= {
        "num_key_value_heads": shape.kv_heads,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
    }
    for tokens in (1, 7, 16):
        found, expected = costs(counted(config, tokens), tokens), costs(shape, tokens)
        for key in ("rest", "rest_trained", "rest_frozen"):
            assert getattr(found, key) == getattr(expected, key) + shape.head
        for key in ("head", "unread", "block_backward"):
            assert getattr(found, key) == getattr(expected, key), key
        assert found.block_forward == pytest.approx(
            expected.block_forward + shape.head / shape.layers, rel=1e-12
        )
    assert describe(counted(config)) == describe(shape)


@pytest.mark.parametrize("family", FAMILIES)
def test_counts_are_those_of_a_model_with_weights(family):
    """In batches of one: a rotary table counts once a batch."""
    shape, config = counted(FAMILIES[family]), FAMILIES[family]
    assert forward_flops(shape, TOKENS)["total"] == pytest.approx(
        measured(with_weights(config), batch=1), rel=1e-12
    )
    full, frozen = (training_flops(shape, TOKENS, ends_trained=ends) for ends in (True, False))
    assert full == pytest.approx(measured(with_weights(config), training=True, batch=1), rel=1e-12)
    assert frozen == pytest.approx(measured(with_weights(config), True, frozen=True, batch=1), rel=1e-12)


@pytest.mark.parametrize("tokens", [4, TOKENS])
def test_a_gpt_neox_by_hand(tokens):
    shape = counted(NEOX, tokens)
    weights, attention, head = LAYERS * BLOCK, 4 * tokens * D * LAYERS, 2 * D * V
    assert shape.prunable == weights
    forward = 2 * weights + attention + ROTARY
    assert forward_flops(shape, tokens)["total"] == forward + head
    # absent weights: 2 each
    assert (
        forward_flops(shape, tokens, weights // 4, head=0.5)["total"]
        == forward - 2 * (weights * 3 // 4) + head / 2
    )
    trained = 3 * (2 * weights + attention + head) + ROTARY
    assert training_flops(shape, tokens) == trained
    # attention and MLP are parallel: both read what comes from the frozen embedding alone
    first = 2 * (3 * D * D + D * F)
    assert training_flops(shape, tokens, ends_trained=False) == trained - head - first
    half = weights // 2
    sparse = 3 * (2 * half + attention + head) + ROTARY - head - first / 2
    assert training_flops(shape, tokens, half, ends_trained=False) == sparse
    assert training_flops(shape, tokens, half, half - 10, ends_trained=False) == sparse - 20
    merging = masked_lora_training_flops(shape, tokens, 2, 50, half)
    assert merging == pytest.approx(sparse + 6 * 2 * half / 50)


@pytest.mark.parametrize("family", ["gpt_neox", "phi", "starcoder2"])
@pytest.mark.parametrize("ends_trained", [False, True])
def test_adapters_on_another_family(family, ends_trained):
    model = with_weights(FAMILIES[family])
    model.requires_grad_(ends_trained)
    for name, linear in prunable(model).items():
        parent, _, key = name.removesuffix(".weight").rpartition(".")
        setattr(model.get_submodule(parent), key, Adapted(linear))
        if linear.bias is not None:
            linear.bias.requires_grad_(False)
    expected = lora_training_flops(counted(FAMILIES[family]), TOKENS, RANK, ends_trained=ends_trained)
    assert measured(model, training=True, batch=1) == pytest.approx(expected, rel=1e-12)


def test_what_methods_have_pass_through_another_family():
    shape = counted(NEOX, 10)
    block = 2 * BLOCK + 4 * 10 * D
    wanda = {"method": "wanda", "pattern": "2:4"}
    cost = making(wanda, shape, {"sequences": 6, "tokens": 10, "written": False})
    read = 2 * 10 * LAYERS + 60 * (2 * LAYERS - 1)
    assert cost["method_flops"] == pytest.approx(read * (block + ROTARY / LAYERS))
    assert costs(shape, 10).block_backward == 2 * block - 2 * (3 * D * D + D * F)
    # three readings: what enters attention and MLP by norms of their own, dense, 4h_to_h
    assert shape.counted["flops"]["10"]["readings"] == 4
    falcon = {"model_type": "falcon", "vocab_size": V, "hidden_size": D, "num_hidden_layers": 2}
    falcon |= {"num_attention_heads": 4}
    one = counted(falcon, 10)
    assert one.counted["flops"]["10"]["readings"] == 3  # one norm for both
    grouped = {"method": "sparsegpt", "pattern": "2:4", "true_sequential": True}
    text = {"sequences": 6, "tokens": 10, "written": False}
    read = making(grouped, one, text)["method_forward_tokens"] * 2
    assert read == 2 * 10 * 2 + 60 * (3 * 2 + 1)


MAMBA = {"model_type": "mamba", "vocab_size": V, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}
SNIP = {"method": "snip", "pattern": "unstructured", "sparsity": 0.5}
CONDITION = {
    **{"condition": "c", "base": "b", "topology": "t", "pattern": "dense", "sparsity": None, "whole": 0},
    **{"mechanism": {"kind": "finetune"}, "locked": True, "writes": "all", "like": None, "ends": "trained"},
    **{"row_tokens": TOKENS, "answer_tokens": 3, "train_items": 8, "steps": 5},
    **{"batch_size": 2, "tasks": 2, "blocks": 2, "tuning_steps": 4, "asked_steps": 0, "match": None},
    **{"making": {"topology": SNIP, "text": {"sequences": 2, "tokens": TOKENS, "written": True}}},
}  # fmt: skip


def test_flops_that_are_not_known_are_not_reported():
    """A part of Mamba's matrices is not called as a linear: parameters are right, FLOPs are left out."""
    shape = shape_of_config(MAMBA, lengths=[TOKENS])
    (why,) = unknown_flops(shape)
    assert "dt_proj.weight reads none of the 12 tokens" in why
    known = {**CONDITION, "condition": "k", "shape": shape_of_config(NEOX, lengths=[TOKENS])}
    assert unknown_flops(known["shape"]) == []
    one, other = price([{**CONDITION, "shape": shape}, known])
    assert (
        one["prunable"] == one["nonzeros"] == Shape(**shape).prunable and one["trained"] == one["parameters"]
    )
    empty = [key for key, value in one.items() if value is None]
    assert empty == [
        *("forward_theoretical", "forward_executed", "training_theoretical", "training_executed"),
        *("task_flops", "method_flops", "hours", "tuning_hours"),
    ]
    assert list(one) == list(other) and not [key for key, value in other.items() if value is None]
    told = table([one, other]).split("\n")
    (costs_of_c,) = [line for line in told if line.startswith("c ") and "B " in line]
    assert (
        costs_of_c.split().count("?") == 5
        and told[-1] == "Without the hours of c, whose FLOPs are not known."
    )
    assert max(map(len, told)) <= 120
    with pytest.raises(UserError, match="FLOPs of a mamba model are not known: .*dt_proj"):
        forward_flops(Shape(**shape), TOKENS)
    with pytest.raises(UserError, match="rows of 5 tokens were not counted"):
        forward_flops(Shape(**shape), 5)
    with pytest.raises(UserError, match="match on flops: found a base of model_type 'mamba'"):
        control(Shape(**shape), 10, "flops", TOKENS)


def test_operations_that_may_hold_products_are_found():
    meta = {"device": "meta"}
    with _operations() as operations:
        one = torch.ones(4, 4, **meta)
        torch.softmax(torch.relu(one @ one.T) + 1, 0).view(16)[:3].cumsum(0).sum()
        torch.nn.functional.conv1d(torch.ones(1, 2, 8, **meta), torch.ones(2, 2, 3, **meta))
        torch.nn.functional.layer_norm(one, (4,))
    assert operations.unknown == set()
    with _operations() as operations:
        torch.fft.fft(one)
        torch.linalg.qr(one)
    assert operations.unknown == {"aten::_fft_r2c", "aten::linalg_qr"}
    assert not {"mm", "bmm", "addmm", "convolution", "dot", "mv", "_fft_r2c", "linalg_qr", "cdist"} & CHEAP


def test_a_shape_is_described_by_what_it_is():
    assert describe(counted(NEOX)) == "gpt_neox 32 L3"
    assert describe(counted({"model_type": "mistral", **WIDE, "num_key_value_heads": 2})) == "32x80 L3 4/2"
    assert describe(counted(MAMBA)) == "mamba 16 L2"

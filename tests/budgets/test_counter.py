"""The formulas against torch's FlopCounterMode: every digit, but the rotary table's s * d a call."""

import pytest
import torch
from shapes import RANK, SHAPES, Adapted
from torch.utils.flop_counter import FlopCounterMode

from sparse_continual.training.arithmetic import (
    forward_flops,
    lora_training_flops,
    parameters,
    training_flops,
)

BATCH, TOKENS = 3, 16


def build(shape):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head,
        vocab_size=shape.vocabulary,
        tie_word_embeddings=shape.tied,
        attn_implementation="eager",
    )
    return LlamaForCausalLM(config)


def counted(model, shape, training, positions=TOKENS):
    """FLOPs per token, without the rotary table."""
    ids = torch.zeros(BATCH, TOKENS, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=torch.arange(positions)).logits
        if training:
            logits.sum().backward()
    return (counter.get_total_flops() - TOKENS * shape.head) / (BATCH * TOKENS)


def freeze_ends(model):
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("_proj." in name)


@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_forward_and_training(shape):
    model = build(shape)
    assert sum(p.numel() for p in model.parameters()) == parameters(shape)["total"]
    assert counted(model, shape, training=False) == forward_flops(shape, TOKENS)["total"]
    assert counted(model, shape, training=True) == training_flops(shape, TOKENS)


@pytest.mark.parametrize("shape", SHAPES)
def test_frozen_ends_and_few_logits(shape):
    model = build(shape)
    freeze_ends(model)
    assert counted(model, shape, training=True) == training_flops(shape, TOKENS, ends_trained=False)
    some = training_flops(shape, TOKENS, ends_trained=False, head=0.25)
    assert counted(model, shape, training=True, positions=4) == some


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ends_trained", [False, True])
def test_adapters(shape, ends_trained):
    model = build(shape)
    if not ends_trained:
        freeze_ends(model)
    for layer in model.model.layers:
        for part in (layer.self_attn, layer.mlp):
            for name, linear in [(n, m) for n, m in part.named_children() if isinstance(m, torch.nn.Linear)]:
                setattr(part, name, Adapted(linear))
    expected = lora_training_flops(shape, TOKENS, RANK, ends_trained=ends_trained)
    assert counted(model, shape, training=True) == expected

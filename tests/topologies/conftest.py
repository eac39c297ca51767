"""A tiny Llama with few key-value heads and a tied head, and rows for it to read."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parent))  # for layers

SHAPE = {"hidden_size": 32, "intermediate_size": 48, "layers": 2, "heads": 4, "kv_heads": 2}
VOCABULARY = 64


def build_llama(**changes):
    from transformers import LlamaConfig, LlamaForCausalLM

    settings = {
        "hidden_size": SHAPE["hidden_size"],
        "intermediate_size": SHAPE["intermediate_size"],
        "num_hidden_layers": SHAPE["layers"],
        "num_attention_heads": SHAPE["heads"],
        "num_key_value_heads": SHAPE["kv_heads"],
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
        "initializer_range": 0.2,
    }
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**(settings | changes))).eval()


@pytest.fixture
def llama():
    """Maker of tiny Llamas with equal weights; keyword arguments change the config."""
    return build_llama


@pytest.fixture
def shape():
    return dict(SHAPE)


@pytest.fixture
def rows():
    """int64[24, 20] token ids."""
    return torch.randint(4, VOCABULARY, (24, 20), generator=torch.Generator().manual_seed(1))

"""A tiny untrained Llama on the generated vocabulary, and that vocabulary's tokenizer."""

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sparse_continual.streams import lexicon


@pytest.fixture(scope="session")
def words():
    return lexicon.tokenizer()


@pytest.fixture(scope="session")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(lexicon.vocabulary()), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, initializer_range=0.3,
    )  # fmt: skip
    return LlamaForCausalLM(config).train()


LABELS = ["walks", "plays the", "never"]


@pytest.fixture
def benchmark(tmp_path):
    """(folder, write): a benchmark of one task SC/toy in generated words; `write` replaces a file of it."""
    folder = tmp_path / "bench"
    (folder / "SC" / "toy").mkdir(parents=True)

    def write(file, value):
        text = value if isinstance(value, str) else json.dumps(value)
        (folder / "SC" / "toy" / file).write_text(text)

    names = [f"{first} {last}" for first in lexicon.FIRST for last in lexicon.LAST]
    items = [
        {"label": LABELS[i % 3], "sentence": f"{name} keeps a dog" + " at home" * (i % 4)}
        for i, name in enumerate(names[:120])
    ]
    write("labels.json", LABELS)
    write("train.json", items[:80] + items[:2] + items[80:83])
    write("test.json", items[80:])
    return folder, write

"""Our Wanda and SparseGPT against llmcompressor's, on one small model and the same rows.

llmcompressor prunes floor(C * s) weights per row and thresholds, so the two can only agree at N:M, and for
Wanda where s * C is an integer.
"""

import pytest
import torch
from layers import method as need

from sparse_continual import prune
from sparse_continual.models.load import load_model, prunable


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved untied Llama, wider than one of SparseGPT's blocks, with a word-level tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=64,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        initializer_range=0.1,
    )
    path = tmp_path_factory.mktemp("oracle") / "model"
    LlamaForCausalLM(config).save_pretrained(path)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(64)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", pad_token="w1").save_pretrained(path)
    return path


@pytest.mark.parametrize(
    ("method", "pattern", "sparsity"),
    [("wanda", "2:4", None), ("wanda", "unstructured", 0.5), ("sparsegpt", "2:4", None)],
)
def test_same_masks_and_weights(folder, tmp_path, monkeypatch, method, pattern, sparsity):
    need(method)
    monkeypatch.chdir(tmp_path)  # it writes logs where it runs
    rows = torch.randint(0, 64, (24, 32), generator=torch.Generator().manual_seed(0))
    theirs = by_library(folder, rows, method, pattern)
    ours, dense = load_model(folder), load_model(folder)
    topology = prune(ours, method, pattern, sparsity, rows, seed=0)
    for name, linear in prunable(ours).items():
        found, expected = linear.weight.detach(), theirs.get_parameter(name).detach()
        assert (topology.masks[name] == (expected != 0)).float().mean() >= 0.999
        assert (found - expected).norm() <= 1e-5 * expected.norm()
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        assert torch.equal(theirs.get_parameter(name), dense.get_parameter(name))
        assert torch.equal(ours.get_parameter(name), dense.get_parameter(name))


def by_library(folder, rows, method, pattern):
    """The model pruned by llmcompressor, on its good paths: only blocks targeted, rows in order."""
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.pruning import WandaPruningModifier
    from llmcompressor.modifiers.pruning.sparsegpt import SparseGPTModifier

    kind = {"wanda": WandaPruningModifier, "sparsegpt": SparseGPTModifier}[method]
    recipe = kind(
        sparsity=0.5,
        mask_structure=pattern if pattern != "unstructured" else "0:0",
        targets=[r"re:.*layers\.\d+$"],
    )
    data = Dataset.from_dict({"input_ids": rows.tolist(), "attention_mask": torch.ones_like(rows).tolist()})
    return oneshot(
        model=str(folder),
        dataset=data,
        recipe=recipe,
        num_calibration_samples=len(rows),
        shuffle_calibration_samples=False,
        max_seq_length=rows.shape[1],
        precision="float32",
    )

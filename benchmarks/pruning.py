"""Wanda and SparseGPT beside llmcompressor's `oneshot`: one process, one model, the same rows, in turn.

    python benchmarks/pruning.py [repeats] | grep '^|'     (the library logs to the same stream)

Prints seconds (the least of the repeats; loading a model is not counted), first of the bare passes that a method needs
which goes block by block; and the peak memory of a pruning beyond the weights for models of growing depth and width,
each in a process of its own.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

SHAPE = {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4, "num_attention_heads": 8}
ROWS, TOKENS, VOCABULARY = 64, 256, 64
DEEP = ((2, 512), (8, 512), (32, 512), (2, 1024))
MEMORY = (  # method, pattern, (layers, width) of models
    ("magnitude", "2:4", DEEP),
    ("wanda", "2:4", DEEP),
    ("sparsegpt", "2:4", DEEP),
    ("wandapp", "2:4", DEEP),
    ("snip", "unstructured", DEEP),
    ("llm_pruner", "structured", DEEP),
)


def build(**changes):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    settings = {"vocab_size": VOCABULARY, "max_position_embeddings": 1024, "tie_word_embeddings": False}
    return LlamaForCausalLM(LlamaConfig(**(settings | SHAPE | changes))).eval()


def some_rows(count=ROWS):
    return torch.randint(0, VOCABULARY, (count, TOKENS), generator=torch.Generator().manual_seed(0))


def ours(folder, rows, method, pattern):
    from sparse_continual.models.load import load_model
    from sparse_continual.topologies import prune

    model = load_model(folder)
    begun = time.perf_counter()
    prune(model, method, pattern, 0.5, rows)
    return time.perf_counter() - begun


def passes(folder, rows):
    """Seconds of one pass of all rows through every block to measure, and one through all but the last to go on."""
    from sparse_continual.models.load import load_model

    model = load_model(folder)
    begun = time.perf_counter()
    with torch.no_grad():
        for depth in (len(model.model.layers), len(model.model.layers) - 1):
            model.model.layers = model.model.layers[:depth]
            for row in rows:
                model.model(input_ids=row[None], use_cache=False)
    return time.perf_counter() - begun


def theirs(folder, rows, method, pattern):
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.pruning import WandaPruningModifier
    from llmcompressor.modifiers.pruning.sparsegpt import SparseGPTModifier
    from transformers import AutoModelForCausalLM, AutoTokenizer

    kind = {"wanda": WandaPruningModifier, "sparsegpt": SparseGPTModifier}[method]
    structure = "0:0" if pattern == "unstructured" else pattern
    recipe = kind(sparsity=0.5, mask_structure=structure, targets=[r"re:.*layers\.\d+$"])
    data = Dataset.from_dict({"input_ids": rows.tolist(), "attention_mask": torch.ones_like(rows).tolist()})
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    begun = time.perf_counter()
    oneshot(
        model=model,
        tokenizer=tokenizer,
        dataset=data,
        recipe=recipe,
        num_calibration_samples=len(rows),
        shuffle_calibration_samples=False,
        max_seq_length=TOKENS,
    )
    return time.perf_counter() - begun


def save(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    build().save_pretrained(folder)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", pad_token="w1").save_pretrained(folder)


def peak(method, pattern, **changes):
    """(MB of weights, MB of peak memory beyond what the process held with the model in memory)."""
    sparsity = None if pattern == "2:4" else 0.5
    code = (
        "import resource, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import pruning\n"
        "from sparse_continual.topologies import prune\n"
        f"model, rows = pruning.build(**{changes!r}), pruning.some_rows(8)\n"
        "with pruning.torch.no_grad():\n"
        "    model(rows[:1])\n"
        "held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"prune(model, {method!r}, {pattern!r}, {sparsity}, rows)\n"
        "most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(sum(p.numel() for p in model.parameters()) * 4 / 1e6, (most - held) * 1024 / 1e6)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return tuple(float(word) for word in out.split())


def main(repeats=3):
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    rows = some_rows()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # llmcompressor writes logs
        save(folder)
        print(f"| bare passes, s | {min(passes(folder, rows) for _ in range(repeats)):.2f} |\n|---|---|\n")
        print("| method | pattern | ours, s | llmcompressor, s | times as fast |\n|---|---|---|---|---|")
        for method in ("wanda", "sparsegpt"):
            for pattern in ("unstructured", "2:4"):
                pairs = [
                    (ours(folder, rows, method, pattern), theirs(folder, rows, method, pattern))
                    for _ in range(repeats)
                ]
                own, other = (min(column) for column in zip(*pairs, strict=True))
                print(f"| {method} | {pattern} | {own:.2f} | {other:.2f} | {other / own:.1f} |", flush=True)
    print(
        "\n| method | pattern | layers | width | weights, MB | peak beyond them, MB |\n|---|---|---|---|---|---|"
    )
    for method, pattern, sizes in MEMORY:
        for layers, width in sizes:
            shape = {"num_hidden_layers": layers, "hidden_size": width, "intermediate_size": width * 11 // 4}
            weights, more = peak(method, pattern, **shape)
            print(f"| {method} | {pattern} | {layers} | {width} | {weights:.0f} | {more:.0f} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

"""Wanda and SparseGPT beside llmcompressor's `oneshot`: one process, one model, the same rows, in turn.

    python benchmarks/pruning.py [all | speed | memory] [repeats] | grep '^|'     (llmcompressor logs there too)

Prints seconds (the least of the repeats; loading a model is not counted), first of the bare passes that a method needs
which goes block by block; and the peak memory of a pruning beyond the weights for models of growing depth and width,
each in a process of its own: a method's statistics of the whole model, by what it says of itself, and the rest, which
must not grow with depth.
"""

import argparse
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
WIDE = (*DEEP, (1, 4096), (2, 4096))  # the last two as wide as a 7B model
NARROW = ((2, 128), (8, 128), (32, 128), (2, 256))
TRAINED = {"steps": 3, "batch_size": 2}
# method, pattern, options, (layers, width) of models, bytes of statistics per weight of the whole model: 1 for its
# mask, 4 each for a gradient, two moments of what is trained, and what is trained besides the weights
MEMORY = (
    ("magnitude", "2:4", {}, WIDE, 1),
    ("random", "unstructured", {}, DEEP, 1),
    ("shuffled", "unstructured", {"of": "wanda"}, DEEP, 1),
    ("wanda", "2:4", {}, WIDE, 1),
    ("wandapp", "2:4", {}, DEEP, 1),
    ("sparsegpt", "2:4", {}, DEEP, 1),
    ("obc", "2:4", {}, NARROW, 1),
    ("snip", "unstructured", {}, WIDE, 1 + 4),
    ("llm_pruner", "structured", {}, DEEP, 1 + 4),
    ("gmp", "unstructured", TRAINED, WIDE, 1 + 12),
    ("imp", "unstructured", TRAINED, DEEP, 1 + 12 + 4),  # weights as they were early
    ("movement", "unstructured", TRAINED, DEEP, 1 + 12 + 16),  # scores
    ("l0", "unstructured", TRAINED, DEEP, 12 + 16),  # gates
    ("maskllm", "2:4", TRAINED, DEEP, 24),  # 6 logits for 4 weights, which are not trained themselves
    ("loraprune", "structured", TRAINED, DEEP, 1),
)


def build(**changes):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    settings = {"vocab_size": VOCABULARY, "max_position_embeddings": 1024, "tie_word_embeddings": False}
    return LlamaForCausalLM(LlamaConfig(**(settings | SHAPE | changes))).eval()


def some_rows(count=ROWS):
    return torch.randint(0, VOCABULARY, (count, TOKENS), generator=torch.Generator().manual_seed(0))


def ours(folder, rows, method, pattern):
    from sparse_continual import prune
    from sparse_continual.models.load import load_model

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


def peak(method, pattern, options, **changes):
    """(MB of weights, weights in blocks, MB of peak memory beyond what the process held with the model in memory)."""
    sparsity = None if pattern == "2:4" else 0.5
    code = (
        "import sys, ctypes\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import pruning\n"
        "from sparse_continual.topologies import prune\n"
        f"model, rows = pruning.build(**{changes!r}), pruning.some_rows(8)\n"
        "with pruning.torch.no_grad():\n"
        "    model(rows[:1])\n"
        "weights = sum(p.numel() for p in model.parameters())\n"
        "blocks = sum(p.numel() for p in model.model.layers.parameters())\n"
        "def memory(key):\n"
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    return next(int(line.split()[1]) for line in lines if line.startswith(key))\n"
        "ctypes.CDLL(None).malloc_trim(0)\n"
        "held = memory('VmRSS')\n"
        "open('/proc/self/clear_refs', 'w').write('5')\n"  # the peak begins here
        f"prune(model, {method!r}, {pattern!r}, {sparsity}, rows, **{options!r})\n"
        "print(weights * 4 / 1e6, blocks, (memory('VmHWM') - held) * 1024 / 1e6)"
    )
    # what is freed is given back at once; else what the allocator keeps comes and goes by tens of MB
    own = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(1 << 16)}
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=own).stdout
    return tuple(float(word) for word in out.split())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["all", "speed", "memory"], default="all")
    parser.add_argument("repeats", nargs="?", type=int, default=3, help="of which the least time counts (3)")
    asked = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if asked.what != "memory":
        speed(asked.repeats)
    if asked.what != "speed":
        memory()


def speed(repeats):
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


def memory():
    print(
        "\n| method | pattern | layers | width | weights, MB | peak beyond them, MB | statistics, MB | the rest, MB |"
        "\n|---|---|---|---|---|---|---|---|"
    )
    for method, pattern, options, sizes, each in MEMORY:
        for layers, width in sizes:
            shape = {"num_hidden_layers": layers, "hidden_size": width, "intermediate_size": width * 11 // 4}
            weights, blocks, more = peak(method, pattern, options, **shape)
            own = blocks * each / 1e6
            print(
                f"| {method} | {pattern} | {layers} | {width} | {weights:.0f} | {more:.0f} | {own:.0f} | "
                f"{more - own:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

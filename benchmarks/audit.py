"""The audit beside `cat`: how fast a checkpoint of 2 GB is read and counted, and in how much memory.

    python benchmarks/audit.py [repeats]

Writes five blocks of the shape of Llama-2-7B in bfloat16 (two 2:4, two unstructured, one dense) to a temporary folder
(TMPDIR says where; 4 GB are used for a while), in three layouts, and deletes them. Prints MB of the files per second,
the best of the repeats, `cat` and the audit in turn, imports apart: read from the disk, and with the files in the
system's cache; and per second of processor time. The peak is what the audit's process held beyond what it held
before it began, pages of the files included.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

BLOCKS, HIDDEN, WIDE = 5, 4096, 11008
MATRICES = {
    **{f"self_attn.{letter}_proj": (HIDDEN, HIDDEN) for letter in "qkvo"},
    "mlp.gate_proj": (WIDE, HIDDEN),
    "mlp.up_proj": (WIDE, HIDDEN),
    "mlp.down_proj": (HIDDEN, WIDE),
}
CONFIG = {
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": WIDE,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 32,
    "vocab_size": 32000,
}
CHILD = """
import sys, time, torch
from sparse_continual.auditing.audit import audit
torch.set_num_threads(1)
audit(sys.argv[2])  # of a config alone: what is imported on first use
def held(what):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(what)) / 1e3
before, begun, used = held("VmRSS"), time.perf_counter(), time.process_time()
report = audit(sys.argv[1])
seconds, used = time.perf_counter() - begun, time.process_time() - used
print(seconds, used, held("VmHWM") - before, report["verdict"], report["density"])
"""


def matrix(size, block, generator):
    """Random values; none is zero but where the block's pattern says so."""
    weight = torch.randint(1, 0x7F00, size, dtype=torch.int16, generator=generator)
    if block < 2:
        pairs = torch.tensor(
            [[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1], [0, 0, 1, 1]]
        )
        chosen = torch.randint(6, (weight.numel() // 4,), generator=generator)
        weight *= pairs.to(torch.int16)[chosen].reshape(size)
    elif block < 4:
        weight *= torch.randint(2, size, dtype=torch.int16, generator=generator)
    return weight.view(torch.bfloat16)


def encoded(weight):
    """Parts of `sparse-bitmask`."""
    words = weight.view(torch.int16).numpy()
    kept = words != 0
    counts = kept.sum(axis=1)
    return {
        "shape": torch.tensor(weight.shape),
        "compressed": torch.from_numpy(words[kept]).view(torch.bfloat16),
        "bitmask": torch.from_numpy(np.packbits(kept, axis=1, bitorder="little")),
        "row_offsets": torch.from_numpy(counts.cumsum() - counts),
    }


def write(folder, parts=None):
    """A checkpoint of one shard a block; `parts` encodes a matrix, or None."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    generator, placed = torch.Generator().manual_seed(0), {}
    for block in range(BLOCKS):
        file = f"model-{block + 1:05}-of-{BLOCKS:05}.safetensors"
        tensors = {}
        for name, size in MATRICES.items():
            stem, weight = f"model.layers.{block}.{name}", matrix(size, block, generator)
            found = {f"{stem}.{key}": value for key, value in parts(weight).items()} if parts else None
            tensors |= found or {f"{stem}.weight": weight}
        save_file(tensors, folder / file)
        placed |= dict.fromkeys(tensors, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))


def join(folder):
    """The same in a single file."""
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    save_file(tensors, folder / "model.safetensors")
    for file in folder.glob("model-*.safetensors"):
        file.unlink()


def forget(files):
    """Let the system drop the files from its cache."""
    for file in files:
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cat(files):
    """(seconds, seconds of processor time)."""
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(os.devnull, "wb") as nowhere:
        subprocess.run(["cat", *files], stdout=nowhere, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return time.perf_counter() - begun, used


def audited(folder):
    """(seconds, seconds of processor time, MB at the peak, verdict and density)."""
    alone = folder.parent / "config"
    alone.mkdir(exist_ok=True)
    (alone / "config.json").write_text(json.dumps(CONFIG))
    command = [sys.executable, "-c", CHILD, folder, alone]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, used, peak, *said = done.stdout.split()
    return float(seconds), float(used), float(peak), said


def row(layout, folder, repeats):
    files = sorted(folder.glob("*.safetensors"))
    size, shard = (of(file.stat().st_size for file in files) / 1e6 for of in (sum, max))
    best, highest = {}, 0
    for cached in (False, True):
        for _ in range(repeats):
            for reader in ("cat", "audit"):
                if not cached:
                    forget(files)
                if reader == "cat":
                    seconds, used = cat(files)
                else:
                    seconds, used, peak, said = audited(folder)
                    highest = max(highest, peak)
                for key, value in (((reader, cached), seconds), ((reader, "processor"), used)):
                    best[key] = min(best.get(key, value), value)
    speeds = [
        f"{size / best[reader, kind]:.0f}"
        for kind in (False, True, "processor")
        for reader in ("cat", "audit")
    ]
    largest = 2 * HIDDEN * WIDE / 1e6
    print(
        f"| {layout} | {size:.0f} | {' | '.join(speeds)} | {shard:.0f} | {largest:.0f} | {highest:.0f} |",
        flush=True,
    )
    print(f"{layout}: {' '.join(said)}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repeats", nargs="?", type=int, default=3, help="of which the best counts (3)")
    repeats = parser.parse_args().repeats
    heads = [f"`cat`, {how} | audit, {how}" for how in ("disk", "cache", "processor")]
    print(f"| layout | MB | {' | '.join(heads)} | shard, MB | matrix, MB | peak, MB |")
    print(f"|{'---|' * 11}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        sparse, dense = Path(folder) / "bitmask", Path(folder) / "dense"
        write(sparse, encoded)
        row("sparse-bitmask, a shard a block", sparse, repeats)
        for file in sparse.iterdir():
            file.unlink()
        write(dense)
        row("dense, a shard a block", dense, repeats)
        join(dense)
        row("dense, one file", dense, repeats)


if __name__ == "__main__":
    main()

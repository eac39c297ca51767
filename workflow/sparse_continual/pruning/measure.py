"""Perplexity, error of every layer and cost, measured while a model is pruned and recovers.

For studies that compare methods (`study.measure_topologies`); other studies do not depend on this code.
Perplexity is exp(mean nats per counted token) of text that no method was given: the test rows of the base's
mixture, or texts that a base without a mixture generates. The error of a matrix is |W X - V X|_F / |W X|_F, with W
before and V after pruning. X is the same for all methods: the inputs of the matrix in the dense model on the
calibration rows. So the error excludes how errors of earlier layers add up. For methods that train the matrix, it
includes what they learnt.

Limits: a copy of the dense model stays in memory while measuring. Memory is that of the process; for models of a few
megabytes the libraries' share is as large as the method's.
"""

import math
import time
from dataclasses import dataclass, field

from sparse_continual.pruning.tables import MEASURED
from sparse_continual.streams.calibration import DEFAULTS

BATCH = 64  # rows per forward pass
WRITTEN = 256  # greatest length, in tokens, of a text that a base without a mixture generates
STATUS, FORGET = "/proc/self/status", "/proc/self/clear_refs"  # Linux


@dataclass
class Watch:
    """Called as `watch(stage, model)` between the steps that make a model.

    stage: `base`, the original; `pruned`; `trained`, after pretraining under a mask; `recovered`. mixture: [(share,
    Task)] of the base, [] if it declares none. `rows` are grouped by table, without topology and block; seconds and
    bytes belong to the step that ended in the stage, without measuring.
    """

    mixture: list
    seed: int
    rows: dict = field(default_factory=lambda: {table.name: [] for table in MEASURED})

    def __call__(self, stage: str, model) -> None:
        if stage == "base":
            self._begin(model)
        else:
            self.rows["costs"].append({"stage": stage, **self._spent()})
        if stage == "pruned":
            self.rows["layer_errors"] += layer_errors(self.dense, model, self.calibration)
        nats, tokens = loss(model, self.held)
        self.rows["perplexities"].append({"stage": stage, "perplexity": math.exp(nats), "tokens": tokens})
        self.begun, self.bytes = time.monotonic(), _reset()

    def _begin(self, model) -> None:
        """Record the values of the original model that later stages are compared with."""
        from copy import deepcopy

        from sparse_continual.identity import seed_of
        from sparse_continual.streams.calibration import rows_of_model, rows_of_split
        from sparse_continual.streams.tasks import concatenate, make_split

        self.dense = deepcopy(model)
        seed = seed_of("calibration", self.seed)  # the seed of the methods' calibration rows
        if self.mixture:
            read = concatenate([task.train for _, task in self.mixture])
            self.calibration = rows_of_split(read, min(DEFAULTS["sequences"], read.rows), seed)
            self.held = [(share, task.test) for share, task in self.mixture]
        else:
            sizes = DEFAULTS["sequences"], _length(model)
            self.calibration = list(rows_of_model(model, *sizes, seed))
            held = rows_of_model(model, *sizes, seed_of("held out", self.seed)).numpy()
            self.held = [(1, make_split(held, [1] * len(held)))]

    def _spent(self) -> dict:
        peak = _memory("VmHWM")
        return {
            "seconds": time.monotonic() - self.begun,
            "peak_bytes": peak,
            "added_bytes": max(0, peak - self.bytes),  # the system updates page counts with a delay
        }


def mixture_of(manifest) -> list:
    """[(share, Task)] of the mixture at `manifest`; [] if it is None."""
    from sparse_continual.integrity import read_manifest
    from sparse_continual.streams.tasks import load_tasks

    if manifest is None:
        return []
    content = read_manifest(manifest)
    return list(zip(content["shares"], load_tasks(content["folder"]), strict=True))


def _length(model) -> int:
    """Tokens of a generated text, within the context length of the model."""
    return min(WRITTEN, getattr(model.config, "max_position_embeddings", WRITTEN))


def loss(model, held: list) -> tuple[float, int]:
    """(nats per counted token, counted tokens) of `held`, [(share, Split)]: the mean over entries, weighted by share.

    For an item with several rows, the row with the right answer is used.
    """
    import numpy as np
    import torch
    import torch.nn.functional as F

    from sparse_continual.training.batches import IGNORED, collate, logits_and_targets

    nats, shares, tokens = [], [], 0
    for share, split in held:
        rows = np.searchsorted(split.items, np.arange(len(split))) + split.correct
        rows = rows[np.argsort(np.diff(split.starts)[rows], kind="stable")]  # similar lengths: little padding
        total, counted = 0.0, 0
        with torch.inference_mode():
            for some in np.array_split(rows, -(-len(rows) // BATCH)):
                logits, targets = logits_and_targets(model, collate(split, some, model.device))
                flat = F.cross_entropy(
                    logits.flatten(0, 1).double(), targets.flatten(), ignore_index=IGNORED, reduction="sum"
                )
                total += flat.item()
                counted += int((targets != IGNORED).sum())
        nats.append(total / counted)
        shares.append(share)
        tokens += counted
    return float(np.average(nats, weights=shares)), tokens


def layer_errors(dense, pruned, rows) -> list[dict]:
    """One row {matrix, layer, module, error} for every prunable matrix, in order of layer.

    dense, pruned: models of one shape; rows: calibration rows, 1-D tensors of token ids. With S = X X^T over all
    tokens, |A X|_F^2 = tr(A S A^T). For a matrix whose dense outputs are all zero the error is 0 if they stay zero,
    else inf.
    """
    import torch

    from sparse_continual.models.blockwise import blocks
    from sparse_continual.models.experts import experts_apart
    from sparse_continual.models.load import matrix_of, prunable
    from sparse_continual.pruning.input_statistics import SecondMoments
    from sparse_continual.topologies.density import layer_of, module_of

    rows_of_matrices = []
    with torch.no_grad(), experts_apart(dense), experts_apart(pruned):
        linears, after = prunable(dense), prunable(pruned)
        for block in blocks(dense, linears, rows):
            for name, moments in block.measure(SecondMoments).items():
                before = matrix_of(linears[name]).double()
                away = before - matrix_of(after[name]).double()
                sizes = [float(((a @ moments.products.double()) * a).sum()) for a in (away, before)]
                lost, whole = (math.sqrt(max(size, 0.0)) for size in sizes)  # rounding can leave -0
                rows_of_matrices.append(
                    {
                        "matrix": name,
                        "layer": layer_of(name),
                        "module": module_of(name),
                        "error": lost / whole if whole else math.inf if lost else 0.0,
                    }
                )
    return sorted(rows_of_matrices, key=lambda row: row["layer"])


def _reset() -> int:
    """Reset the process's peak memory if the system allows it; returns the bytes in use now."""
    try:
        with open(FORGET, "w") as handle:
            handle.write("5")
    except OSError:  # then peaks count from the start of the process
        pass
    return _memory("VmRSS")


def _memory(key: str) -> int:
    """Bytes of an entry of this process's status file; without that file (not Linux), the peak memory."""
    import resource

    try:
        with open(STATUS, encoding="ascii") as handle:
            entries = dict(line.split(":", 1) for line in handle)
        return int(entries[key].split()[0]) * 1024
    except (OSError, KeyError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

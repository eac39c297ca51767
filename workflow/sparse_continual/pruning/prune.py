"""Make a dense model sparse, by any method, through one function.

Only the linears inside decoder blocks are pruned. Embeddings, head, norms and biases stay byte for byte, tied or not.
A method is a kernel on one matrix; `walk` measures its inputs, and `counts` says how many weights each matrix keeps.
In a mixture of experts, every expert's matrix is pruned by itself, on the tokens that are routed to it.
"""

import hashlib
import resource
import time
from contextlib import contextmanager

import torch

from sparse_continual import registry
from sparse_continual.errors import UserError
from sparse_continual.models.blockwise import blocks
from sparse_continual.models.experts import experts_apart
from sparse_continual.models.load import matrix_of, prunable, refuse_other_models
from sparse_continual.pruning import arguments
from sparse_continual.pruning.check import agreed, needs_text, options_of
from sparse_continual.pruning.input_statistics import Squares
from sparse_continual.streams.calibration import digest
from sparse_continual.topologies import existing as before
from sparse_continual.topologies.counts import Count, kept_total, parse_pattern, refuse_empty
from sparse_continual.topologies.topology import Topology


@torch.no_grad()
def prune(
    model, method: str, pattern="unstructured", sparsity=None, calibration=None, seed=0, **options
) -> Topology:
    """Prune `model` in place by `method` and return the topology; absent weights are +0.0.

    model: a transformers causal language model. method: a file of pruning/methods. pattern:
    "unstructured", "N:M" to keep N of M consecutive inputs of one output, or "structured" for whole heads and
    channels, which can give a smaller dense model. sparsity: final share of absent weights over all prunable ones,
    0 <= sparsity < 1; not needed for N:M; for structured, the share of heads and channels. calibration: for methods
    that read text, else None: int64 [sequences, tokens] without padding, a list of 1-D tensors, or a tokenizer's
    output, whose padding is dropped. seed: of every random number.

    options: `allocation`, a file of pruning/allocations, or {name, its own settings}: how the kept weights are
    distributed over the matrices; `counts`, "exact" (default: ties broken by index) or "reference" (the authors' own
    rounding and ties); `on_sparse`, "keep" (default) or "refuse"; and the method's own settings, with the defaults of
    its SCHEMA.

    Weights that are exactly zero at the start do not exist, and no method brings them back. N:M then keeps min(N,
    existing) of every group. If an allocation gives a matrix more weights than exist, the rest goes to the other
    matrices in proportion to their shares. `counts: reference` rounds as the authors do, then removes the weights that
    did not exist. `on_sparse: refuse` accepts only dense models: at most `existing.CHANCE` of their weights are zero.

    Raises UserError, naming the matrix where there is one: an argument of a wrong type, a model without its head or
    its values, no prunable matrix, an unknown method or option, a combination that the method does not define, a
    pattern or sparsity that does not fit, a sparsity below the model's own, an allocation that would empty a matrix,
    calibration that is missing, padded, too short or not of this model's vocabulary, weights, activations or scores
    that are not finite, a failed factorisation; structured: heads that cannot be removed one by one, and a compact
    model that its config cannot describe or that computes something else than the masked one (`topologies.compact`).
    Checks that need no pruning run before any weight changes.
    """
    begun = time.monotonic()
    refuse_other_models(model)
    sparsity, seed = arguments.sparsity(sparsity), arguments.seed(seed)
    settings = {"method": method, "pattern": pattern}
    settings |= {key: options.pop(key) for key in ("allocation", "counts", "on_sparse") if key in options}
    schema = registry.schema("pruning.methods", method)
    options = options_of(f"method {method}", schema, options)
    chosen = agreed(settings | options)[0]
    structured = None
    if pattern == "structured":  # by name, not by import: other methods must not depend on its code
        structured = registry.by_name("pruning.structured")
    reads = needs_text(settings | options)
    with experts_apart(model) as experts:
        linears = prunable(model)
        sizes = {name: tuple(matrix_of(module).shape) for name, module in linears.items()}
        total = None if structured else kept_total(sizes, pattern, sparsity)
        rows = arguments.rows(model, method, calibration) if reads else None
        for name, module in linears.items():
            if not torch.isfinite(module.weight).all():
                raise UserError(f"{name}: has weights that are NaN or infinite; the model is broken")
        existing, groups = before.existing_of(linears), parse_pattern(pattern)
        before.refuse(sizes, existing, settings, sparsity, total)
        if pattern == "dense":  # the few zeros of a dense model are not absent weights
            existing = {}
        if groups:
            total = sum(before.room_of(sizes, existing, groups).values())
        untouched = _fingerprint(model, linears)
        with _evaluating(model):
            job = Job(model, linears, rows or [], total, seed, existing)
            if structured:
                job.counts = structured.counts(model, linears, sparsity, options, existing)
                plan = structured.trial(job, sparsity, options)
                chosen.prune_model(job, sparsity, **options)
            else:
                _run(job, chosen, options, sizes, settings, sparsity)
        masks = job.masks
        kept = {name: int(masks[name].sum()) for name in linears}
        _verify(model, linears, job, untouched, settings.get("counts") != "reference")
        if structured:
            job.facts |= {
                "structured": options["export"],
                "dense_weights": sum(r * c for r, c in sizes.values()),
            }
            if options["export"] == "compact":
                masks = structured.compact(job, plan)
    record = {
        **settings,
        "sparsity": sparsity,
        "options": options,
        "seed": seed,
        "calibration": digest(rows) if reads else None,
        "kept": kept,
        **job.facts,
        **({"absent_before": sum(int((~mask).sum()) for mask in existing.values())} if existing else {}),
        **({"notes": job.notes} if job.notes else {}),
    }
    for name, parts in experts.items():
        masks[name] = torch.stack([masks.pop(part) for part in parts])
    masks = {name: masks[name].cpu() for name in prunable(model)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux reports KiB
    cost = {"seconds": time.monotonic() - begun, "peak_bytes": peak}
    return Topology(masks, pattern, method, record, cost)


def refuse_sparse(model, settings: dict) -> None:
    """Raise UserError if `model` lacks weights already and a topology's `settings` do not allow that.

    `prune` makes the same check. Call this before expensive work, such as generating calibration text.
    """
    linears = prunable(model)
    sizes = {name: tuple(matrix_of(module).shape) for name, module in linears.items()}
    pattern, sparsity = settings["pattern"], settings.get("sparsity")
    total = None if pattern == "structured" else kept_total(sizes, pattern, sparsity)
    before.refuse(sizes, before.existing_of(linears), settings, sparsity, total)


def _run(job, chosen, options, sizes, settings, sparsity) -> None:
    """Distribute the kept weights and prune every matrix."""
    _, allocation, shares = agreed(settings | options)
    sharing = registry.load("pruning.allocations", allocation)
    if sharing.needs == "scores":  # a method has them only after it looked at the model
        job.gather(chosen, options)
    planned = sharing.kept(sizes, job.total, *_evidence(job, sharing, chosen, options), **shares)
    room = before.room_of(sizes, job.existing, parse_pattern(settings["pattern"]))
    kept = refuse_empty(before.limited(planned, room), allocation, room)
    written = sparsity if allocation == "uniform" and kept == planned else None
    job.counts = _counts(job, kept, settings, written)
    if sharing.needs != "scores":
        job.gather(chosen, options)
    job.run(chosen, options)


class Job:
    """One pruning in progress, for methods that work with more than one matrix.

    `model`; `linears`: weight name -> module, in model order; `rows`: calibration rows, [] without; `total`: number of
    kept weights; `counts`: name -> Count (missing while a method gathers under allocation `global`); `seed`;
    `existing`: name -> bool[outputs, inputs] of the existing weights, for matrices that lack some; `masks`: name ->
    bool mask of the parameter's shape, for the matrices pruned so far; `lines`: name -> (bool per kept line, whether
    lines are columns), under a structured pattern; `notes`, `facts`: for the record, by matrix and for the model.
    """

    def __init__(self, model, linears, rows, total, seed, existing):
        self.model, self.linears, self.rows, self.total, self.seed = model, linears, rows, total, seed
        self.existing = existing
        self.counts, self.masks, self.lines, self.notes, self.facts = {}, {}, {}, {}, {}

    def gather(self, chosen, options: dict) -> None:
        """Let a method look at the whole model, or train it, before any matrix is pruned.

        `evidence(name)` is then its result for a matrix: None for most methods.
        """
        self.evidence = chosen.gather(self, **options) if chosen.gather else lambda name: None

    def run(self, chosen, options: dict) -> None:
        """Prune every block by the chosen `method.Method`."""
        reads = chosen.statistics or chosen.prune_block
        for block in blocks(self.model, self.linears, self.rows if reads else []):
            if chosen.prune_block:
                chosen.prune_block(block, self, **options)
                continue
            measured = block.measure(chosen.statistics) if chosen.statistics else {}
            settings = {} if chosen.gather else options
            for name in block.linears:
                evidence = measured[name] if measured else self.evidence(name)
                self.prune_one(chosen.prune_matrix, name, evidence, **settings)

    def prune_one(self, kernel, name: str, evidence, weight=None, count=None, **options):
        """Prune one matrix by a method's kernel, from its weight and to its count unless others are passed.

        Returns its mask [outputs, inputs], without the weights that did not exist. Raises UserError naming the matrix.
        """
        weight = matrix_of(self.linears[name], weight)
        try:
            mask, new = kernel(weight, evidence, count or self.counts.get(name), **options)
        except UserError as error:
            raise UserError(f"{name}: {error}") from None
        if name in self.existing:
            mask = mask & self.existing[name]
        self.write(name, mask, new)
        if getattr(evidence, "notes", None):
            self.notes[name] = dict(evidence.notes)
        return mask

    def write(self, name: str, mask, weight):
        """Set a matrix to `weight` [outputs, inputs] where `mask` is True and +0.0 elsewhere."""
        module = self.linears[name]
        self.masks[name] = matrix_of(module, mask).contiguous()
        weight = matrix_of(module, weight).to(module.weight.dtype)
        module.weight.copy_(weight.masked_fill(~self.masks[name], 0.0))


def _counts(job, kept, settings, sparsity) -> dict:
    """Name -> Count; sparsity: the configured value, not the rounded one, if it is the same in every matrix."""
    groups, shares = parse_pattern(settings["pattern"]), {}
    if settings.get("counts") == "reference":
        shares = {
            n: 1 - kept[n] / m.weight.numel() if groups or sparsity is None else sparsity
            for n, m in job.linears.items()
        }
    return {name: Count(kept[name], groups, shares.get(name), job.existing.get(name)) for name in job.linears}


def _evidence(job, allocation, chosen, options) -> tuple:
    """The arguments of an allocation besides shapes."""

    def magnitudes():
        """(weight names, |W| * input norms) of every block of the dense model."""
        for block in blocks(job.model, job.linears, job.rows):
            norms = {name: statistics.norms() for name, statistics in block.measure(Squares).items()}
            values = [(matrix_of(m).float().abs() * norms[n]).flatten() for n, m in block.linears.items()]
            yield list(block.linears), torch.cat(values)

    def scores(name):
        settings = {} if chosen.gather else options
        return chosen.scores(matrix_of(job.linears[name]), job.evidence(name), **settings)

    return {"shapes": (), "inputs": (magnitudes(),), "scores": (scores,)}[allocation.needs]


@contextmanager
def _evaluating(model):
    """Context without dropout; afterwards the model is in its previous mode."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _fingerprint(model, linears) -> dict[str, str]:
    """SHA-256 of every parameter and buffer that must not change."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {
        name: hashlib.sha256(tensor.contiguous().view(torch.uint8).cpu().numpy().tobytes()).hexdigest()
        for name, tensor in tensors
        if name not in linears and tensor.dim()
    }


def _verify(model, linears, job, untouched, exact: bool) -> None:
    """Check the invariants whose failure would be silent."""
    for name, linear in linears.items():
        mask = job.masks[name]
        if exact and name in job.counts:
            kept, planned = int(mask.sum()), job.counts[name].kept
            # kept lines may lack weights, which their count ignores
            fits = kept <= planned if name in job.lines and name in job.existing else kept == planned
            if not fits:
                raise RuntimeError(f"{name}: {kept} weights kept, planned {planned}")
        if name in job.existing and (matrix_of(linear, mask) & ~job.existing[name]).any():
            raise RuntimeError(f"{name}: weights that were absent came back")
        absent = linear.weight[~mask]
        if absent.any() or absent.signbit().any():
            raise RuntimeError(f"{name}: absent weights are not +0.0")
    after = _fingerprint(model, linears)
    changed = [name for name in untouched if after[name] != untouched[name]]
    if changed:
        raise RuntimeError(f"{changed[0]}: changed by pruning, but it is not prunable")

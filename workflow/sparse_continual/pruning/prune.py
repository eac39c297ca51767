"""From a dense model to a sparse one, by any method, behind one function.

Only the linears inside decoder blocks are pruned; embeddings, head, norms and biases stay as they are, byte
for byte, tied or not. A method is a kernel on one matrix; what it measures comes from `walk`, how many
weights each matrix keeps from `counts`. In a mixture every expert's matrix is one of its own, which sees the tokens
that are routed to it.
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
    """Prune `model` in place by `method` and return the topology; absent weights become +0.0.

    model: a transformers causal language model. method: a file of pruning/methods. pattern:
    "unstructured", "N:M" for N kept of M consecutive inputs of one output, or "structured" for whole heads and
    channels, which may leave a smaller dense model. sparsity: share of weights that are absent in the end over all
    prunable ones, 0 <= sparsity < 1; N:M needs none; structured: of heads and channels. calibration: for methods that
    need it, else None: int64 [sequences, tokens] without padding, a list of 1-D tensors, or what a tokenizer returned,
    whose padding is left out. seed: of every random number.

    options: `allocation`, a file of pruning/allocations by name, or {name, its own settings}: how the kept
    weights are shared out over the matrices; `counts`, "exact" (default: ties broken by index) or "reference" (the
    authors' own rounding and ties); `on_sparse`, "keep" (default) or "refuse"; and the method's own settings, with the
    defaults of its SCHEMA.

    Weights that are exactly zero before do not exist, and no method brings them back. N:M then keeps min(N, existing)
    of every group. What an allocation gives a matrix beyond the weights that it has goes to the other matrices, in
    proportion to their own shares. `counts: reference` rounds as the authors do, and then takes out what did not exist.
    `on_sparse: refuse` takes dense models alone: at most `existing.CHANCE` of their weights are zero.

    Raises UserError, naming the matrix where there is one: an argument of another type, a model without its head or
    its values, no prunable matrix, an unknown method or option, a combination that the method does not define, a
    pattern or sparsity that does not fit, a sparsity below the model's own, an allocation that would empty a matrix,
    calibration that is missing, padded, too short or not of this model's vocabulary, weights, activations or scores
    that are not finite, a failed factorisation; structured: heads that cannot go one by one, and a compact model that
    its config cannot describe or that computes something else than the masked one (`topologies.compact`). Whatever can
    be told beforehand is told while the weights are as they were.
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
        if pattern == "dense":  # a few zeros are none
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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
    cost = {"seconds": time.monotonic() - begun, "peak_bytes": peak}
    return Topology(masks, pattern, method, record, cost)


def refuse_sparse(model, settings: dict) -> None:
    """Raise UserError where `model` lacks weights before and a topology's `settings` do not allow it.

    What `prune` refuses in any case, for a caller who first makes something expensive, such as calibration text.
    """
    linears = prunable(model)
    sizes = {name: tuple(matrix_of(module).shape) for name, module in linears.items()}
    pattern, sparsity = settings["pattern"], settings.get("sparsity")
    total = None if pattern == "structured" else kept_total(sizes, pattern, sparsity)
    before.refuse(sizes, before.existing_of(linears), settings, sparsity, total)


def _run(job, chosen, options, sizes, settings, sparsity) -> None:
    """Share out the kept weights and prune every matrix."""
    _, allocation, shares = agreed(settings | options)
    sharing = registry.load("pruning.allocations", allocation)
    if sharing.needs == "scores":  # which only a method that has looked at the model can give
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
    """One pruning under way: what methods that look at more than one matrix work with.

    `model`; `linears`: weight name -> module, in model order; `rows`: calibration rows, [] without; `total`:
    weights that stay; `counts`: name -> Count (not yet there while a method gathers under allocation `global`);
    `seed`; `existing`: name -> bool[outputs, inputs] of the weights that exist, of matrices that lacked some before;
    `masks`: name -> bool mask of the parameter's shape, of what is pruned by now; `lines`: name -> (bool per line that
    stays, whether lines are columns), under a structured pattern; `notes`, `facts`: for the record, by matrix and of
    the whole.
    """

    def __init__(self, model, linears, rows, total, seed, existing):
        self.model, self.linears, self.rows, self.total, self.seed = model, linears, rows, total, seed
        self.existing = existing
        self.counts, self.masks, self.lines, self.notes, self.facts = {}, {}, {}, {}, {}

    def gather(self, chosen, options: dict) -> None:
        """Let a method look at the whole model, or train it, before any matrix is pruned for good.

        `evidence(name)` is then what it found out about a matrix: None for most methods.
        """
        self.evidence = chosen.gather(self, **options) if chosen.gather else lambda name: None

    def run(self, chosen, options: dict) -> None:
        """Prune every block by the `method.Method` chosen."""
        reads = chosen.statistics or chosen.prune_block
        for block in blocks(self.model, self.linears, self.rows if reads else []):
            if chosen.prune_block:
                chosen.prune_block(block, self, **options)
                continue
            measured = block.measure(chosen.statistics) if chosen.statistics else {}
            own = {} if chosen.gather else options
            for name in block.linears:
                evidence = measured[name] if measured else self.evidence(name)
                self.prune_one(chosen.prune_matrix, name, evidence, **own)

    def prune_one(self, kernel, name: str, evidence, weight=None, count=None, **options):
        """Prune one matrix by a method's kernel, from its weight and to its count unless others are given.

        Returns its mask [outputs, inputs], without what did not exist before. Raises UserError naming the matrix.
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
    """Name -> Count; `sparsity`: where it is the same in every matrix, as it was written and not as rounded."""
    groups, shares = parse_pattern(settings["pattern"]), {}
    if settings.get("counts") == "reference":
        shares = {
            n: 1 - kept[n] / m.weight.numel() if groups or sparsity is None else sparsity
            for n, m in job.linears.items()
        }
    return {name: Count(kept[name], groups, shares.get(name), job.existing.get(name)) for name in job.linears}


def _evidence(job, allocation, chosen, options) -> tuple:
    """What an allocation looks at besides shapes."""

    def magnitudes():
        """(weight names, |W| * input norms) of every block of the dense model."""
        for block in blocks(job.model, job.linears, job.rows):
            norms = {name: found.norms() for name, found in block.measure(Squares).items()}
            values = [(matrix_of(m).float().abs() * norms[n]).flatten() for n, m in block.linears.items()]
            yield list(block.linears), torch.cat(values)

    def scores(name):
        own = {} if chosen.gather else options
        return chosen.scores(matrix_of(job.linears[name]), job.evidence(name), **own)

    return {"shapes": (), "inputs": (magnitudes(),), "scores": (scores,)}[allocation.needs]


@contextmanager
def _evaluating(model):
    """No dropout while measuring; the model's mode is put back."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _fingerprint(model, linears) -> dict[str, str]:
    """SHA-256 of every parameter and buffer that is not to be pruned."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {
        name: hashlib.sha256(tensor.contiguous().view(torch.uint8).cpu().numpy().tobytes()).hexdigest()
        for name, tensor in tensors
        if name not in linears and tensor.dim()
    }


def _verify(model, linears, job, untouched, exact: bool) -> None:
    """The invariants whose failure would be silent."""
    for name, linear in linears.items():
        mask = job.masks[name]
        if exact and name in job.counts:
            found, planned = int(mask.sum()), job.counts[name].kept
            # lines that stay may lack weights, of which their count knows nothing
            fits = found <= planned if name in job.lines and name in job.existing else found == planned
            if not fits:
                raise RuntimeError(f"{name}: {found} weights kept, planned {planned}")
        if name in job.existing and (matrix_of(linear, mask) & ~job.existing[name]).any():
            raise RuntimeError(f"{name}: weights that were absent came back")
        absent = linear.weight[~mask]
        if absent.any() or absent.signbit().any():
            raise RuntimeError(f"{name}: absent weights are not +0.0")
    after = _fingerprint(model, linears)
    changed = [name for name in untouched if after[name] != untouched[name]]
    if changed:
        raise RuntimeError(f"{changed[0]}: changed by pruning, and is not prunable")

"""From a dense model to a sparse one: walking the model, once for all methods.

Only the linears inside decoder blocks are pruned; embeddings, head, norms and biases stay as they are, byte
for byte, tied or not. Methods that look at activations go block by block: the block, still dense, reads what
the pruned blocks before it put out; all its matrices are measured in that one pass; then they are pruned and
the block's outputs are computed again for the next.
"""

import hashlib
import re
from contextlib import contextmanager

import torch

from sparse_continual import registry
from sparse_continual.errors import UserError
from sparse_continual.models.load import prunable
from sparse_continual.topologies.calibration import digest
from sparse_continual.topologies.counts import kept_counts, parse_pattern
from sparse_continual.topologies.mask import Topology


@torch.no_grad()
def prune(model, method: str, pattern: str, sparsity, calibration, seed: int, **options) -> Topology:
    """Prune `model` in place by `method` and return the topology; absent weights become +0.0.

    `pattern`, `sparsity`: as in `counts.kept_counts`, whose counts are met exactly. `calibration`: 1-D int64
    tensors of token ids (or the rows of a 2-D one) for methods that need them, else None; the model reads
    them one at a time. `seed` is recorded: the present methods draw nothing. `options`: the method's own
    settings.

    Raises UserError, naming the matrix where there is one: no prunable matrix, a pattern that the method
    cannot do or that does not fit, no calibration, scores that are not finite, a failed factorisation.
    """
    chosen = registry.load("topologies.methods", method)
    linears = prunable(model)
    groups = parse_pattern(pattern)
    if ("N:M" if groups else pattern) not in chosen.PATTERNS:
        expected = " or ".join(chosen.PATTERNS)
        raise UserError(f"method {method}: found pattern {pattern!r}, expected {expected}")
    kept = kept_counts(
        {name: (m.out_features, m.in_features) for name, m in linears.items()}, pattern, sparsity
    )
    if chosen.NEEDS_CALIBRATION and (calibration is None or not len(calibration)):
        raise UserError(f"method {method}: found no calibration sequences, expected at least one")
    untouched = _fingerprint(model, linears)
    masks = {}

    def prune_one(name, statistics):
        weight = linears[name].weight
        try:
            masks[name], new = chosen.prune_matrix(weight, statistics, groups, kept[name], **options)
        except UserError as error:
            raise UserError(f"{name}: {error}") from None
        weight.copy_(new.to(weight.dtype).masked_fill(~masks[name], 0.0))

    if chosen.NEEDS_CALIBRATION:
        with _evaluating(model):
            _walk(model, linears, calibration, chosen.Statistics, prune_one)
    else:
        for name in linears:
            prune_one(name, None)
    _verify(model, linears, masks, kept, untouched)
    record = {
        "method": method,
        "pattern": pattern,
        "sparsity": sparsity,
        "options": options,
        "seed": seed,
        "calibration": digest(calibration) if chosen.NEEDS_CALIBRATION else None,
        "kept": kept,
    }
    masks = {name: masks[name].cpu() for name in linears}
    return Topology(masks, pattern, method, record)


def _walk(model, linears, rows, new_statistics, prune_one) -> None:
    """Measure and prune block after block; `prune_one(name, statistics)` changes one matrix."""
    blocks = {}
    for name in linears:
        blocks.setdefault(re.match(r".*?\.\d+(?=\.)", name)[0], []).append(name)
    modules = [model.get_submodule(block) for block in blocks]
    hidden, arguments = _record_calls(model, modules, rows)
    for block, names, calls in zip(modules, blocks.values(), arguments, strict=True):
        statistics = _measure(block, {name: linears[name] for name in names}, hidden, calls, new_statistics)
        for name in names:
            if name not in statistics:
                raise UserError(f"{name}: no calibration token reached this matrix; give more sequences")
            prune_one(name, statistics[name])
        hidden = [_run(block, states, call) for states, call in zip(hidden, calls, strict=True)]


def _record_calls(model, blocks, rows):
    """(inputs of the first block, per row; other arguments, per block and row) of a dense pass.

    Arguments such as masks and rotary tables do not depend on the hidden states.
    """
    hidden, arguments = [], [[] for _ in blocks]

    def hook(number):
        def record(block, args, kwargs):
            kwargs = dict(kwargs)
            states = args[0] if args else kwargs.pop("hidden_states")
            if number == 0:
                hidden.append(states)
            arguments[number].append((args[1:], kwargs))

        return record

    handles = [b.register_forward_pre_hook(hook(n), with_kwargs=True) for n, b in enumerate(blocks)]
    try:
        device = model.get_input_embeddings().weight.device
        for row in rows:
            model.base_model(input_ids=row[None].to(device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return hidden, arguments


def _run(block, states, call):
    """Output states of one block for one row."""
    args, kwargs = call
    out = block(states, *args, **kwargs)
    return out[0] if isinstance(out, tuple) else out


def _measure(block, linears, hidden, calls, new_statistics) -> dict:
    """Name -> statistics of a matrix's inputs; matrices that read the very same tensor share theirs."""
    statistics, leader, first = {}, {}, {}

    def hook(name, linear):
        def record(module, args):
            inputs = args[0]
            if name not in leader:
                leader[name] = next((other for other, seen in first.items() if seen is inputs), name)
                first[name] = inputs
                if leader[name] == name:
                    statistics[name] = new_statistics(linear.in_features, inputs.device)
                statistics[name] = statistics[leader[name]]
            if leader[name] == name:
                statistics[name].add(inputs)

        return record

    handles = [linear.register_forward_pre_hook(hook(name, linear)) for name, linear in linears.items()]
    try:
        for states, call in zip(hidden, calls, strict=True):
            _run(block, states, call)
    finally:
        for handle in handles:
            handle.remove()
    return statistics


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


def _verify(model, linears, masks, kept, untouched) -> None:
    """The invariants whose failure would be silent."""
    for name, linear in linears.items():
        if int(masks[name].sum()) != kept[name]:
            raise RuntimeError(f"{name}: {int(masks[name].sum())} weights kept, planned {kept[name]}")
        absent = linear.weight[~masks[name]]
        if absent.any() or absent.signbit().any():
            raise RuntimeError(f"{name}: absent weights are not +0.0")
    after = _fingerprint(model, linears)
    changed = [name for name in untouched if after[name] != untouched[name]]
    if changed:
        raise RuntimeError(f"{changed[0]}: changed by pruning, and is not prunable")

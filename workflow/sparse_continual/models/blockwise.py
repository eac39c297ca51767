"""Run the decoder blocks one after the other on the calibration rows, once for all methods.

A block, still dense, reads the outputs of the pruned blocks before it. One pass measures all its matrices; then they
are pruned, and the block's outputs are recomputed for the next block. Besides the weights, one block's statistics and
the hidden states of all rows are in memory.
"""

import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

import torch

from sparse_continual.errors import UserError
from sparse_continual.models.load import matrix_of


class Block:
    """`name`, `module`; `linears`: weight name -> module of the matrices to prune, in model order; `inputs`: hidden
    states [1, tokens, width] at the block's start, one tensor per row.
    """

    def __init__(self, name, module, linears, inputs, calls):
        self.name, self.module, self.linears, self.inputs, self.calls = name, module, linears, inputs, calls
        self.outputs = None

    def run(self, row: int):
        """Output states [1, tokens, width] for one row, with the present weights."""
        args, kwargs = self.calls[row]
        out = self.module(self.inputs[row], *args, **kwargs)
        return out[0] if isinstance(out, tuple) else out

    def run_all(self) -> None:
        """Fix the next block's inputs: the outputs with the present weights, whatever changes later."""
        self.outputs = [self.run(row) for row in range(len(self.inputs))]

    def measure(self, new_statistics, rows=None) -> dict:
        """Name -> statistics of a matrix's inputs over `rows` (all by default); matrices with the same input tensor
        share theirs.

        `new_statistics(columns, device)` makes an object whose `add(inputs [..., columns])` is called once per row.

        Raises UserError naming a matrix that no calibration token reached (an expert).
        """
        statistics, leader, first = {}, {}, {}
        calls, inputs_seen = Counter(), set()
        once = False  # whether the first row called every matrix exactly once

        def hook(name, linear):
            def record(module, args):
                inputs = args[0]
                calls[name] += 1
                inputs_seen.add(name)
                if name not in leader:
                    leader[name] = next((other for other, read in first.items() if read is inputs), name)
                    first[name] = inputs
                    if leader[name] == name:
                        columns = matrix_of(linear).shape[1]
                        statistics[name] = new_statistics(columns, inputs.device)
                    statistics[name] = statistics[leader[name]]
                if leader[name] == name:
                    statistics[name].add(inputs)
                if once and len(inputs_seen) == len(self.linears):
                    raise _Read

            return record

        handles = [m.register_forward_pre_hook(hook(name, m)) for name, m in self.linears.items()]
        try:
            for row in range(len(self.inputs)) if rows is None else rows:
                inputs_seen.clear()
                with suppress(_Read):
                    self.run(row)
                once = once or set(calls.values()) == {1} and len(calls) == len(self.linears)
        finally:
            for handle in handles:
                handle.remove()
        for name in self.linears:
            if name not in statistics:
                raise UserError(
                    f"{name}: no calibration token reached this matrix; use more sequences, or choose a method that "
                    "reads no text if the block does not call it as a linear"
                )
        return statistics


def blocks(model, linears: dict, rows):
    """Yield a Block for every decoder block that holds one of `linears`. When the caller continues, the block's outputs
    with its weights at that time (or at `run_all`) become the inputs of the next.

    rows: 1-D tensors of token ids; [] if the caller measures nothing.
    """
    by_block = {}
    for name in linears:
        by_block.setdefault(block_of(name), []).append(name)
    modules = [model.get_submodule(block) for block in by_block]
    inputs, calls = _record_calls(model, modules, rows)
    for number, (name, names) in enumerate(by_block.items()):
        block_linears = {name: linears[name] for name in names}
        block = Block(name, modules[number], block_linears, inputs, calls[number])
        yield block
        if number + 1 < len(modules):
            if block.outputs is None:
                block.run_all()
            inputs = block.outputs


def block_of(name: str) -> str:
    """Name of a parameter's decoder block, up to the first number: "model.layers.0"."""
    return re.match(r".*?\.\d+(?=\.)", name)[0]


class _Read(Exception):
    """All needed inputs are recorded; the rest of the pass is not needed."""


def _record_calls(model, modules, rows):
    """(inputs of the first block, per row; other arguments, per block and row).

    In the usual models, arguments such as masks and rotary tables depend only on a row's length, so one dense pass per
    length is enough. This is checked: the first two rows of a length pass the whole model, and if they get different
    arguments, every row does.
    """
    inputs, calls = [], [[] for _ in modules]
    lengths, whole = {}, True  # length -> numbers of its rows that passed the whole model

    def hook(number):
        def record(block, args, kwargs):
            kwargs = dict(kwargs)
            states = args[0] if args else kwargs.pop("hidden_states")
            if number == 0:
                inputs.append(states)
                if not whole:
                    raise _Read
            calls[number].append((args[1:], kwargs))

        return record

    handles = [b.register_forward_pre_hook(hook(n), with_kwargs=True) for n, b in enumerate(modules)]
    try:
        device = model.get_input_embeddings().weight.device
        for place, row in enumerate(rows):
            known = lengths.setdefault(len(row), [])
            whole = len(known) < 2 or not _same(*([call[k] for call in calls] for k in known[:2]))
            try:
                model.base_model(input_ids=row[None].to(device), use_cache=False)
                known.append(place)
            except _Read:
                for call in calls:
                    call.append(call[known[0]])
    finally:
        for handle in handles:
            handle.remove()
    return inputs, calls


def _same(one, other) -> bool:
    """Whether two nested structures of arguments are equal."""
    if torch.is_tensor(one):
        return torch.is_tensor(other) and one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return one is other or one == other

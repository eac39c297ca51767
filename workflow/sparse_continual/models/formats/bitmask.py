"""`sparse-bitmask` of compressed-tensors: a bit per weight, and the values that are not zero, in order.

A parameter P.weight of shape [..., columns] is replaced by these tensors, little-endian:

    P.shape        int64: the dense shape
    P.bitmask      uint8 [..., ceil(columns / 8)]: bit b of byte j is column 8 j + b; the last byte ends in zeros
    P.compressed   the weight's type [nonzeros]: row-major
    P.row_offsets  int64: where each row's values begin; follows from the bits and is not read

A zero is w == 0, so -0.0 comes back as +0.0. The library's releases of 2024 stored every parameter this way, vectors
too, as P.weight.shape and so on. Source: compressed-tensors 0.4 to 0.14 (`BitmaskTensor`); 0.15 dropped the format.
"""

import math

import numpy as np
import torch

from sparse_continual.errors import UserError
from sparse_continual.models.formats.raw import of_words, to_words

STRIP = 1 << 16  # weights decoded at a time: their places stay in the processor's cache
GROUP = 4  # rows of a strip, a multiple of this, so that groups of four of the flat matrix are never split


def decode(where: str, shape, bitmask, compressed) -> torch.Tensor:
    """The dense tensor of `shape` (integers) of one parameter, called `where` in messages.

    Raises UserError if bits, values and shape do not fit together: another width, bits beyond the width, or different
    numbers of values and bits.
    """
    bits = matched(where, shape, bitmask, compressed)
    values = to_words(compressed.reshape(-1))
    dense = np.zeros(math.prod(shape), values.dtype)
    begin = used = 0
    for mask in strips(bits, shape[-1]):
        places = np.flatnonzero(mask)
        dense[begin : begin + len(mask)][places] = values[used : used + len(places)]
        begin, used = begin + len(mask), used + len(places)
    return of_words(dense.reshape(tuple(shape)), compressed.dtype)


def matched(where: str, shape, bitmask, compressed) -> np.ndarray:
    """`checked`, with as many set bits as values. Raises UserError as `decode`."""
    bits = checked(where, shape, bitmask)
    found = int(np.bitwise_count(bits).sum(dtype=np.int64))
    if found != compressed.numel():
        raise UserError(
            f"{where}: {found} bits are set, but {compressed.numel()} values are stored; copy the checkpoint again"
        )
    return bits


def checked(where: str, shape, bitmask) -> np.ndarray:
    """uint8 [rows, bytes] of a bitmask, with all dimensions but the last as rows.

    Raises UserError if the bits have another type or shape than `shape` needs, or are set beyond the width.
    """
    if not shape or min(shape) < 0:
        raise UserError(f"{where}: its shape is recorded as {list(shape)}; copy the checkpoint again")
    expected = (*shape[:-1], -(-shape[-1] // 8))
    if bitmask.dtype != torch.uint8 or tuple(bitmask.shape) != expected:
        raise UserError(
            f"{where}: its bitmask is {bitmask.dtype} of {list(bitmask.shape)}, expected uint8 of {list(expected)} "
            f"for a weight of {list(shape)}; copy the checkpoint again"
        )
    bits = bitmask.numpy().reshape(math.prod(shape[:-1]), expected[-1])
    if shape[-1] % 8 and (bits[:, -1] >> shape[-1] % 8).any():
        raise UserError(
            f"{where}: its bitmask has bits beyond the width {shape[-1]}; copy the checkpoint again"
        )
    return bits


def strips(bits: np.ndarray, columns: int):
    """Iterator over flat bool masks of a few rows at a time, from uint8 [rows, bytes] in little bit order."""
    height = max(1, STRIP // (GROUP * max(columns, 1))) * GROUP
    for begin in range(0, len(bits), height):
        rows = np.unpackbits(bits[begin : begin + height], axis=1, count=columns, bitorder="little")
        yield rows.reshape(-1).view(bool)

"""`sparse-24-bitmask` of compressed-tensors: the two largest of every four weights, and a bit per weight.

A matrix P.weight [rows, columns] is replaced by these tensors, little-endian:

    P.shape        int64 [2, 1]: rows, columns
    P.bitmask      uint8 [rows, ceil(columns / 8)]: as in `sparse-bitmask`
    P.compressed   the weight's type [rows, columns / 2]: row-major

The bits mark the two largest of every four, always two: if fewer are nonzero, they mark stored zeros. So the topology
is the set of nonzero decoded values, not these bits. Source: compressed-tensors 0.9 to 0.14 (`Sparse24BitMaskTensor`);
0.15 dropped the format.
"""

import numpy as np

from sparse_continual.errors import UserError
from sparse_continual.models.formats import bitmask as plain

KEPT = 2


def decode(where: str, shape, bitmask, compressed):
    """The dense matrix of `shape` (two integers), called `where` in messages.

    Raises UserError as `bitmask.decode` does, and if a group of four does not have exactly two bits.
    """
    matched(where, shape, bitmask, compressed)
    return plain.decode(where, shape, bitmask, compressed)


def matched(where: str, shape, bitmask, compressed):
    """uint8 [rows, bytes] of the bitmask, checked against the values. Raises UserError as `decode`."""
    for mask in plain.strips(plain.checked(where, shape, bitmask), shape[-1]):
        # a group is four bytes of 0 or 1
        if len(mask) % plain.GROUP or (np.bitwise_count(mask.view(np.uint32)) != KEPT).any():
            raise UserError(
                f"{where}: its bitmask does not mark {KEPT} of every {plain.GROUP} weights; copy the checkpoint again"
            )
    return plain.matched(where, shape, bitmask, compressed)

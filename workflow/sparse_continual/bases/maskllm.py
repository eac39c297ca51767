"""MaskLLM's published masks: an .npz file of bits for the dense model on which they were learned.

    P.weight.mask    uint8 [ceil(weights / 8)]: the whole matrix in row-major order, bit-packed in numpy's default,
                     big order: weight i is bit 7 - i % 8 of byte i // 8

Kept weights do not change; the others become zero. Source: NVlabs/MaskLLM (arXiv 2409.17481), `tool_compress_mask.py`
and `eval_llama_ppl.py`, which make the same checks as here: at most two of every four neighbours are kept, and the kept
share is a half within 0.0001.

A matrix outside the decoder's blocks, such as the head, may have a mask of ones only: it stays dense.

Nothing in such a file is run: it is read without pickles. Limits: 2:4 masks.
"""

import math
import zipfile
import zlib
from contextlib import contextmanager

import numpy as np

from sparse_continual.errors import UserError
from sparse_continual.models.checkpoint import by
from sparse_continual.models.reader import DENSE, Checkpoint, rewrite

END = ".mask"
KEPT, OF = 2, 4  # kept weights per group of neighbours
SHORT = 1e-4  # accepted deficit of the kept share


def masks(file):
    """Iterator of (parameter name, uint8 bits as stored), one matrix in memory at a time.

    Raises UserError naming the file, and the entry if there is one: a file that is not a whole .npz, an entry that is
    not a flat array of bytes (such as a pickled object), or whose name is not that of a parameter's mask.
    """
    with _opened(file) as entries:
        for key in entries.files:
            yield _named(file, key), _bits(file, key, entries)


@contextmanager
def _opened(file):
    try:
        entries = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{file}: not a whole .npz file of masks ({error}); copy the file again") from None
    if not isinstance(entries, np.lib.npyio.NpzFile):
        raise UserError(f"{file}: holds only one array; expected an .npz file of masks")
    with entries:
        yield entries


def _named(file, key: str) -> str:
    if not key.endswith(END) or key == END:
        raise UserError(f"{file}: entry {key!r}, expected a parameter's name with {END} after it")
    return key.removesuffix(END)


def _bits(file, key: str, entries) -> np.ndarray:
    try:
        array = entries[key]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{file}: entry {key!r} cannot be read ({error}); expected bits, without pickled objects"
        ) from None
    if array.dtype != np.uint8 or array.ndim != 1:
        raise UserError(
            f"{file}: entry {key!r} is {array.dtype} of {list(array.shape)}, expected a flat uint8"
        )
    return array


def unpack(where: str, bits: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """bool[rows, columns] of one matrix's bits.

    Raises UserError naming `where` if the number of bits differs from that of the weights, if the last byte is not
    padded with zeros, or if the mask is not 2:4.
    """
    weights = math.prod(shape)
    if len(shape) != 2 or shape[1] % OF:
        raise UserError(
            f"{where}: the weight is {by(shape)}, expected a matrix with columns in groups of {OF}"
        )
    if len(bits) != -(-weights // 8):
        raise UserError(
            f"{where}: found {len(bits)} bytes of bits, expected {-(-weights // 8)} for a weight of {by(shape)}"
        )
    flat = np.unpackbits(bits)
    if flat[weights:].any():
        raise UserError(f"{where}: bits are set beyond the {weights} of a weight of {by(shape)}")
    mask = flat[:weights].view(bool)
    kept = np.bitwise_count(mask.view(np.uint32))  # a group is four bytes of 0 or 1
    if kept.max() > KEPT:
        raise UserError(f"{where}: keeps {kept.max()} of {OF} neighbours, expected at most {KEPT}")
    density = float(kept.mean()) / OF
    if density < KEPT / OF - SHORT:
        raise UserError(f"{where}: keeps {density:.5f} of the weights, expected {KEPT / OF}")
    return mask.reshape(shape)


def _is_whole(name: str, bits: np.ndarray, shape) -> bool:
    """Whether all bits of a matrix outside the decoder's blocks are set (names in blocks contain a number)."""
    weights = math.prod(shape)
    if any(word.isdigit() for word in name.split(".")) or len(bits) != -(-weights // 8):
        return False
    flat = np.unpackbits(bits)
    return bool(flat[:weights].all()) and not flat[weights:].any()


def apply_masks(base_folder, file, out) -> None:
    """Write the checkpoint in `base_folder` to the new folder `out`, with zeros where the masks of `file` are zero;
    `out` appears whole or not at all.

    Raises UserError if the masks do not fit the base (a missing parameter, one that is stored in another way, another
    shape), as `masks` and `unpack` do, and as `models.reader.decode` does.
    """
    import torch

    base = Checkpoint(base_folder)
    if base.format != DENSE:
        raise UserError(f"{base_folder}: is stored as {base.format}; expected the dense model of {file}")
    keys = {}
    for name, bits in masks(file):
        if name not in base.shapes:
            raise UserError(
                f"{file}: {name}: {base_folder} has no such parameter; expected the masks of this model"
            )
        if not _is_whole(name, bits, base.shapes[name]):
            unpack(f"{file}: {name}", bits, base.shapes[name])
            keys[name] = name + END
    if not keys:
        raise UserError(f"{file}: found no mask that removes a weight")
    with _opened(file) as entries:

        def masked(name, tensor):
            if name not in keys:
                return tensor
            mask = unpack(f"{file}: {name}", _bits(file, keys[name], entries), base.shapes[name])
            return tensor.masked_fill(torch.from_numpy(~mask), 0)

        rewrite(base_folder, out, masked)

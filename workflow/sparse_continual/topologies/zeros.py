"""The zeros of a weight matrix, counted: density, N:M, blocks, dead lines; and a comparison of two checkpoints' zeros.

A zero is w == 0, so -0.0 counts. A matrix is [outputs, inputs]: if a family stores it transposed (GPT-2's Conv1D), the
caller transposes it. Everything is counted on one bit per weight, made in strips of rows that fit the processor's
cache, so that counting keeps up with reading.
"""

import hashlib
import math

import numpy as np

from sparse_continual.errors import UserError
from sparse_continual.models.checkpoint import by
from sparse_continual.topologies.counts import parse_pattern
from sparse_continual.topologies.density import implies
from sparse_continual.topologies.file import count as ones
from sparse_continual.topologies.file import pack

GROUPS = (4, 8, 16, 32)  # M of N:M, tried in this order
CHANCE = 12  # report N:M only if random zeros would break it in at least this many groups
RARE = 0.1  # report N:M only if rows that all keep exactly N of M have at most this chance
STRIP = 1 << 18  # weights counted at a time
FEW = 64  # rows that suffice to show that most matrices are not N:M
LARGEST = 128  # side of the largest block looked for


def count(weight, declared=None) -> dict:
    """Count the zeros of one torch matrix [rows, columns] of any real type; declared: its declared N:M, of any M, or
    None.

    Returns {"rows", "columns", "nonzeros", "density", "pattern", "block", "dead_rows", "dead_columns",
    "negative_zeros", "not_finite"}:

    - pattern: "dense" (no zero at all), N:M, or "unstructured". N:M is reported for the smallest M of 4, 8, 16, 32
      for which every group of M neighbours in a row keeps exactly N, except in rows without a nonzero, and unless so
      few distinct rows do so by chance; so 1:2 is 2:4, and 2:4 is not called 4:8. If there is none, N:M is reported for
      the smallest M, and for it the smallest N < M, for which no group keeps more than N, as in a 2:4 matrix that lost
      further weights. Large M have this by chance (at density 0.5 no group of a few thousand keeps more than 28 of 32).
      So it is reported only if random zeros would give more than N in at least 12 groups. Zeros of a row are random
      over the columns that are not absent as a whole, and equal rows count once; otherwise absent columns would look
      like a pattern. M must divide the columns, at least twice. A `declared` N:M for which no group keeps more than N
      needs no such guard: it is reported unless the counted pattern implies it, so that a 2:4 that lost nearly all
      weights stays one;
    - block: "RxC", the largest powers of two up to 128 such that every R x C tile of the matrix is kept or absent as a
      whole; None for 1x1, and if all weights or none are kept;
    - dead_rows, dead_columns: lines without a nonzero;
    - negative_zeros: number of zeros that are -0.0;
    - not_finite: number of nonzeros that are infinite or NaN.

    A matrix without rows or columns is dense.
    """
    return described(packed(weight), *weight.shape, declared)


def described(zeros, rows: int, columns: int, declared=None) -> dict:
    """`count` of a matrix from `found`, the result of `packed` or `packed_in`."""
    bits, negative, not_finite = zeros
    weights = rows * columns
    per_row = np.bitwise_count(bits).sum(axis=1, dtype=np.int64)
    nonzeros = int(per_row.sum())
    mixed = 0 < nonzeros < weights
    pattern = pattern_of(bits, columns, per_row) if nonzeros < weights else "dense"
    if declared and nonzeros < weights and not implies(pattern, declared) and holds(bits, columns, declared):
        pattern = declared
    alive = np.unpackbits(np.bitwise_or.reduce(bits, axis=0), count=columns, bitorder="little")
    return {
        "rows": rows,
        "columns": columns,
        "nonzeros": nonzeros,
        "density": nonzeros / weights if weights else 1.0,
        "pattern": pattern,
        "block": _block(bits, columns) if mixed else None,
        "dead_rows": int((per_row == 0).sum()) if columns else 0,
        "dead_columns": columns - int(alive.sum()) if rows else 0,
        "negative_zeros": negative,
        "not_finite": not_finite,
    }


def packed(weight) -> tuple[np.ndarray, int, int]:
    """(uint8[rows, ceil(columns / 8)], number of zeros that are -0.0, number of weights that are not finite) of a torch
    matrix: bit b of byte j of a row says whether column 8 j + b is not zero."""
    rows, columns = weight.shape
    bits = np.empty((rows, -(-columns // 8)), np.uint8)
    negative, not_finite, begin = 0, 0, 0
    for words, minus, odd in _strips(weight):
        negative, not_finite = negative + minus, not_finite + odd
        bits[begin : begin + len(words)] = np.packbits(words != 0, axis=1, bitorder="little")
        begin += len(words)
    return bits, negative, not_finite


def packed_in(checkpoint, name: str) -> tuple[np.ndarray, int, int]:
    """`packed` of a parameter of an open `models.reader.Checkpoint`, with all dimensions but the last as rows. If the
    checkpoint stores real numbers with a bitmask, the bitmask is used, and nothing is decoded."""
    bits = checkpoint.bits(name)
    with checkpoint.rows(name) as rows:
        if bits is None:
            return packed(rows)
        if rows.dtype.is_floating_point:
            not_finite, whole = 0, True
            for words, _, odd in _strips(rows):
                not_finite, whole = not_finite + odd, whole and bool(words.all())
            if whole:  # otherwise some of the bits mark zeros
                return bits, 0, not_finite
    return packed(as_rows(checkpoint[name]))


def as_rows(tensor):
    """View [rows, columns] of a tensor: all its dimensions but the last as rows."""
    return tensor.reshape(math.prod(tensor.shape[:-1]), tensor.shape[-1] if tensor.ndim else 1)


def _strips(weight):
    """Iterator over strips of rows of a torch matrix: (words, number of -0.0, number of values that are not finite);
    the words are the bits of its numbers, for floats without the sign."""
    import torch

    from sparse_continual.models.formats.raw import to_words

    real, strip = weight.dtype.is_floating_point, max(1, STRIP // max(weight.shape[1], 1))
    if real:  # without their signs, floats are ordered like their words
        largest = to_words(
            torch.tensor([torch.finfo(weight.dtype).max], dtype=torch.float64).to(weight.dtype)
        )[0]
    for begin in range(0, len(weight), strip):
        words, negative, odd = to_words(weight[begin : begin + strip].contiguous()), 0, 0
        if real:
            sign = words.dtype.type(1 << (8 * words.itemsize - 1))
            negative = int(np.count_nonzero(words == sign))
            words = words & ~sign
            odd = int(np.count_nonzero(words > largest))
        yield words, negative, odd


def pattern_of(bits: np.ndarray, columns: int, per_row: np.ndarray) -> str:
    """ "N:M" or "unstructured" of packed bits, with the nonzeros of each row; see `count`."""
    if not per_row.any():
        return "unstructured"
    most, alive = {}, bits if per_row.all() else bits[per_row > 0]
    for of in GROUPS:
        if columns % of or columns < 2 * of or int(_kept(alive[:FEW], columns, of).max()) == of:
            continue
        kept = _kept(alive, columns, of)
        most[of] = int(kept.max())
        if int(kept.min()) == most[of] < of and _exact_by_chance(alive[:FEW], columns, most[of], of) < RARE:
            return f"{most[of]}:{of}"
    places = np.unpackbits(np.bitwise_or.reduce(bits, axis=0), count=columns, bitorder="little")
    for of, n in most.items():
        sizes = places.reshape(-1, of).sum(axis=1, dtype=np.int64)
        columns_are = n < of and (sizes == n).all()  # N:M as a whole
        if columns_are and _exact_by_chance(places[None], columns, n, of) < RARE:
            return f"{n}:{of}"
        if n < of and _by_chance(per_row, sizes, n) >= CHANCE:
            distinct = np.bitwise_count(np.unique(bits, axis=0)).sum(axis=1, dtype=np.int64)
            if len(distinct) == len(bits) or _by_chance(distinct, sizes, n) >= CHANCE:
                return f"{n}:{of}"
    return "unstructured"


def holds(bits: np.ndarray, columns: int, pattern: str) -> bool:
    """Whether no group of M neighbours in a row of packed bits keeps more than N, for any N:M; the rest of a row that M
    does not divide is a group too."""
    most, of = parse_pattern(pattern)
    if of in GROUPS and columns % of == 0:
        return int(_kept(bits, columns, of).max(initial=0)) <= most
    strip = max(1, STRIP // columns)
    for begin in range(0, len(bits), strip):
        exists = np.unpackbits(bits[begin : begin + strip], axis=1, count=columns, bitorder="little")
        if (np.add.reduceat(exists, np.arange(0, columns, of), axis=1, dtype=np.int64) > most).any():
            return False
    return True


def _kept(bits: np.ndarray, columns: int, of: int) -> np.ndarray:
    """Number of weights that each group of `of` neighbours keeps."""
    if of == 4:
        halves = np.stack([bits & 15, bits >> 4])
        if columns % 8:  # the last half byte lies beyond the width
            halves[1, :, -1] = halves[0, :, -1]
        return np.bitwise_count(halves)
    return np.bitwise_count(bits.view(f"u{of // 8}"))


def _exact_by_chance(bits: np.ndarray, columns: int, most: int, of: int) -> float:
    """Chance that each group of each distinct row keeps exactly `most` if each row's weights are placed at random; the
    groups of a row are treated as independent, except the last, which follows from the others."""
    distinct, total = len(np.unique(bits, axis=0)), most * columns // of
    chance = math.comb(of, most) * math.comb(columns - of, total - most) / math.comb(columns, total)
    return chance ** (distinct * (columns // of - 1))


def _by_chance(per_row: np.ndarray, sizes: np.ndarray, most: int) -> float:
    """Expected number of groups that keep more than `most` if each row's weights are placed at random in the available
    places, `sizes` of them in the groups of a row.

    The number kept in a group of s of S places is hypergeometric: P(k) = C(s, k) C(S - s, n - k) / C(S, n).
    """
    places = int(sizes.sum())
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, places + 1)))])

    def ways(above, below):
        return logs[above] - logs[below] - logs[above - below]

    kept, rows = np.unique(per_row, return_counts=True)
    expected = 0.0
    for size, groups in zip(*np.unique(sizes, return_counts=True), strict=True):
        for k in range(most + 1, size + 1):
            possible = (kept >= k) & (places - size >= kept - k)
            n = kept[possible]
            chance = np.exp(ways(size, k) + ways(places - size, n - k) - ways(places, n))
            expected += float((rows[possible] * chance).sum()) * groups
    return expected


def _block(bits: np.ndarray, columns: int) -> str | None:
    high, wide = _rows_alike(bits), _columns_alike(bits, columns)
    return None if high == wide == 1 else f"{high}x{wide}"


def _rows_alike(bits: np.ndarray) -> int:
    """Largest power of two such that the rows of each run of that length are equal."""
    size = 1
    while size < LARGEST and len(bits) % (2 * size) == 0:
        heads = bits[::size]  # first rows of runs whose rows are equal
        if not np.array_equal(heads[::2], heads[1::2]):
            break
        size *= 2
    return size


def _columns_alike(bits: np.ndarray, columns: int) -> int:
    """Largest power of two such that the columns of each run of that length are equal."""
    size = 1
    for firsts in (0b01010101, 0b00010001, 0b00000001):  # of runs of 2, 4 and 8 bits
        if columns % (2 * size) or ((bits ^ (bits >> size)) & firsts).any():
            return size
        size *= 2
    while size < LARGEST and columns % (2 * size) == 0:
        heads = bits[:, :: size // 8]
        if not np.array_equal(heads[:, ::2], heads[:, 1::2]):
            break
        size *= 2
    return size


def topology_hash(checkpoint, names) -> str:
    """Hex SHA-256 of the zeros of some matrices of an open `models.reader.Checkpoint`, matrix by matrix.

    Equal to `sha256` of a topology file of these `names` if exactly its absent weights are zero.
    """
    total = hashlib.sha256()
    for name in sorted(names):
        rows, columns = checkpoint.shapes[name]
        total.update(f"{name}\n{rows} {columns}\n".encode())
        total.update(flat(packed_in(checkpoint, name)[0], columns).tobytes())
    return total.hexdigest()


def flat(bits: np.ndarray, columns: int) -> np.ndarray:
    """Packed bits in the layout of the topology file: row-major, without gaps between rows."""
    if columns % 8 == 0:
        return bits.reshape(-1)
    return pack(np.unpackbits(bits, axis=1, count=columns, bitorder="little"))


def turned(bits: np.ndarray, columns: int) -> np.ndarray:
    """Packed bits of the transposed matrix."""
    return np.packbits(
        np.unpackbits(bits, axis=1, count=columns, bitorder="little").T, axis=1, bitorder="little"
    )


def compare(first, second, names) -> list[dict]:
    """One row per matrix of two open `models.reader.Checkpoint`s: {"matrix", "weights", "both", "only_first",
    "only_second"}: numbers of weights that are nonzero in both, or in one alone.

    Raises UserError naming a matrix of `names` that one of them lacks, or that differs in shape.
    """
    rows = []
    for name in names:
        for one in (first, second):
            if name not in one.shapes:
                raise UserError(f"{one.folder}: no matrix {name!r}, which the other checkpoint has")
        if first.shapes[name] != second.shapes[name]:
            shapes = [by(one.shapes[name]) for one in (first, second)]
            raise UserError(
                f"{second.folder}: {name} is {shapes[1]}, in {first.folder} it is {shapes[0]}; expected two "
                "checkpoints of one shape"
            )
        one, other = (packed_in(checkpoint, name)[0] for checkpoint in (first, second))
        both = ones(one & other)
        row = {"matrix": name, "weights": math.prod(first.shapes[name]), "both": both}
        rows.append(row | {"only_first": ones(one) - both, "only_second": ones(other) - both})
    return rows


def relation(rows: list[dict]) -> dict:
    """The totals of `compare`, and the relation that they show.

    Returns {"weights", "both", "only_first", "only_second", "hamming": weights in which the two differ, "jaccard":
    weights in both over weights in either, 1 where neither has any, "relation": "same", "first within second",
    "second within first", or "different"}. A checkpoint is within another if the other has every weight that it has.
    """
    keys = ("weights", "both", "only_first", "only_second")
    total = {key: sum(row[key] for row in rows) for key in keys}
    hamming = total["only_first"] + total["only_second"]
    either = hamming + total["both"]
    words = {
        (False, False): "same",
        (False, True): "first within second",
        (True, False): "second within first",
    }
    one, other = total["only_first"] > 0, total["only_second"] > 0
    return total | {
        "hamming": hamming,
        "jaccard": total["both"] / either if either else 1.0,
        "relation": words.get((one, other), "different"),
    }

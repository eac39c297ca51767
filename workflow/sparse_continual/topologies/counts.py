"""How many weights each matrix keeps, from shapes alone: exact integers, known before there is a model.

N:M keeps N of M consecutive inputs of one output (a row). Counts never come from thresholds: they are distributed by
largest remainder, so that they sum to the wanted total, and the counted nonzeros of a topology must equal them. Pure
Python: the planner imports this.
"""

import re
from dataclasses import dataclass, field
from fractions import Fraction

from sparse_continual.errors import UserError


@dataclass(frozen=True)
class Count:
    """How many weights of one matrix are kept.

    kept: the exact number; under N:M, `groups` = (N, M) says where. reference: None, or the matrix's sparsity, to be
    rounded as the method's authors round it (`kept` is then missed by a few). existing: None, or a bool tensor [rows,
    columns] of the weights that can be kept, if the matrix lacks some already (`topologies.existing`): then `kept` is
    at most their number, and N:M keeps min(N, existing) of a group.
    """

    kept: int
    groups: tuple[int, int] | None = None
    reference: float | None = None
    existing: object = field(default=None, compare=False, repr=False)


def matrices(shape: dict) -> dict[str, tuple[int, int]]:
    """Name -> (rows = outputs, columns = inputs) of a model's block linears, in model order.

    `shape` holds `counted`, if they were counted (`models.shape`), or a Llama's hidden_size, intermediate_size,
    layers, heads, kv_heads, and head_size if it is not hidden_size / heads.
    """
    if shape.get("counted"):
        return {name: (rows, columns) for name, (rows, columns) in shape["counted"]["matrices"].items()}
    hidden, wide = shape["hidden_size"], shape["intermediate_size"]
    head = shape.get("head_size") or hidden // shape["heads"]
    queries, keys = head * shape["heads"], head * shape["kv_heads"]
    sizes = {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "mlp.gate_proj": (wide, hidden),
        "mlp.up_proj": (wide, hidden),
        "mlp.down_proj": (hidden, wide),
    }
    layers = range(shape["layers"])
    return {f"model.layers.{n}.{module}.weight": size for n in layers for module, size in sizes.items()}


def parse_pattern(pattern: str) -> tuple[int, int] | None:
    """(N, M) of a pattern "N:M", N kept of M; None for "dense", "unstructured" and "structured".

    Raises UserError for anything else, and unless 1 <= N < M.
    """
    if pattern in ("dense", "unstructured", "structured"):
        return None
    match = re.fullmatch(r"([1-9][0-9]*):([1-9][0-9]*)", str(pattern))
    if not match or int(match[1]) >= int(match[2]):
        raise UserError(
            f"pattern {pattern!r}: expected 'unstructured', 'structured', or 'N:M' with N kept of M consecutive inputs "
            "and 1 <= N < M, in quotes, for example '2:4'"
        )
    return int(match[1]), int(match[2])


def spread(total: int, sizes: list[int]) -> list[int]:
    """`total` distributed in proportion to `sizes` by largest remainder (ties go to the first).

    The shares are integers, add up to `total`, and none exceeds its size when total <= sum(sizes).
    """
    whole = sum(sizes)
    shares = [total * size // whole for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda i: -(total * sizes[i] % whole))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares


def kept_total(sizes: dict[str, tuple[int, int]], pattern: str, sparsity=None) -> int:
    """Number of kept weights of all matrices of `sizes` (name -> (rows, columns)).

    dense: all. N:M: N of every M; `sparsity` may be omitted and must not contradict N:M. unstructured: round((1 -
    sparsity) * all weights); a sparsity counts as its decimal text: 0.7 is 7/10.

    Raises UserError naming the matrix whose columns M does not divide, and for a sparsity that is missing,
    contradicts the pattern, or is not in [0, 1).
    """
    if not sizes:
        raise UserError("nothing to prune: the model has no linear layers inside decoder blocks")
    weights = sum(rows * columns for rows, columns in sizes.values())
    groups = parse_pattern(pattern)
    if groups:
        kept, of = groups
        if sparsity is not None and not abs(sparsity - (1 - kept / of)) <= 1e-9:
            raise UserError(
                f"sparsity {sparsity}: pattern {pattern} has sparsity {1 - kept / of:g}; remove `sparsity`"
            )
        for name, (_, columns) in sizes.items():
            if columns % of:
                raise UserError(
                    f"{name}: pattern {pattern} needs rows that {of} divides, found {columns} inputs per "
                    "row; choose another width or another pattern"
                )
        return weights // of * kept
    if pattern == "dense":
        return weights
    if sparsity is None or not 0 <= sparsity < 1:
        raise UserError(f"sparsity {sparsity}: pattern unstructured needs a sparsity with 0 <= sparsity < 1")
    return round((1 - Fraction(str(sparsity))) * weights)


def fit(shares: list[int], room: list[int]) -> list[int]:
    """`shares` limited to `room`; the excess goes to the others.

    The others take it in proportion to their shares, or to their room if no other has a share. The total stays the
    same and must be at most sum(room). Shares within their room are returned unchanged.
    """
    fitted, left, places = list(shares), sum(shares), range(len(shares))
    while places:
        sizes = [shares[place] for place in places]
        if not any(sizes):
            sizes = [room[place] for place in places]
        if not any(sizes):
            break
        full = set()
        for place, share in zip(places, spread(left, sizes), strict=True):
            fitted[place] = min(share, room[place])
            if share > room[place]:
                full.add(place)
        if not full:
            break
        left -= sum(room[place] for place in full)
        places = [place for place in places if place not in full]
    return fitted


def refuse_empty(counts: dict[str, int], allocation: str, room: dict | None = None) -> dict[str, int]:
    """`counts` (name -> kept weights). Raises UserError naming a matrix that would become empty, except matrices that
    are empty already (`room`: name -> existing weights; all by default).
    """
    for name, count in counts.items():
        if not count and (room is None or room[name]):
            raise UserError(
                f"{name}: allocation {allocation} would empty this matrix; choose a smaller sparsity or "
                "another allocation"
            )
    return counts

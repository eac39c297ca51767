"""Zeros are counted as loops over single weights count them, N:M and blocks are recognised and not seen by chance."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sparse_continual.errors import UserError
from sparse_continual.models.reader import Checkpoint
from sparse_continual.topologies import zeros
from sparse_continual.topologies.density import implies
from sparse_continual.topologies.topology import Topology
from sparse_continual.topologies.zeros import compare, count, relation, topology_hash

TYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int8]


def masked(mask, dtype=torch.float32, seed=0):
    """A weight matrix of values 1 to 3 of both signs where `mask` is set; half of its zeros are -0.0."""
    rng = np.random.default_rng(seed)
    mask = np.asarray(mask, bool)
    values = rng.integers(1, 4, mask.shape) * rng.choice([-1, 1], mask.shape) * mask.astype(float)
    values[~mask] = rng.choice([0.0, -0.0], mask.shape)[~mask]
    return torch.tensor(values).to(dtype)


def grouped(rows, columns, kept, of, seed=0):
    """bool mask with exactly `kept` of every `of` neighbours at random places."""
    rng = np.random.default_rng(seed)
    order = rng.random((rows, columns // of, of)).argsort(axis=2)
    return (order < kept).reshape(rows, columns)


def counted_by_loops(weight):
    rows, columns = weight.shape
    values = weight.double().tolist()
    zeros = [value for row in values for value in row if value == 0]
    return {
        "rows": rows,
        "columns": columns,
        "nonzeros": rows * columns - len(zeros),
        "density": 1 - len(zeros) / (rows * columns),
        "dead_rows": sum(all(value == 0 for value in row) for row in values),
        "dead_columns": sum(all(row[c] == 0 for row in values) for c in range(columns)),
        "negative_zeros": sum(math.copysign(1, value) < 0 for value in zeros),
    }


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 7), (3, 64), (33, 13), (600, 500)])
def test_counts_equal_loops(dtype, rows, columns, monkeypatch):
    monkeypatch.setattr(zeros, "STRIP", 1 << 14)  # the largest takes several strips, the last one short
    rng = np.random.default_rng(rows * columns)
    mask = rng.random((rows, columns)) < 0.3
    mask[rng.random(rows) < 0.2] = False
    mask[:, rng.random(columns) < 0.2] = False
    weight = masked(mask, dtype)
    found, expected = count(weight), counted_by_loops(weight)
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    assert set(found) == {*expected, "pattern", "block", "not_finite"}


def test_a_transposed_view_is_counted_as_it_is_seen():
    weight = masked(grouped(64, 32, 2, 4), torch.bfloat16).T
    assert count(weight.T)["pattern"] == "2:4" and count(weight)["pattern"] == "unstructured"
    assert (count(weight)["rows"], count(weight)["columns"]) == (32, 64)


def test_odd_values_are_not_zero():
    weight = torch.tensor([[float("nan"), float("inf"), 5e-324, 0.0, -0.0, -5e-324]], dtype=torch.float64)
    assert count(weight)["nonzeros"] == 4 and count(weight)["negative_zeros"] == 1


@pytest.mark.parametrize("of", [4, 8, 16, 32])
def test_every_n_of_m_is_recognised(of):
    """Exactly N of M at random places is called that, and nothing finer that holds as well: in 1:8, at most 1:4."""
    for kept in range(1, of):
        assert count(masked(grouped(96, 192, kept, of, kept)))["pattern"] == f"{kept}:{of}"


def test_pattern_in_a_finer_and_a_coarser_one():
    assert count(masked(np.tile([1, 0], (8, 16))))["pattern"] == "2:4"  # 1:2
    mask = grouped(64, 64, 2, 4)
    mask[0, :8] = [1, 1, 1, 0, 0, 0, 0, 1]  # one group of four keeps three, every eight keep four
    assert count(masked(mask))["pattern"] == "4:8"
    mask[0, 8:16] = 1
    mask[0, 16:24] = 0  # every 32 still keep sixteen
    assert count(masked(mask))["pattern"] == "16:32"
    mask[0, 63] = ~mask[0, 63]
    assert count(masked(mask))["pattern"] != "16:32"


@pytest.mark.parametrize("columns", [4, 6, 28, 36])
def test_widths_that_only_some_m_divide(columns):
    found = count(masked(grouped(40, columns, 1, 2)))["pattern"]
    assert found == ("unstructured" if columns % 4 or columns == 4 else "2:4")


def test_dense_and_empty():
    assert count(torch.ones(8, 32))["pattern"] == "dense"
    weight = torch.ones(8, 32)
    weight[3, 3] = 0
    assert count(weight)["pattern"] == "unstructured"
    empty = count(torch.zeros(8, 32))
    assert (empty["pattern"], empty["block"], empty["dead_rows"], empty["density"]) == (
        "unstructured",
        None,
        8,
        0,
    )


def test_a_pattern_that_lost_more_weights_stays_one():
    """2:4 of which a third is zero besides, with dead rows: no group keeps more than two of four."""
    mask = grouped(128, 128, 2, 4) & (np.random.default_rng(1).random((128, 128)) < 0.66)
    mask[:20] = False
    assert count(masked(mask))["pattern"] == "2:4"


@pytest.mark.parametrize("density", [0.01, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("size", [(64, 64), (176, 64), (64, 256), (512, 512)])
@pytest.mark.parametrize("per_row", [True, False])
def test_chance_is_not_called_a_pattern(density, size, per_row):
    """Random zeros, as many in each row or over the whole: no N:M in ten matrices of each kind."""
    for seed in range(10):
        scores = np.random.default_rng(seed).random(size)
        kept = np.sort(scores, axis=1)[:, [round(density * size[1])]] if per_row else density
        assert count(masked(scores < kept, seed=seed))["pattern"] == "unstructured"


def test_chance_equals_enumeration():
    """Expected groups with more than N, against all ways to place n weights in a row, one by one."""
    columns, of = 12, 4
    for rows in ([3], [0, 5, 5, 12], [7, 2]):
        for most in (1, 2, 3):
            expected = Fraction(0)
            for n in rows:
                ways = [row for row in product((0, 1), repeat=columns) if sum(row) == n]
                over = sum(sum(row[g : g + of]) > most for row in ways for g in range(0, columns, of))
                expected += Fraction(over, len(ways))
            assert zeros._by_chance(np.array(rows), np.full(3, of), most) == pytest.approx(float(expected))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_absent_columns_are_not_called_a_pattern(seed, share):
    """All rows lack the same columns, at random; also when single weights are absent besides."""
    rng = np.random.default_rng(seed)
    mask = np.tile(rng.random(512) < share, (96, 1))
    assert count(masked(mask))["pattern"] == "unstructured"
    assert count(masked(mask & (rng.random(mask.shape) < 0.95)))["pattern"] == "unstructured"
    whole = np.tile([1, 0, 0, 1], (96, 128)) & (rng.random(mask.shape) < 0.95)
    assert count(masked(whole))["pattern"] == "2:4"  # the columns that are left are
    halves = np.tile(grouped(1, 64, round(32 * share), 32, seed), (96, 1))  # as many in both, by chance
    assert count(masked(halves))["pattern"] != f"{round(32 * share)}:32"


def most_by_loops(mask, of):
    return max(int(row[begin : begin + of].sum()) for row in mask for begin in range(0, len(row), of))


@pytest.mark.parametrize("of", [2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 300])
@pytest.mark.parametrize("columns", [13, 48, 96])
def test_a_pattern_that_is_asked_for_is_counted_directly(of, columns, monkeypatch):
    """At most N of M, of any M, those at the end of a row that are fewer included."""
    monkeypatch.setattr(zeros, "STRIP", columns)
    mask = np.random.default_rng(of * columns).random((40, columns)) < 0.3
    most = most_by_loops(mask, of)
    bits = zeros.packed(masked(mask))[0]
    assert zeros.holds(bits, columns, f"{most}:{max(of, most + 1)}") or most >= of
    assert not zeros.holds(bits, columns, f"{most - 1}:{of}")


@pytest.mark.parametrize("columns", [1, 8, 13])
def test_turned_bits_are_those_of_the_transposed_matrix(columns):
    weight = masked(np.random.default_rng(columns).random((21, columns)) < 0.4)
    assert (zeros.turned(zeros.packed(weight)[0], columns) == zeros.packed(weight.T)[0]).all()


@pytest.mark.parametrize(("kept", "of"), [(1, 2), (1, 3), (2, 6), (3, 6), (4, 12), (12, 24)])
def test_a_declared_pattern_of_another_m(kept, of):
    weight = masked(grouped(64, 48, kept, of))
    assert count(weight, f"{kept}:{of}")["pattern"] == f"{kept}:{of}"
    weight[5, :of] = 1
    assert count(weight, f"{kept}:{of}") == count(weight)


@pytest.mark.parametrize("left", [0.5, 0.1, 0.01])
def test_a_thin_pattern_that_is_declared(left):
    mask = grouped(64, 64, 2, 4) & (np.random.default_rng(1).random((64, 64)) < left)
    found = count(masked(mask), "2:4")["pattern"]
    assert implies(found, "2:4")
    assert count(torch.ones(64, 64), "2:4")["pattern"] == "dense"


@pytest.mark.parametrize("size", [(0, 4), (4, 0), (0, 0)])
def test_matrices_without_rows_or_columns(size):
    found = count(torch.zeros(size), "2:4")
    assert (found["pattern"], found["density"], found["dead_rows"], found["dead_columns"]) == (
        "dense",
        1,
        0,
        0,
    )


@pytest.mark.parametrize("dtype", [*TYPES[:5], torch.float8_e5m2])
def test_weights_that_are_no_finite_numbers(dtype):
    values = [float("nan"), -float("nan"), 0.0, -0.0, 1.0, -torch.finfo(dtype).max]
    assert count(torch.tensor([values], dtype=torch.float64).to(dtype))["not_finite"] == 2
    if dtype != torch.float8_e4m3fn:  # has no infinity
        infinite = torch.tensor([[float("inf"), -float("inf"), 1.0]]).to(dtype)
        assert count(infinite)["not_finite"] == 2


def block_by_loops(mask):
    """Largest powers of two: rows and columns apart, each run compared line by line."""

    def alike(lines):
        size = 1
        while size < 128 and len(lines) % (2 * size) == 0:
            wider = 2 * size
            if any((lines[n] != lines[n - n % wider]).any() for n in range(len(lines))):
                break
            size = wider
        return size

    high, wide = alike(mask), alike(mask.T)
    return None if (high, wide) == (1, 1) else f"{high}x{wide}"


@pytest.mark.parametrize("high", [1, 2, 4, 64, 256])
@pytest.mark.parametrize("wide", [1, 2, 4, 8, 16, 32, 256])
def test_blocks(high, wide):
    rng = np.random.default_rng(high * wide)
    mask = np.kron(rng.random((3 * 256 // high, 2 * 256 // wide)) < 0.5, np.ones((high, wide), bool))
    expected = block_by_loops(mask)
    assert count(masked(mask))["block"] == expected
    if min(high, wide) < 256:  # six or two coarse blocks may be alike by chance
        assert expected == (None if high == wide == 1 else f"{min(high, 128)}x{min(wide, 128)}")
    mask[-1, -1] = ~mask[-1, -1]
    assert count(masked(mask))["block"] is None


@pytest.mark.parametrize("columns", [2, 6, 10, 12, 20, 24, 36, 40])
def test_blocks_of_widths_that_are_no_whole_bytes(columns):
    rng = np.random.default_rng(columns)
    for wide in (2, 4):
        if columns % wide == 0:
            mask = np.kron(rng.random((24, columns // wide)) < 0.5, np.ones((1, wide), bool))
            assert count(masked(mask))["block"] == block_by_loops(mask)


def checkpoint(folder, masks, dtype=torch.bfloat16):
    folder.mkdir()
    tensors = {name: masked(mask, dtype, seed) for seed, (name, mask) in enumerate(masks.items())}
    save_file(tensors, folder / "model.safetensors")
    return Checkpoint(folder)


def some_masks(seed=0):
    rng = np.random.default_rng(seed)
    sizes = {"b.weight": (6, 16), "a.weight": (5, 13), "c.weight": (3, 3)}
    return {name: rng.random(size) < 0.5 for name, size in sizes.items()}


def test_hash_is_that_of_the_topology_file(tmp_path):
    masks = some_masks()
    opened = checkpoint(tmp_path / "one", masks)
    topology = Topology({name: torch.tensor(mask) for name, mask in masks.items()}, "unstructured", "made")
    assert topology_hash(opened, masks) == topology.sha256
    assert topology_hash(opened, ["a.weight", "b.weight"]) != topology.sha256


def test_two_checkpoints(tmp_path):
    one, two = some_masks(), some_masks()
    for name in two:
        two[name] = two[name] & (np.random.default_rng(7).random(two[name].shape) < 0.5)
    first, second = checkpoint(tmp_path / "one", one), checkpoint(tmp_path / "two", two)
    rows = compare(first, second, one)
    for row in rows:
        a, b = one[row["matrix"]].ravel().tolist(), two[row["matrix"]].ravel().tolist()
        pairs = list(zip(a, b, strict=True))
        assert row == {
            "matrix": row["matrix"],
            "weights": len(pairs),
            "both": pairs.count((True, True)),
            "only_first": pairs.count((True, False)),
            "only_second": pairs.count((False, True)),
        }
    total = relation(rows)
    assert total["relation"] == "second within first" and total["only_second"] == 0
    assert total["hamming"] == sum((one[name] ^ two[name]).sum() for name in one)
    assert total["jaccard"] == pytest.approx(
        sum(m.sum() for m in two.values()) / sum(m.sum() for m in one.values())
    )
    assert relation(compare(second, first, one))["relation"] == "first within second"
    assert relation(compare(first, first, one)) | {"weights": 0, "both": 0} == {
        "weights": 0,
        "both": 0,
        "only_first": 0,
        "only_second": 0,
        "hamming": 0,
        "jaccard": 1.0,
        "relation": "same",
    }
    two["a.weight"][0] = True
    third = checkpoint(tmp_path / "three", two)
    assert relation(compare(first, third, one))["relation"] == "different"


def test_checkpoints_that_do_not_compare(tmp_path):
    masks = some_masks()
    first = checkpoint(tmp_path / "one", masks)
    second = checkpoint(
        tmp_path / "two", {"a.weight": masks["a.weight"][:, 1:], "b.weight": masks["b.weight"]}
    )
    with pytest.raises(UserError, match="two: a.weight is 5 x 12, in .*one it is 5 x 13"):
        compare(first, second, ["a.weight"])
    with pytest.raises(UserError, match="two: no matrix 'c.weight'"):
        compare(first, second, ["c.weight"])

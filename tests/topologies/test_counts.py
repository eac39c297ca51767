"""Counts are exact whatever the shapes, and mistakes name the matrix."""

import random

import pytest

from sparse_continual.errors import UserError
from sparse_continual.pruning.allocations import uniform
from sparse_continual.topologies.counts import kept_total, matrices, parse_pattern, refuse_empty, spread


def test_names_and_sizes_are_those_of_a_real_llama(llama, shape):
    from sparse_continual.models.load import prunable

    found = {name: tuple(linear.weight.shape) for name, linear in prunable(llama()).items()}
    assert list(matrices(shape).items()) == list(found.items())


def test_head_size_of_its_own(llama, shape):
    from sparse_continual.models.load import prunable

    found = {name: tuple(linear.weight.shape) for name, linear in prunable(llama(head_dim=12)).items()}
    assert matrices(shape | {"head_size": 12}) == found


def test_spread_adds_up_and_stays_within_one_of_the_share():
    draw = random.Random(0)
    for _ in range(300):
        sizes = [draw.randint(1, 400) for _ in range(draw.randint(1, 12))]
        total = draw.randint(0, sum(sizes))
        shares = spread(total, sizes)
        assert sum(shares) == total
        for share, size in zip(shares, sizes, strict=True):
            assert abs(share - total * size / sum(sizes)) < 1 and 0 <= share <= size


def test_spread_gives_the_largest_remainder_first_and_ties_by_index():
    assert spread(5, [1, 1, 1]) == [2, 2, 1]
    assert spread(1, [2, 3]) == [0, 1]


def test_unstructured_counts_add_up_to_the_rounded_target(shape):
    sizes = matrices(shape)
    total = sum(rows * columns for rows, columns in sizes.values())
    for sparsity in (0, 0.1, 0.3, 0.5, 0.7, 0.77, 0.9, 0.995):
        counts = uniform.kept(sizes, kept_total(sizes, "unstructured", sparsity))
        assert list(counts) == list(sizes)
        assert sum(counts.values()) == round((1 - sparsity) * total)


def test_n_of_m_counts(shape):
    sizes = matrices(shape)
    total = kept_total(sizes, "1:4")
    counts = uniform.kept(sizes, total)
    assert counts["model.layers.0.self_attn.q_proj.weight"] == 32 * 32 // 4
    assert kept_total(sizes, "1:4", 0.75) == total
    assert kept_total({"a": (3, 8)}, "dense") == 24


@pytest.mark.parametrize(
    ("sizes", "pattern", "sparsity", "words"),
    [
        ({"layers.0.down_proj": (64, 172)}, "4:8", None, "layers.0.down_proj.*8 divides, found 172"),
        ({"a": (4, 4)}, "2:4", 0.7, "sparsity 0.7.*0.5"),
        ({"a": (4, 4)}, "unstructured", None, "needs a sparsity"),
        ({"a": (4, 4)}, "unstructured", 1, "sparsity 1"),
        ({}, "2:4", None, "no linear layers"),
    ],
)
def test_mistakes(sizes, pattern, sparsity, words):
    with pytest.raises(UserError, match=words):
        kept_total(sizes, pattern, sparsity)


def test_a_matrix_that_would_keep_no_weight_is_refused():
    sizes = {"a": (400, 400), "tiny": (1, 2)}
    counts = uniform.kept(sizes, kept_total(sizes, "unstructured", 0.9))
    with pytest.raises(UserError, match="tiny.*would empty this matrix"):
        refuse_empty(counts, "uniform")


@pytest.mark.parametrize("pattern", ["4:4", "4:2", "0:4", "2 of 4", 124, ""])
def test_malformed_patterns(pattern):
    with pytest.raises(UserError, match="pattern"):
        parse_pattern(pattern)

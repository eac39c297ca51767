"""The search for matched controls: the worked table, and refusals."""

import pytest

from sparse_continual.budgets.shapes import ASPECT, TOLERANCE, control
from sparse_continual.errors import UserError
from sparse_continual.training.arithmetic import Shape, forward_flops, parameters

WIDE = Shape(256, 688, 4, 8, 8, 1024)
NARROW = Shape(128, 344, 4, 4, 4, 512)
LLAMA_8B = Shape(4096, 14336, 32, 32, 8, 128256, tied=False)


@pytest.mark.parametrize(
    ("parent", "on", "expected", "got", "percent", "aspect", "total"),
    [
        (WIDE, "nonzeros", (192, 432, 6, 6), 1_585_152, 0.26, 2.25, 1_783_488),
        (WIDE, "flops", (192, 488, 6, 6), 4_214_784, 0.10, 2.54, 1_912_512),
        (NARROW, "nonzeros", (96, 216, 3, 3), 396_288, 0.26, 2.25, 446_304),
        (NARROW, "flops", (96, 256, 3, 3), 1_179_648, -0.35, 2.67, 492_384),
        (LLAMA_8B, "nonzeros", (3072, 9344, 24, 6), 3_510_632_448, 0.60, 3.04, None),
    ],
)
def test_worked_table(parent, on, expected, got, percent, aspect, total):
    found = control(parent, parent.prunable // 2, on, tokens=128)
    shape = found.shape
    assert (shape.hidden_size, shape.intermediate_size, shape.heads, shape.kv_heads) == expected
    assert shape.layers == parent.layers and shape.head == parent.head and shape.tied == parent.tied
    assert found.got == got and round(100 * found.error, 2) == percent and round(shape.aspect, 2) == aspect
    assert total is None or parameters(shape)["total"] == total


def test_the_default_base_is_matched_exactly():
    parent = Shape(48, 128, 4, 4, 4, 400)
    found = control(parent, parent.prunable // 2, "nonzeros")
    assert (found.shape.hidden_size, found.shape.intermediate_size, found.error) == (36, 80, 0)


def test_flops_count_the_head_where_logits_are_computed():
    parent = Shape(48, 128, 4, 4, 4, 4000)
    target = forward_flops(parent, 12, parent.prunable // 2, 0.25)["total"]
    found = control(parent, parent.prunable // 2, "flops", 12, 0.25)
    assert abs(forward_flops(found.shape, 12, head=0.25)["total"] / target - 1) <= TOLERANCE


@pytest.mark.parametrize("density", [0.3, 0.4, 0.5, 0.6, 0.75])
def test_found_controls_are_the_best_of_all_shapes(density):
    """Against every (heads, intermediate_size), tried one by one."""
    from math import log

    nonzeros = round(density * WIDE.prunable)
    best = None
    for heads in range(1, 9):
        for wide in range(4, 1400, 4):
            shape = Shape(32 * heads, wide, 4, heads, heads, 1024)
            error = abs(shape.prunable / nonzeros - 1)
            skew = abs(log(shape.aspect / WIDE.aspect))
            if error <= TOLERANCE and skew <= ASPECT:
                key = (error / 0.01 + skew / 0.1, -shape.hidden_size, -wide)
                best = min(best or (key, shape), (key, shape), key=lambda pair: pair[0])
    assert control(WIDE, nonzeros, "nonzeros").shape == best[1]


def test_depth_gives_way_only_when_nothing_else_does():
    parent = Shape(64, 172, 6, 1, 1, 512)
    found = control(parent, round(0.72 * parent.prunable), "nonzeros")
    assert found.shape.layers == 5 and found.accepted
    assert control(parent, parent.prunable, "nonzeros").shape == parent


def test_key_value_heads_take_the_nearest_divisor_when_the_ratio_cannot_stay():
    found = control(Shape(64, 172, 4, 4, 1, 512), Shape(48, 128, 4, 3, 1, 512).prunable, "nonzeros").shape
    assert (found.heads, found.kv_heads) == (3, 1)


def test_refusal_shows_the_three_best():
    with pytest.raises(UserError) as refused:
        control(Shape(32, 64, 2, 1, 1, 100), 3000, "nonzeros")
    message = str(refused.value)
    assert "no dense control matches 3,000 nonzeros within 1 %" in message
    shown = message.split("the three best: ")[1]
    assert shown.count("hidden_size") == shown.count("mismatch") == shown.count("aspect") == 3


def test_a_skewed_shape_is_refused_although_it_matches():
    """One head: only intermediate_size can shrink, and at half the weights its aspect is far off."""
    parent = Shape(32, 96, 1, 1, 1, 100)
    with pytest.raises(UserError, match=r"mismatch \+0.00 %, aspect -0.98"):
        control(parent, 4 * 32 * 32 + 3 * 32 * 36, "nonzeros")


def test_unknown_quantity():
    with pytest.raises(UserError, match="'nonzeros' or 'flops'"):
        control(WIDE, 100, "speed")

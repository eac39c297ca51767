"""Parameters, FLOPs and bytes against published models, torch's counter and numbers done by hand."""

from dataclasses import replace

import pytest

from sparse_continual.training.arithmetic import (
    Shape,
    checkpoint_bytes,
    ends,
    forward_flops,
    head_share,
    lora_training_flops,
    lora_values,
    masked_lora_training_flops,
    optimizer_bytes,
    parameters,
    training_flops,
)

LLAMA_8B = Shape(4096, 14336, 32, 32, 8, 128256, tied=False)
PUBLISHED = {
    "Llama-3.1-8B": (LLAMA_8B, 6979321856, 525336576, 8030261248, 15.277752320, 8.298430464),
    "Llama-2-7B": (
        Shape(4096, 11008, 32, 32, 32, 32000, tied=False),
        6476005376, 131072000, 6738415616, 13.482590208, 7.006584832,
    ),
    "Mistral-7B v0.1": (
        Shape(4096, 14336, 32, 32, 8, 32000, tied=False),
        6979321856, 131072000, 7241732096, 14.489223168, 7.509901312,
    ),
    "phi-2": (
        Shape(2560, 10240, 32, 32, 32, 51200, tied=False, family="phi"),
        2516582400, 131072000, 2779683840, 5.463080960, 2.946498560,
    ),
    "Yi-34B": (
        Shape(7168, 20480, 60, 56, 8, 64000, tied=False),
        33470545920, 458752000, 34388917248, 68.739399680, 35.268853760,
    ),
    "TinyLlama": (
        Shape(2048, 5632, 22, 32, 4, 32000, tied=False),
        968884224, 65536000, 1100048384, 2.161115136, 1.192230912,
    ),
}  # fmt: skip


def billions(value):
    return round(value / 1e9, 9)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models(name):
    shape, prunable, embedding, total, dense, sparse = PUBLISHED[name]
    counts = parameters(shape)
    assert (counts["prunable"], counts["embedding"], counts["head"]) == (prunable, embedding, embedding)
    assert counts["total"] == total and ends(shape) == total - prunable
    assert billions(forward_flops(shape, 512)["total"]) == dense
    assert billions(forward_flops(shape, 512, prunable // 2)["total"]) == sparse


def test_llama_8b_in_training():
    half = LLAMA_8B.prunable // 2
    assert billions(forward_flops(LLAMA_8B, 2048)["total"]) == 16.083058688
    assert billions(forward_flops(LLAMA_8B, 2048, half)["total"]) == 9.103736832
    assert billions(training_flops(LLAMA_8B, 512)) == 45.833256960
    assert billions(training_flops(LLAMA_8B, 512, half)) == 24.895291392
    assert lora_values(LLAMA_8B, 16) == 41_943_040
    first = 2 * 4096 * 128 * (32 + 2 * 8) + 3 * 2 * 16 * 4096  # what layer 0 does not compute
    assert round((lora_training_flops(LLAMA_8B, 512, 16) + first) / 1e9, 2) == 31.08


def test_parts_by_hand():
    shape = Shape(8, 12, 2, 2, 1, 10)  # head size 4: q 8x8, k and v 4x8, o 8x8, MLP 3 x 12x8
    block = 64 + 32 + 32 + 64 + 3 * 96
    assert parameters(shape) == {
        "prunable": 2 * block, "embedding": 80, "head": 0, "norms": 40, "biases": 0, "total": 2 * block + 120,
    }  # fmt: skip
    assert forward_flops(shape, 5, 100, 0.4) == {
        "linears": 200, "attention": 4 * 5 * 4 * 2 * 2, "head": 64, "total": 584,
    }  # fmt: skip
    assert parameters(replace(shape, head_size=6))["prunable"] == 2 * (2 * 8 * 6 * (2 + 1) + 288)
    assert head_share(24, 6) == 0.25 and head_share(4, 9) == 1


def test_training_gradients_that_nobody_needs():
    shape = Shape(8, 12, 2, 2, 1, 10)
    forward = forward_flops(shape, 5)["total"]
    assert training_flops(shape, 5) == 3 * forward
    assert training_flops(shape, 5, trained=100) == 3 * forward - 2 * (shape.prunable - 100)
    frozen = 3 * forward - 2 * 8 * 10 - 2 * 8 * 4 * (2 + 2)
    assert training_flops(shape, 5, ends_trained=False) == frozen
    half = shape.prunable // 2
    sparse = 3 * forward_flops(shape, 5, half)["total"] - 2 * 8 * 10 - 8 * 4 * (2 + 2)
    assert training_flops(shape, 5, half, ends_trained=False) == sparse
    assert masked_lora_training_flops(shape, 5, 2, 50, half) == sparse + 6 * 2 * half / 50


def test_bytes_by_hand():
    assert optimizer_bytes(100) == 800
    assert checkpoint_bytes(100) == 400

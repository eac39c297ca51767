"""What is said about a topology's settings before any model is made."""

import subprocess
import sys

import pytest

from sparse_continual.errors import UserError
from sparse_continual.pruning.check import check, variants
from sparse_continual.topologies.counts import matrices


def test_counts_of_good_settings(shape):
    total = sum(rows * columns for rows, columns in matrices(shape).values())
    assert check({"method": "dense"}, shape) == total
    assert check({"method": "magnitude", "pattern": "2:4"}, shape) == total // 2
    wanted = {"method": "wanda", "pattern": "unstructured", "sparsity": 0.7, "calibration": {"sequences": 4}}
    assert check(wanted, shape) == round(0.3 * total)
    assert check(wanted, {}) is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "wandaa"}, "did you mean 'wanda"),
        ({"method": "dense", "pattern": "2:4"}, "method dense: found pattern '2:4', expected dense"),
        ({"method": "dense", "sparsity": 0.5}, "method dense: found sparsity 0.5"),
        ({"method": "wanda"}, "method wanda: found no pattern, expected unstructured or N:M"),
        ({"method": "wanda", "pattern": "2:5"}, "model.layers.0.self_attn.q_proj.weight"),
        ({"method": "wanda", "pattern": "unstructured"}, "needs a sparsity"),
        (
            {"method": "wanda", "pattern": "unstructured", "sparsity": 0.5, "allocation": "global"},
            "method wanda: found allocation 'global', expected uniform or erk or owl",
        ),
        (
            {"method": "wanda", "pattern": "2:4", "allocation": "owl"},
            "pattern 2:4: found allocation 'owl', expected uniform",
        ),
        (
            {"method": "wanda", "pattern": "unstructured", "sparsity": 0.5, "allocation": "oil"},
            "no variant 'oil'.*did you mean 'owl'",
        ),
        (
            {
                "method": "wanda",
                "pattern": "unstructured",
                "sparsity": 0.5,
                "allocation": {"name": "owl", "mm": 3},
            },
            "allocation owl: unknown key 'mm'.*did you mean 'm'",
        ),
        (
            {"method": "magnitude", "pattern": "unstructured", "sparsity": 0.5, "counts": "half"},
            "method magnitude: found counts 'half', expected exact or reference",
        ),
        (
            {"method": "magnitude", "pattern": "2:4", "on_sparse": "grow"},
            "method magnitude: found on_sparse 'grow', expected keep or refuse",
        ),
        ({"method": "dense", "on_sparse": "keep"}, "method dense: found on_sparse 'keep', expected none"),
        (
            {"method": "counted", "on_sparse": "refuse"},
            "method counted: found on_sparse 'refuse', expected none",
        ),
        (
            {"method": "magnitude", "pattern": "unstructured", "sparsity": 0.9999},
            "q_proj.weight: allocation uniform would empty this matrix",
        ),
        ({"method": "wanda", "pattern": "2:4", "calibration": {"files": ["gone"]}}, "gone: no such file"),
        (
            {"method": "shuffled", "of": "shuffled", "pattern": "2:4"},
            "method shuffled: found itself as the method that it uses, expected another method",
        ),
        ({"method": "maskllm", "prior": "maskllm", "pattern": "2:4"}, "method maskllm: found itself"),
        ({"method": "maskllm", "pattern": "8:16"}, "method maskllm: pattern 8:16 has 12870 masks per group"),
        (
            {"method": "gmp", "pattern": "2:4", "start": 0.9, "end": 0.1},
            "method gmp: found end 0.1 before start 0.9, expected at least as much",
        ),
        (
            {"method": "movement", "pattern": "unstructured", "sparsity": 0.5, "start": 0.8},
            "method movement: found end 0.7 before start 0.8, expected at least as much",
        ),
    ],
)
def test_mistakes(shape, settings, words):
    with pytest.raises(UserError, match=words):
        check(settings, shape)


@pytest.mark.parametrize("allocation", [{}, None, 3, ["erk"], {"name": None}])
def test_an_allocation_is_a_name(shape, allocation):
    settings = {"method": "wanda", "pattern": "unstructured", "sparsity": 0.5, "allocation": allocation}
    words = r"^method wanda: found allocation .*, expected a name, or \{name, its own settings\}, of uniform or erk"
    with pytest.raises(UserError, match=words):
        check(settings, shape)


def test_code_of_every_variant_that_is_used_is_watched():
    plain = variants({"method": "wanda", "pattern": "2:4"})
    assert plain == ["pruning.methods.wanda", "pruning.allocations.uniform"]
    both = variants({"method": "shuffled", "of": "wanda", "pattern": "unstructured", "allocation": "erk"})
    assert both == ["pruning.methods.shuffled", *plain[:1], "pruning.allocations.erk"]
    assert "pruning.methods.magnitude" in variants({"method": "maskllm", "pattern": "2:4"})


def test_counts_of_whole_heads_and_channels_by_hand(shape):
    """2 key-value heads of 8 lines, each read by 2 queries, and 48 channels, all of a width of 32."""
    head, channel = (8 + 8 + 16 + 16) * 32, 3 * 32

    def kept(sparsity, **options):
        settings = {"method": "llm_pruner", "pattern": "structured", "sparsity": sparsity, "export": "masked"}
        return check(settings | options, shape)

    assert kept(0.5) == 2 * (head + 24 * channel)
    assert kept(0.4) == 2 * (2 * head + 28 * channel)  # no whole head, 19.2 channels
    assert kept(0.7, last=1) == (head + 14 * channel) + (2 * head + 48 * channel)
    with pytest.raises(UserError, match="first 1 and last 1 of 2 blocks left whole: none is pruned"):
        kept(0.5, first=1, last=1)
    with pytest.raises(UserError, match="gate_proj.weight: sparsity 0.99 leaves no channel"):
        kept(0.99)


@pytest.mark.parametrize("known", [True, False])
def test_what_a_study_does_not_take(shape, known):
    settings = {"method": "llm_pruner", "pattern": "structured", "sparsity": 0.5}
    with pytest.raises(
        UserError, match="method llm_pruner: found export 'compact', expected masked in a study"
    ):
        check(settings, shape if known else {})


def test_nothing_heavy_is_imported():
    code = (
        "import sys\n"
        "from sparse_continual import registry\n"
        "from sparse_continual.budgets import price, shapes\n"
        "from sparse_continual.pruning import check\n"
        "for name in registry.names('pruning.methods'):\n"
        "    registry.load('pruning.methods', name)\n"
        "for name in registry.names('pruning.allocations'):\n"
        "    registry.load('pruning.allocations', name)\n"
        "assert not {'torch', 'transformers', 'pandas', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

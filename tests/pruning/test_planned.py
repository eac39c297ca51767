"""Planned equals counted: of other families' models and topologies, or the making stops with one line."""

import pytest

from sparse_continual.bases.facts import facts_of
from sparse_continual.budgets.planned import planned
from sparse_continual.errors import UserError
from sparse_continual.models.load import load_model, save_model
from sparse_continual.models.shape import shape_of
from sparse_continual.pruning.check import check
from sparse_continual.pruning.make import make_topology
from sparse_continual.streams.lexicon import tokenizer

WANTED = [
    {"method": "dense"},
    {"method": "magnitude", "pattern": "2:4"},
    {"method": "magnitude", "pattern": "unstructured", "sparsity": 0.37},
    {"method": "random", "pattern": "unstructured", "sparsity": 0.9, "allocation": "erk"},
]


def other(family, **changes):
    import torch
    import transformers

    torch.manual_seed(0)
    fields = {"vocab_size": 512, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    fields |= {"intermediate_size": 96, "max_position_embeddings": 64, **changes}
    config = getattr(transformers, f"{family}Config")(**fields)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture(params=["GPTNeoX", "OPT", "GPT2", "Starcoder2"])
def folder(request, tmp_path):
    words = tokenizer()
    model = other(request.param, vocab_size=max(512, len(words)))
    save_model(model, words, tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("topology", WANTED, ids=lambda topology: topology["method"])
def test_other_families_are_made_as_planned(folder, tmp_path, topology):
    shape = facts_of(folder)["shape"]
    plan = planned(topology, shape)
    settings = {"topology": topology, "recovery": None}
    _, densities = make_topology(settings, folder, [], tmp_path / "made", 1, planned=plan)
    assert sum(row["nonzeros"] for row in densities) == plan["nonzeros"] == check(topology, shape)
    assert [row["matrix"] for row in densities] == list(plan["matrices"])
    assert facts_of(folder)["parameters"] == plan["parameters"]


def stopped(folder, tmp_path, plan):
    settings = {"topology": WANTED[1], "recovery": None}
    with pytest.raises(UserError) as error:
        make_topology(settings, folder, [], tmp_path / "made", 1, planned=plan)
    assert "\n" not in str(error.value) and str(folder.parent) in str(error.value)
    return str(error.value)


def test_another_number_stops_the_making(llama, tmp_path):
    folder = tmp_path / "model"
    words = tokenizer()
    save_model(llama(vocab_size=len(words)), words, folder)
    plan = planned(WANTED[1], shape_of(folder))
    (name, size), *_ = plan["matrices"].items()
    other_size = {**plan["matrices"], name: (size[0], size[1] + 1)}
    assert f"{name} is 32 x 32 in the model and 32 x 33 in the plan" in stopped(
        folder, tmp_path, {**plan, "matrices": other_size}
    )
    fewer = {key: value for key, value in plan["matrices"].items() if key != name}
    assert "32 x 32 in the model and missing in the plan" in stopped(
        folder, tmp_path, {**plan, "matrices": fewer}
    )
    total = plan["parameters"]
    assert f"has {total:,} parameters and the plan {total + 1:,}" in stopped(
        folder, tmp_path, {**plan, "parameters": total + 1}
    )
    nonzeros = plan["nonzeros"]
    assert f"{nonzeros:,} block weights exist in the topology that was made, but {nonzeros - 1:,}" in stopped(
        folder, tmp_path, {**plan, "nonzeros": nonzeros - 1}
    )


def test_a_weight_of_a_dense_model_that_happens_to_be_zero_exists(llama, tmp_path):
    words = tokenizer()
    model = llama(vocab_size=len(words))
    model.model.layers[0].mlp.up_proj.weight.data[0, :3] = 0
    save_model(model, words, tmp_path / "model")
    plan = planned({"method": "dense"}, shape_of(tmp_path / "model"))
    settings = {"topology": {"method": "dense"}, "recovery": None}
    _, densities = make_topology(settings, tmp_path / "model", [], tmp_path / "made", 1, planned=plan)
    assert sum(row["nonzeros"] for row in densities) == plan["nonzeros"]
    assert (load_model(tmp_path / "model").model.layers[0].mlp.up_proj.weight == 0).sum() == 3


def test_patterns_are_held_against_the_counted_matrices(tmp_path):
    """The MLP of this GPT-NeoX is no multiple of 8 wide, and its blocks are no Llama's."""
    words = tokenizer()
    save_model(other("GPTNeoX", vocab_size=len(words), intermediate_size=100), words, tmp_path / "model")
    shape = shape_of(tmp_path / "model")
    assert check({"method": "magnitude", "pattern": "2:4"}, shape) == 2 * (4 * 32 * 32 + 2 * 32 * 100) // 2
    with pytest.raises(
        UserError, match="dense_4h_to_h.weight: pattern 4:8 needs rows that 8 divides, found 100"
    ):
        check({"method": "magnitude", "pattern": "4:8"}, shape)
    structured = {"method": "llm_pruner", "pattern": "structured", "sparsity": 0.5, "export": "masked"}
    with pytest.raises(
        UserError, match="query_key_value.weight: found 4 matrices in its block.*structured pruning expects"
    ):
        check(structured, shape)


def test_what_is_rounded_or_found_is_not_planned_exactly(shape):
    whole = {**shape, "vocabulary": 64}
    assert planned({"method": "counted"}, whole)["nonzeros"] is None
    reference = {"method": "magnitude", "pattern": "unstructured", "sparsity": 0.3, "counts": "reference"}
    assert planned(reference, whole)["nonzeros"] is None


def test_groups_of_a_sparse_source_may_lack_more_than_planned(llama, tmp_path):
    """The plan is then an upper bound; of unstructured patterns it stays exact."""
    words = tokenizer()
    model = llama(vocab_size=len(words))
    weight = model.model.layers[0].mlp.up_proj.weight
    weight.data[:4] = 0  # four rows whole
    save_model(model, words, tmp_path / "model")
    lost = 4 * weight.shape[1] // 2
    for topology, less in ((WANTED[1], lost), (WANTED[2], 0)):
        plan = planned(topology, shape_of(tmp_path / "model"))
        settings = {"topology": topology, "recovery": None}
        _, densities = make_topology(settings, tmp_path / "model", [], tmp_path / "made", 1, planned=plan)
        assert sum(row["nonzeros"] for row in densities) == plan["nonzeros"] - less

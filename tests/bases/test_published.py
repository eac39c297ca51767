"""The registry: every fact has a source, every name leads somewhere, and what is wrong is told by key."""

from copy import deepcopy

import jsonschema
import pytest
import yaml

from sparse_continual.bases import published
from sparse_continual.errors import UserError
from sparse_continual.schema import schema_named

ASKED_FOR = [
    "Sparse-Llama-3.1-8B-2of4",
    "SparseLlama-3-8B-pruned_50.2of4",
    "Llama-2-7b-pruned50-retrained",
    "Llama-2-7b-pruned70-retrained",
    "OpenHermes-2.5-Mistral-7B-pruned2.4",
    "Nous-Hermes-2-Yi-34B-pruned2.4",
    "phi-2-pruned50",
    "mpt-7b-gsm8k-pruned60-pt",
    "LLaMA-2-7B-MaskLLM-C4",
    "LLaMA-3-8B-MaskLLM-C4",
    "LLaMA-3.1-8B-MaskLLM-C4",
    "sparsellm-1b-20p",
    "sparsellm-1b-40p",
    "sparsellm-1b-60p",
    "sparsellm-1b-80p",
    "llama2.c-stories110M-pruned50",
    "llama2.c-stories110M-pruned2.4",
]


@pytest.fixture(scope="module")
def entries():
    return {name: published.entry(name) for name in published.names()}


def test_the_schema_is_one_and_describes_every_key():
    schema = schema_named("published")
    jsonschema.Draft202012Validator.check_schema(schema)
    entry = schema["properties"]["models"]["additionalProperties"]
    described = {"repo", *(key for key, value in entry["properties"].items() if "description" in value)}
    assert described | {"sources"} == set(entry["properties"])


@pytest.mark.parametrize("name", ASKED_FOR)
def test_models_with_their_dense_counterparts(entries, name):
    dense = entries[entries[name]["dense"]]
    assert dense["pattern"] == "dense" and dense["sparsity"] == 0 and dense["kind"] == "weights"
    assert dense["architecture"] == entries[name]["architecture"]
    assert entries[name]["sparsity"] > 0 and entries[name]["pattern"] != "dense"


def test_matched_pairs_lead_to_models_of_the_same_training(entries):
    pairs = {
        name: entry["dense"] for name, entry in entries.items() if entry["counterpart"] == "same training"
    }
    assert pairs["Sparse-Llama-3.1-8B-gsm8k-2of4"] == "Llama-3.1-8B-gsm8k"
    assert pairs["Sparse-Llama-3.1-8B-ultrachat_200k-2of4"] == "Llama-3.1-8B-ultrachat_200k"
    assert pairs["mpt-7b-gsm8k-pruned60-pt"] == "mpt-7b-gsm8k-pt"


def test_declarations_agree_with_themselves(entries):
    """N:M fixes the sparsity; 2 of 4 is one half."""
    for name, entry in entries.items():
        if ":" in (entry["pattern"] or ""):
            kept, of = map(int, entry["pattern"].split(":"))
            assert entry["sparsity"] == 1 - kept / of, name
        if entry["kind"] == "masks":
            assert entry["format"] == "maskllm" and entry["tokens_of_recovery"] == 0, name


def test_sizes_of_files_are_those_of_the_shapes(entries):
    """Parameters counted by transformers on the meta device, at two or four bytes; a listing is rounded."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shaped = {name: entry for name, entry in entries.items() if entry["shape"]}
    assert {"Llama-3.1-8B", "Llama-2-7b-hf", "llama2.c-stories110M"} <= set(shaped)
    for name, entry in shaped.items():
        shape = entry["shape"]
        config = LlamaConfig(
            hidden_size=shape["hidden_size"],
            intermediate_size=shape["intermediate_size"],
            num_hidden_layers=shape["layers"],
            num_attention_heads=shape["heads"],
            num_key_value_heads=shape["kv_heads"],
            vocab_size=shape["vocabulary"],
            tie_word_embeddings=shape["tied"],
        )
        with torch.device("meta"):
            parameters = sum(p.numel() for p in LlamaForCausalLM(config).parameters())
        if (text := entry["sources"]["shape"]["text"]).endswith("parameters"):
            assert f"{parameters:,}" in text, name
        if entry["bytes"]:
            width = round(entry["bytes"] / parameters)
            assert width in (2, 4) and entry["bytes"] == pytest.approx(width * parameters, rel=0.005), name


def test_sizes_are_those_of_their_families(entries):
    """16-bit copies of one architecture differ by rounding alone; masks are one bit a weight, compressed."""
    for name, entry in entries.items():
        if entry["kind"] == "masks":
            weights = entries[entry["dense"]]["bytes"] / 2
            assert 0.5 < entry["bytes"] / (weights / 8) < 1, name
        elif entry["format"] == "dense" and entry["dense"] and entry["counterpart"] != "same average size":
            dense = entries[entry["dense"]]["bytes"]
            if entry["bytes"] and dense:
                assert entry["bytes"] == pytest.approx(dense, rel=0.01), name


def test_sources_say_whether_they_were_confirmed(entries):
    card = entries["Sparse-Llama-3.1-8B-2of4"]["sources"]
    assert card["tokens_of_recovery"] == {"text": "model card", "confirmed": True}
    assert card["gated"]["confirmed"] is False
    assert entries["mpt-7b-gsm8k-pt"]["sources"]["repo"]["confirmed"] is False
    assert (
        entries["phi-2-pruned50"]["licence"] is None and "licence" not in entries["phi-2-pruned50"]["sources"]
    )


def test_an_entry_is_a_copy():
    published.entry("phi-2")["repo"] = "changed"
    published.entry("phi-2")["sources"].clear()
    assert published.entry("phi-2")["repo"] == "microsoft/phi-2" and published.entry("phi-2")["sources"]


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(
        UserError, match="'Sparse-Llama-3.1-8B-2of'.*did you mean 'Sparse-Llama-3.1-8B-2of4'"
    ) as caught:
        published.entry("Sparse-Llama-3.1-8B-2of")
    assert len(str(caught.value)) < 400


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A function (change) -> the line with which a registry of two entries, so changed, is refused."""
    source = {"facts": ["repo", "files", "architecture"], "text": "a page", "confirmed": True}
    dense = {"repo": "o/dense", "files": "safetensors", "architecture": "llama", "sources": [source]}
    more = {"facts": ["dense", "counterpart", "sparsity"], "text": "a card", "confirmed": False}
    sparse = {**dense, "repo": "o/sparse", "dense": "dense", "counterpart": "parent", "sparsity": 0.5}
    sparse["sources"] = [source, more]

    def refused(change):
        models = deepcopy({"dense": dense, "sparse": sparse})
        change(models)
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.yaml"
        path.write_text(yaml.safe_dump({"models": models}))
        monkeypatch.setattr(published, "REGISTRY", path)
        with pytest.raises(UserError) as caught:
            published.entry("sparse")
        assert str(caught.value).startswith(f"{path}: models.") and "\n" not in str(caught.value)
        return str(caught.value)

    return refused


def test_wrong_entries_name_their_key(registry):
    def change(**values):
        return lambda models: models["sparse"].update(values)

    def sourced(**values):
        source = {"facts": list(values), "text": "a page", "confirmed": True}
        return lambda models: (models["sparse"].update(values), models["sparse"]["sources"].append(source))

    assert "models.sparse: unknown key 'licens' (did you mean 'licence'?)" in registry(change(licens="mit"))
    assert "models.sparse.sparsity: found '50 %', expected" in registry(change(sparsity="50 %"))
    assert "models.sparse.sparsity: found 1, expected less than 1" in registry(change(sparsity=1))
    assert "models.sparse.revision: found 'main', expected the 40 hex" in registry(sourced(revision="main"))
    assert "models.sparse.repo: found 'sparse', expected owner/name" in registry(change(repo="sparse"))
    assert "models.sparse.pattern: found '2/4', expected dense, unstruct" in registry(sourced(pattern="2/4"))
    assert "models.sparse.files: found 'npz', expected safetensors or pickles" in registry(
        change(files="npz")
    )
    assert "models.sparse.dense: found 'dens' (did you mean 'dense'?)" in registry(change(dense="dens"))
    assert "models.sparse.licence: has no source" in registry(change(licence="mit"))
    assert "missing key 'files'" in registry(lambda models: models["sparse"].pop("files"))
    assert "sources: found 'byte'" in registry(
        lambda models: models["sparse"]["sources"][0]["facts"].append("byte")
    )
    assert "repo has 2 sources" in registry(
        lambda models: models["sparse"]["sources"][1]["facts"].append("repo")
    )
    assert "counterpart: needs dense" in registry(
        lambda m: (
            m["sparse"].pop("dense"),
            m["sparse"]["sources"][1].update(facts=["counterpart", "sparsity"]),
        )
    )

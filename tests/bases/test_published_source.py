"""Bases that are entries of the registry: what their settings must say, what they are, what is fetched."""

import pytest

from sparse_continual.bases.published import entry
from sparse_continual.bases.sources import published
from sparse_continual.errors import UserError

ONE, TWO = "01" * 20, "23" * 20
SPARSE, MASKS = "Sparse-Llama-3.1-8B-2of4", "LLaMA-3.1-8B-MaskLLM-C4"


def complaint(**settings):
    with pytest.raises(UserError) as caught:
        published.check(settings)
    return str(caught.value)


def test_a_commit_is_needed():
    published.check({"registry": SPARSE, "revision": ONE})
    assert f"missing key 'revision': the registry pins no commit of {SPARSE}" in complaint(registry=SPARSE)
    assert "40 hex digits" in complaint(registry=SPARSE, revision="main")


def test_masks_need_the_commit_of_their_parent_too():
    published.check({"registry": MASKS, "revision": ONE, "dense_revision": TWO})
    line = complaint(registry=MASKS, revision=ONE)
    assert "missing key 'dense_revision': the registry pins no commit of Llama-3.1-8B" in line
    assert "meta-llama/Llama-3.1-8B" in line
    assert "dense_revision: not used by" in complaint(registry=SPARSE, revision=ONE, dense_revision=TWO)


def test_unknown_and_quantised_entries():
    assert f"did you mean {SPARSE!r}?" in complaint(registry=SPARSE[:-1], revision=ONE)
    quantised = "SparseLlama-3.1-8B-gsm8k-pruned.2of4-chnl_wts_per_tok_dyn_act_fp8-BitM"
    assert "are quantised, so they can be audited but not trained" in complaint(
        registry=quantised, revision=ONE
    )


def test_the_files_are_named_by_repositories_and_commits():
    masks = {"registry": MASKS, "revision": ONE, "dense_revision": TWO}
    assert published.fingerprint(masks) == [
        {"repo": "Vinnnf/LLaMA-3.1-8B-MaskLLM-C4", "revision": ONE},
        {"repo": "meta-llama/Llama-3.1-8B", "revision": TWO},
    ]


def test_a_shape_before_anything_is_downloaded(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    parent = entry("Llama-3.1-8B")["shape"]
    for settings in (
        {"registry": SPARSE, "revision": ONE},
        {"registry": MASKS, "revision": ONE, "dense_revision": TWO},
    ):
        assert published.shape(settings) == parent
    assert published.shape({"registry": "sparsellm-1b-60p", "revision": ONE}) == {}  # its pair is smaller


def test_what_is_written_beside_the_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def written(name):
        rows = published.downloads({"registry": name, "revision": ONE, "dense_revision": TWO})
        return [row["written"] for row in rows]

    assert written(SPARSE) == [0]
    assert written(MASKS) == [0, entry("Llama-3.1-8B")["bytes"]]
    assert written("llama2.c-stories110M-pruned50") == [entry("llama2.c-stories110M-pruned50")["bytes"]]


def test_declarations_say_what_was_not_confirmed():
    found = published.declared({"registry": SPARSE, "revision": ONE})
    assert found["repo"] == "RedHatAI/Sparse-Llama-3.1-8B-2of4" and found["revision"] == ONE
    assert (found["pattern"], found["sparsity"], found["tokens_of_recovery"]) == ("2:4", 0.5, 13_000_000_000)
    assert found["unconfirmed"] == []
    found = published.declared({"registry": "llama2.c-stories110M-pruned2.4", "revision": ONE})
    assert "sparsity" in found["unconfirmed"] and "pattern" not in found["unconfirmed"]

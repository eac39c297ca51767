"""Calibration text as tokenizers give it: padding is no text, on whichever side it is."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sparse_continual import prune, registry
from sparse_continual.errors import UserError
from sparse_continual.pruning.arguments import rows as given

TRAINED = {"steps": 3, "batch_size": 3, "warmup": 1}
OPTIONS = {
    "loraprune": {**TRAINED, "export": "masked"},
    "llm_pruner": {"export": "masked"},
    "shuffled": {"of": "wanda"},
    "wandapp": {"samples": 4, "rounds": 1},
} | {name: TRAINED for name in ("gmp", "imp", "l0", "maskllm", "movement")}
READERS = [
    name
    for name in registry.names("pruning.methods")
    if registry.load("pruning.methods", name).needs_calibration or name == "shuffled"
]


@pytest.fixture
def ragged(rows):
    """Rows of 4 to 20 tokens."""
    return [row[: 4 + 3 * (number % 6)][:20] for number, row in enumerate(rows[:12])]


def padded(rows, side, token=0):
    """(ids, mask) [sequences, longest]."""
    ids = torch.full((len(rows), max(map(len, rows))), token)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        place = slice(len(row)) if side == "right" else slice(ids.shape[1] - len(row), None)
        ids[number, place], mask[number, place] = row, 1
    return ids, mask


def settings_of(name):
    pattern = registry.load("pruning.methods", name).patterns[0]
    return {"N:M": ("2:4", None), "structured": ("structured", 0.5)}.get(pattern, ("unstructured", 0.5))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", READERS)
def test_a_tokenizers_padding_is_left_out(llama, ragged, name, side):
    """Bit for bit what the unpadded list gives, topology and weights."""
    ids, mask = padded(ragged, side)
    models_, topologies = (llama(), llama()), []
    for model, text in zip(models_, (ragged, {"input_ids": ids, "attention_mask": mask}), strict=True):
        topologies.append(prune(model, name, *settings_of(name), text, seed=0, **OPTIONS.get(name, {})))
    assert topologies[0].sha256 == topologies[1].sha256
    assert topologies[0].record == topologies[1].record
    for p, q in zip(*(model.parameters() for model in models_), strict=True):
        assert torch.equal(p, q)


def test_an_allocation_that_reads(llama, ragged):
    ids, mask = padded(ragged, "left")
    one, other = (
        prune(llama(), "magnitude", "unstructured", 0.5, text, allocation="owl")
        for text in (ragged, {"input_ids": ids, "attention_mask": mask})
    )
    assert one.sha256 == other.sha256


FORMS = {
    "tensors": lambda ids, mask: (ids, mask),
    "bool": lambda ids, mask: (ids, mask.bool()),
    "arrays": lambda ids, mask: (ids.numpy(), mask.numpy()),
    "int32": lambda ids, mask: (ids.int(), mask.int()),
    "lists": lambda ids, mask: (ids.tolist(), mask.tolist()),
    "lists of tensors": lambda ids, mask: (list(ids), list(mask)),
    "lists of arrays": lambda ids, mask: (list(ids.numpy()), list(mask.numpy())),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_an_encoding(llama, ragged, form):
    ids, mask = FORMS[form](*padded(ragged, "left"))
    found = given(llama(), "wanda", {"input_ids": ids, "attention_mask": mask})
    assert [row.tolist() for row in found] == [row.tolist() for row in ragged]


@pytest.mark.parametrize("options", [{}, {"padding": True}, {"padding": True, "return_tensors": "pt"},
                                     {"padding": "max_length", "max_length": 24, "return_tensors": "np"}])  # fmt: skip
@pytest.mark.parametrize("side", ["left", "right"])
def test_what_a_tokenizer_returns(llama, ragged, side, options):
    words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(64)}, unk_token="w3"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w0", padding_side=side)
    texts = [" ".join(f"w{n}" for n in row) for row in ragged]
    wanted = [row.tolist() for row in ragged]
    assert [row.tolist() for row in given(llama(), "wanda", tokenizer(texts, **options))] == wanted
    assert [row.tolist() for row in given(llama(), "wanda", [tokenizer(text) for text in texts])] == wanted
    assert [row.tolist() for row in given(llama(), "wanda", tokenizer(texts[1]))] == wanted[1:2]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    ("config", "token"),
    [({}, 0), ({}, 3), ({"pad_token_id": 3}, 3), ({"pad_token_id": 2, "eos_token_id": 2}, 2)]
    + [({"pad_token_id": 1, "bos_token_id": 1}, 1), ({"eos_token_id": [2, 5]}, 5), ({"pad_token_id": 3}, 2)],
)
def test_padding_that_no_mask_marks_is_refused(llama, ragged, config, token, side, wrapped):
    ids = padded(ragged, side, token)[0]
    place = "ends" if side == "right" else "begins"
    words = (
        f"^calibration sequence 0: {place} with 15 times token {token}, .*attention_mask, or a list of 1-D"
    )
    with pytest.raises(UserError, match=words):
        prune(llama(**config), "wanda", "2:4", calibration={"input_ids": ids} if wrapped else ids)


def test_one_pad_token_is_padding_only_where_it_is_nothing_else(llama, rows):
    """A row may begin with its start token and end with its end token."""
    text = rows.clone()
    text[:, 0], text[:, -1] = 1, 2
    given(llama(), "wanda", text)
    given(llama(pad_token_id=2), "wanda", text)
    given(llama(pad_token_id=1), "wanda", text)
    given(llama(pad_token_id=2, eos_token_id=7), "wanda", text[:, :-1])
    with pytest.raises(UserError, match="sequence 0: ends with 1 times token 2"):
        given(llama(pad_token_id=2, eos_token_id=7), "wanda", text)


def test_text_that_repeats_itself_is_text(llama, rows):
    """A token that also stands elsewhere, or at the end of one row alone, is no padding; a list is never doubted."""
    text = rows.clone()
    text[0, -3:] = 9
    text[1, -2:], text[2, 5] = 9, 9
    assert len(given(llama(), "wanda", text)) == len(text)
    alone = text.masked_fill(text == 60, 59)
    alone[4, -3:] = 60
    assert len(given(llama(), "wanda", alone)) == len(text)
    text[:, -2:] = 0
    assert len(given(llama(), "wanda", list(text))) == len(text)
    marked = {"input_ids": text, "attention_mask": np.ones(text.shape, dtype=np.int64)}
    assert all(torch.equal(a, b) for a, b in zip(given(llama(), "wanda", marked), text, strict=True))


def test_a_study_does_not_doubt_its_own_rows(llama, rows, tmp_path, monkeypatch):
    """What it cuts from files, or has the model write, may begin or end with anything."""
    from sparse_continual.models.load import save_model
    from sparse_continual.pruning import make
    from sparse_continual.streams.lexicon import tokenizer

    text = rows.clone()
    text[:, -4:] = 0
    monkeypatch.setattr(make, "rows_of_model", lambda *arguments: text)
    save_model(llama(vocab_size=len(tokenizer())), tokenizer(), tmp_path / "base")
    settings = {"topology": {"method": "wanda", "pattern": "2:4"}, "recovery": None}
    facts, _ = make.make_topology(settings, tmp_path / "base", [], tmp_path / "made", 5)
    assert facts["record"]["calibration"]

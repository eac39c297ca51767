"""Calibration rows from files and from training rows."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sparse_continual.errors import UserError
from sparse_continual.streams.calibration import digest, rows_of_files, rows_of_model, rows_of_split


class Numbers:
    """A tokenizer of whitespace-separated numbers."""

    def __call__(self, text, **options):
        assert options["add_special_tokens"] is False
        return {"input_ids": [int(word) for word in text.split()]}


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "a.txt").write_text(" ".join(map(str, range(100))))
    (tmp_path / "b.txt").write_text(" ".join(map(str, range(1000, 1012))))
    return {"files": [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")], "sequences": 30, "tokens": 10}


def test_windows_lie_inside_one_file_and_are_different(settings):
    rows = rows_of_files(settings, Numbers(), seed=3)
    assert rows.shape == (30, 10) and rows.dtype == torch.int64
    assert (rows.diff(dim=1) == 1).all()  # consecutive, so never across files
    assert len({row[0].item() for row in rows}) == 30
    assert torch.equal(rows, rows_of_files(settings, Numbers(), seed=3))
    assert not torch.equal(rows, rows_of_files(settings, Numbers(), seed=4))


def test_every_window_can_come(settings):
    rows = rows_of_files(settings | {"sequences": 91 + 3}, Numbers(), seed=0)
    assert sorted(row[0].item() for row in rows) == [*range(91), 1000, 1001, 1002]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sequences": 95}, "94 different windows.*at least 95"),
        ({"tokens": 101}, "longest file has 100 tokens"),
        ({"files": ["nowhere.txt"]}, "nowhere.txt: no such file"),
    ],
)
def test_too_little_text(settings, change, words):
    with pytest.raises(UserError, match=words):
        rows_of_files(settings | change, Numbers(), seed=0)


def test_text_that_is_no_text(settings, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="a.txt: not UTF-8"):
        rows_of_files(settings, Numbers(), seed=0)


def test_rows_of_a_split_are_drawn_without_repeats():
    split = SimpleNamespace(starts=np.arange(21), row=lambda i: np.full(3 + i % 2, i, dtype=np.int32))
    rows = rows_of_split(split, 12, seed=1)
    assert len({row[0].item() for row in rows}) == 12 and all(row.dtype == torch.int64 for row in rows)
    assert digest(rows) == digest(rows_of_split(split, 12, seed=1))
    assert digest(rows) != digest(rows_of_split(split, 12, seed=2))
    with pytest.raises(UserError, match="20 training rows, expected at least 21"):
        rows_of_split(split, 21, seed=1)


def test_digest_sees_tokens_and_row_ends():
    rows = [torch.tensor([1, 2]), torch.tensor([3])]
    by_hand = np.array([2, 1, 2, 1, 3], dtype="<i4").tobytes()
    assert digest(rows) == hashlib.sha256(by_hand).hexdigest()
    assert digest(rows) != digest([torch.tensor([1]), torch.tensor([2, 3])])
    assert digest(torch.tensor([[1, 2], [3, 4]])) == digest([torch.tensor([1, 2]), torch.tensor([3, 4])])


GENERATION = {
    "plain": {},
    "penalty": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 1},
    "cuts": {"do_sample": True, "temperature": 0.1, "top_k": 5, "min_p": 0.3, "typical_p": 0.2},
    "suppressed": {
        "suppress_tokens": list(range(10, 40)),
        "begin_suppress_tokens": [5],
        "bad_words_ids": [[7]],
    },
    "lengths": {"max_length": 8, "min_length": 70, "max_time": 0.0},
    "ends": {"eos_token_id": [3, 4, 5], "bos_token_id": 9, "pad_token_id": 3, "forced_eos_token_id": 6},
    "beams": {"num_beams": 4, "num_return_sequences": 2},
    "cache": {"use_cache": False, "cache_implementation": "static"},
    "outputs": {"return_dict_in_generate": True, "output_scores": True},
}


@pytest.mark.parametrize("kind", GENERATION)
def test_a_model_writes_by_its_own_probabilities_alone(llama, kind):
    """Whatever its generation config says: each token by hand from the softmax of a whole pass, without the end."""
    from transformers import GenerationConfig

    model = llama(bos_token_id=1, eos_token_id=2)
    model.generation_config = config = GenerationConfig(**GENERATION[kind])
    torch.manual_seed(5)
    wanted = torch.full((6, 1), 1)
    with torch.no_grad():
        for _ in range(11):
            logits = model(wanted, use_cache=False).logits[:, -1]
            logits[:, 2] = -torch.inf
            wanted = torch.cat([wanted, torch.multinomial(logits.softmax(-1), 1)], 1)
    assert torch.equal(rows_of_model(model, 6, 12, seed=5), wanted)
    assert model.generation_config is config


def test_a_repositorys_own_way_of_generating_is_not_used(llama):
    model = llama(bos_token_id=1, eos_token_id=2)
    wanted = rows_of_model(model, 3, 6, seed=5)
    model.generate = None  # as trust_remote_code may set it on the model
    assert torch.equal(rows_of_model(model, 3, 6, seed=5), wanted)


def test_a_model_without_a_first_token(llama):
    with pytest.raises(UserError, match="names no bos_token_id"):
        rows_of_model(llama(bos_token_id=None), 3, 6, seed=5)


def test_a_first_token_that_the_model_has_not():
    config = SimpleNamespace(bos_token_id=8)
    model = SimpleNamespace(config=config, get_input_embeddings=lambda: torch.nn.Embedding(8, 2))
    with pytest.raises(UserError, match="names bos_token_id 8 to start from, but its embedding has 8 rows"):
        rows_of_model(model, 2, 4, seed=0)


def test_the_home_and_a_byte_order_mark(settings, tmp_path, monkeypatch):
    plain = rows_of_files(settings, Numbers(), seed=3)
    for path in settings["files"]:
        Path(path).write_bytes(b"\xef\xbb\xbf" + Path(path).read_bytes())
    monkeypatch.setenv("HOME", str(tmp_path))
    homely = settings | {"files": ["~/a.txt", "~/b.txt"]}
    assert torch.equal(rows_of_files(homely, Numbers(), seed=3), plain)

"""Marks of control tokens are text, and rows begin as the tokenizer itself begins a text."""

import numpy as np
import pytest
from byte_pairs import SPECIAL, byte_level, fast
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerFast

from sparse_continual.errors import UserError
from sparse_continual.streams import lexicon
from sparse_continual.streams.build import build_mixture, build_stream
from sparse_continual.streams.calibration import rows_of_files
from sparse_continual.streams.encode import Encoder
from sparse_continual.streams.sources import cl_benchmark, drift, facts, rules, text
from sparse_continual.streams.tokens import added, as_text, count_marks, encode, generated, marks_of, start_of

TEXTS = [
    "Ada plays the piano.",
    "  two  spaces\n\nand lines",
    "<not a mark> < s> </ s>",
    "é ü \u200b 東",
    "x" * 5000,
]


def without_added_tokens(words):
    """A function from a text to its ids by the same merges, where nothing was added: what plain text is."""
    full = byte_level()
    bare = Tokenizer(models.BPE.from_file(*full.model.save(str(words))))
    bare.pre_tokenizer = full.pre_tokenizer
    return lambda one: bare.encode(one, add_special_tokens=False).ids


@pytest.mark.parametrize("mark", SPECIAL)
def test_marks_are_plain_text(mark, tmp_path):
    tokenizer, plain = fast("both"), without_added_tokens(tmp_path)
    marks = marks_of(tokenizer)
    assert set(SPECIAL) <= set(marks)
    sentences = [f"Ada {mark} plays", f"{mark}{mark}", f"a{mark}b {mark} ", *TEXTS]
    found = encode(tokenizer, sentences, marks)
    assert found == [plain(sentence) for sentence in sentences]
    assert not any(marks[mark] in ids for ids in found)
    assert [count_marks(*pair, marks) for pair in zip(sentences, found, strict=True)][:4] == [
        (1, 0),
        (2, 0),
        (2, 0),
        (0, 0),
    ]
    control = tokenizer(sentences[0], add_special_tokens=False)["input_ids"]
    assert marks[mark] in control and count_marks(sentences[0], control, marks) == (1, 1)


def test_texts_without_marks_keep_their_tokens():
    for tokenizer in (fast(), fast("both"), ByT5Tokenizer(), lexicon.tokenizer()):
        alone = tokenizer(TEXTS, add_special_tokens=False)["input_ids"]
        assert encode(tokenizer, TEXTS, marks_of(tokenizer)) == alone
        assert encode(tokenizer, [TEXTS[0], "</s>", TEXTS[1]], marks_of(tokenizer))[::2] == alone[:2]
        assert encode(tokenizer, [], marks_of(tokenizer)) == []


def test_a_tokenizer_in_python():
    """ByT5 reads bytes, three ids above their value."""
    tokenizer = ByT5Tokenizer()
    sentence = "a </s> <pad> é <extra_id_3>"
    assert encode(tokenizer, [sentence], marks_of(tokenizer)) == [[byte + 3 for byte in sentence.encode()]]
    assert added(tokenizer) == ([], [tokenizer.eos_token_id]) and start_of(tokenizer) == []
    with pytest.raises(
        UserError, match="start_token: found always, but the base's tokenizer names no start token"
    ):
        start_of(tokenizer, "always")


def test_marks_that_are_words_of_the_vocabulary_are_counted():
    for tokenizer in (lexicon.words(), lexicon.tokenizer()):
        marks = marks_of(tokenizer)
        assert marks == {mark: number for number, mark in enumerate(lexicon.SPECIAL)}
        (ids,) = encode(tokenizer, ["Ada </s> plays <s>"], marks)
        assert count_marks("Ada </s> plays <s>", ids, marks) == (2, 2)
        (inside,) = encode(tokenizer, ["Ada</s> plays"], marks)
        assert inside[0] == marks["<unk>"] and count_marks("Ada</s> plays", inside, marks) == (1, 0)
        assert encode(tokenizer, ["Ada </s>"], {}) != encode(tokenizer, ["Ada"], {})  # and nothing lingers


def test_chat_delimiters_that_are_not_declared_special_are_marks():
    tokenizer = fast()
    tokenizer.add_tokens([AddedToken("<｜User｜>", special=False), AddedToken("    ", special=False)])
    marks = marks_of(tokenizer)
    assert "<｜User｜>" in marks and "    " not in marks
    (ids,) = encode(tokenizer, ["Ada <｜User｜> plays"], marks)
    assert count_marks("Ada <｜User｜> plays", ids, marks) == (1, 1)  # transformers cannot split these


@pytest.mark.parametrize(
    ("template", "start", "end"),
    [("none", [], []), ("start", [1], []), ("both", [1], [2]), ("end", [], [2]), ("two", [1, 0], [])],
)
def test_the_start_is_what_the_tokenizer_adds(template, start, end):
    tokenizer = fast(template)
    assert added(tokenizer) == (start, end)
    assert start_of(tokenizer) == start_of(tokenizer, "auto") == start
    assert start_of(tokenizer, "always") == (start or [1]) and start_of(tokenizer, "never") == []


def test_a_tokenizer_without_a_start_token():
    tokenizer = fast(bos_token=None)
    assert start_of(tokenizer) == []
    with pytest.raises(UserError, match="start_token"):
        start_of(tokenizer, "always")


def test_generated_vocabularies_keep_their_start_token(tmp_path):
    lexicon.tokenizer().save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for tokenizer in (lexicon.words(), lexicon.tokenizer(), again):
        assert generated(tokenizer) and start_of(tokenizer) == [1]
    assert not generated(fast()) and not generated(ByT5Tokenizer())


@pytest.fixture
def story(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text(
        " ".join(f"word{i % 7} <|im_end|> plays" if i % 5 == 0 else f"word{i % 11}" for i in range(900))
    )
    return path


def rows_of(task):
    for split in (task.train, task.validation, task.test):
        yield from ((split.row(i).tolist(), int(split.answers[i])) for i in range(split.rows))


@pytest.mark.parametrize(
    ("template", "choice"), [("none", "auto"), ("start", "auto"), ("none", "always"), ("both", "never")]
)
def test_every_source_begins_its_rows_so(template, choice, story, tmp_path):
    tokenizer = fast(template)
    start = start_of(tokenizer, choice)
    bench = tmp_path / "bench" / "SC" / "toy"
    bench.mkdir(parents=True)
    (bench / "labels.json").write_text('["good", "bad"]')
    for file, many in (("train", 30), ("test", 10)):
        items = [f'{{"label": "good", "sentence": "{file} {i} </s> is fine"}}' for i in range(many)]
        (bench / f"{file}.json").write_text(f"[{', '.join(items)}]")
    few = {"train_items": 20, "validation_items": 5, "test_items": 5}
    sources = [
        {"source": "text", "files": [str(story)], "sequence_length": 16},
        {"source": "cl_benchmark", "folder": str(tmp_path / "bench"), "tasks": ["toy"]},
        {"source": "rules", "rules": ["copy"], "length": 3, **few},
        {"source": "facts", "tasks": 1, "people": 4},
    ]
    for settings in sources:
        (task,) = build_stream({**settings, "start_token": choice}, 1, tokenizer, tmp_path / "built")
        assert task.facts["start"] == tokenizer.convert_ids_to_tokens(start)
        assert task.facts["left_out_end"] == (["</s>"] if template == "both" else [])
        control = set(marks_of(tokenizer).values())
        for row, answer in rows_of(task):
            assert row[: len(start)] == start and not control & set(row[len(start) :]) and answer > len(start)
    assert task.facts.get("marks") is None
    (base,) = build_mixture([{**sources[0], "start_token": choice}], 1, tokenizer, tmp_path / "mixture")
    assert base.facts["marks"] == 180 and base.facts["control"] == 0
    assert base.facts["start"] == tokenizer.convert_ids_to_tokens(start)


def test_items_with_marks_are_counted(benchmark, words):
    folder, write = benchmark
    items = [
        {"label": "walks", "sentence": f"Ada {mark} s{i}"}
        for i, mark in enumerate(["</s>", "plays", "<s>", "the"] * 10)
    ]
    write("train.json", items)
    write("test.json", [{**one, "sentence": one["sentence"] + " dog"} for one in items[:8]])
    (task,) = cl_benchmark.build({"folder": str(folder), "tasks": ["toy"], "max_tokens": 24}, 1, words)
    assert task.facts["marks"] == task.facts["control"]
    assert (
        task.facts["marks"]["test"] == 4
        and task.facts["marks"]["train"] + task.facts["marks"]["validation"] == 20
    )


def test_calibration_text_is_plain_text(story, tmp_path, capsys):
    tokenizer, plain = fast("both"), without_added_tokens(tmp_path)
    ids = plain(story.read_text())
    rows = rows_of_files({"files": [str(story)], "sequences": len(ids) - 9, "tokens": 10}, tokenizer, 0)
    assert {tuple(row) for row in rows.tolist()} == {tuple(ids[i : i + 10]) for i in range(len(ids) - 9)}
    assert not set(marks_of(tokenizer).values()) & set(np.unique(rows)) and capsys.readouterr().out == ""
    story.write_text("Ada </s> plays " * 20)
    rows_of_files({"files": [str(story)], "sequences": 1, "tokens": 10}, lexicon.tokenizer(), 0)
    assert "20 marks stay control tokens" in capsys.readouterr().out


def test_answers_that_a_tokenizer_cannot_tell_apart():
    """A vocabulary of a few words makes all names one unknown token: an exact match would always be right."""
    backend = Tokenizer(models.WordLevel({"<unk>": 0, ":": 1, "=": 2, "copy": 3}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    with pytest.raises(UserError, match="prompts and answers of this source: .* tokens are unknown"):
        facts.build({"people": 4}, 1, tokenizer)
    with pytest.raises(UserError, match="unknown"):
        rules.build({"rules": ["addition"]}, 1, tokenizer)
    with pytest.raises(UserError, match="knows 0 of"):
        drift.build({}, 1, tokenizer)
    known = {word: 4 + n for n, word in enumerate(lexicon.SYMBOLS[:8])}
    backend = Tokenizer(models.WordLevel({"<unk>": 0, ":": 1, "=": 2, "copy": 3} | known, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    with pytest.raises(
        UserError,
        match="the answers of this source: the tokenizer cannot distinguish number .*, 's.*', and number .*",
    ):
        rules.build({"rules": ["copy"], "length": 3, "train_items": 50}, 1, tokenizer)


def test_text_is_read_as_text(story):
    assert as_text("a </s> b", {"</s>": 2})["split_special_tokens"] is True
    assert "split_special_tokens" not in as_text("a b", {"</s>": 2})
    (task,) = text.build({"files": [str(story)], "sequence_length": 16}, 1, fast())
    assert task.facts["marks"] == 180 and task.facts["control"] == 0
    assert Encoder(fast(), {}).bos == [] and Encoder(fast("start"), {}).bos == [1]

"""The benchmark's layout, its splits, what overflows, and one clear line for each mistake."""

import json

import pytest
from byte_pairs import fast

from sparse_continual.errors import UserError
from sparse_continual.streams.build import build_stream
from sparse_continual.streams.sources import cl_benchmark

LABELS = ["walks", "plays the", "never"]


def settings(folder, **more):
    return {"folder": str(folder), "tasks": ["toy"], "max_tokens": 24, **more}


def read(folder, file):
    return json.loads((folder / "SC" / "toy" / file).read_text())


def decode(split, words):
    for i in range(split.rows):
        row = words.convert_ids_to_tokens(split.row(i).tolist())
        yield row[1 : split.answers[i]], row[split.answers[i] :]


def test_rows_say_what_the_files_say(benchmark, words):
    folder, _ = benchmark
    (task,) = cl_benchmark.build(settings(folder), 1, words)
    truth = {
        item["sentence"]: item["label"] for file in ("train.json", "test.json") for item in read(folder, file)
    }
    cue = 1  # the cue is no generated word: one <unk> behind each sentence
    for prompt, answer in decode(task.train, words):
        assert truth[" ".join(prompt[:-cue])] == " ".join(answer)
    test = list(decode(task.test, words))
    for item in range(len(task.test)):
        rows = test[3 * item : 3 * item + 3]
        assert [" ".join(answer) for _, answer in rows] == LABELS
        assert truth[" ".join(rows[0][0][:-cue])] == LABELS[task.test.correct[item]]
        assert rows[0][0] == rows[1][0] == rows[2][0]
    assert task.chance == pytest.approx(1 / 3) and task.facts["repeated"] == 5
    assert (len(task.train), len(task.validation), len(task.test)) == (64, 16, 40)


def test_truncation_keeps_cue_and_answer(benchmark, words):
    folder, _ = benchmark
    (whole,) = cl_benchmark.build(settings(folder), 1, words)
    (cut,) = cl_benchmark.build(settings(folder, max_tokens=11, overflow="truncate_input"), 1, words)
    long = sum(len(item["sentence"].split()) > 7 for item in read(folder, "test.json"))
    assert cut.facts["cut"]["test"] == long > 0 and len(cut.test) == len(whole.test)
    for (prompt, answer), (full, same) in zip(
        decode(cut.test, words), decode(whole.test, words), strict=True
    ):
        assert answer == same and prompt[-1:] == full[-1:] and prompt[:-1] == full[: len(prompt) - 1]
        assert len(prompt) == min(len(full), 8)


def test_dropping(benchmark, words):
    folder, _ = benchmark
    (task,) = cl_benchmark.build(settings(folder, max_tokens=11, overflow="drop"), 1, words)
    long = sum(len(item["sentence"].split()) > 7 for item in read(folder, "test.json"))
    assert task.facts["dropped"]["test"] == long and len(task.test) == 40 - long


def test_overflow_error_names_the_item(benchmark, words):
    folder, _ = benchmark
    with pytest.raises(
        UserError, match=r"train.json: item \d+: 1[2-5] tokens found, 11 allowed; raise max_tokens"
    ):
        cl_benchmark.build(settings(folder, max_tokens=11), 1, words)
    with pytest.raises(UserError, match="max_tokens is 4, start, cue and longest label take 4"):
        cl_benchmark.build(settings(folder, max_tokens=4), 1, words)


def test_everything_dropped_is_an_empty_task(benchmark, words, tmp_path):
    folder, _ = benchmark
    more = {"source": "cl_benchmark", "max_tokens": 8, "overflow": "drop"}
    with pytest.raises(UserError, match="task toy: its train split is empty"):
        build_stream(settings(folder, **more), 1, words, tmp_path / "s")


def test_bad_files(benchmark, words):
    folder, write = benchmark
    good = {file: read(folder, file) for file in ("train.json", "test.json", "labels.json")}

    def says(match, file, value):
        write(file, value)
        with pytest.raises(UserError, match=match):
            cl_benchmark.check(settings(folder))
        write(file, good[file])

    says(r"train.json: line 3: not valid JSON", "train.json", '[\n{"label": "walks"},\n{oops}]')
    says(r"test.json: item 1 has no sentence", "test.json", [good["test.json"][0], {"label": "walks"}])
    says(r"test.json: item 0 has no label", "test.json", [{"sentence": "Ada walks"}])
    says(
        r"train.json: item 0: label 'walk' is not in labels.json \(did you mean 'walks'\?\)",
        "train.json",
        [{"label": "walk", "sentence": "Ada walks"}],
    )
    says("test.json: the task is empty", "test.json", [])
    says("train.json: expected a list of items, found dict", "train.json", {})
    says("labels.json: expected a list of label texts", "labels.json", {"a": 1})
    says("labels.json: expected two or more different labels", "labels.json", ["walks"])
    (folder / "SC" / "toy" / "test.json").unlink()
    for look in (cl_benchmark.check, cl_benchmark.fingerprint):
        with pytest.raises(UserError, match="test.json: no such file"):
            look(settings(folder))


def test_task_names(benchmark):
    folder, _ = benchmark
    with pytest.raises(UserError, match="no task 'toys'.*did you mean 'toy'"):
        cl_benchmark.check(settings(folder, tasks=["toys"]))
    (folder / "TC" / "toy").mkdir(parents=True)
    with pytest.raises(UserError, match="'toy' is ambiguous between SC/toy and TC/toy"):
        cl_benchmark.check(settings(folder))
    cl_benchmark.check(settings(folder, tasks=["SC/toy"]))
    with pytest.raises(UserError, match="two tasks are called toy"):
        cl_benchmark.check(settings(folder, tasks=["SC/toy", "TC/toy"]))
    with pytest.raises(UserError, match="no such folder"):
        cl_benchmark.check(settings(folder / "gone"))
    with pytest.raises(UserError, match="not a source of a base's mixture"):
        cl_benchmark.check(settings(folder), role="base")


def test_unknown_words(benchmark, words):
    folder, write = benchmark
    write("train.json", [{"label": "walks", "sentence": f"nobody knows these words {i}"} for i in range(9)])
    with pytest.raises(UserError, match="tokens are unknown"):
        cl_benchmark.build(settings(folder), 1, words)


def lowering():
    """A tokenizer of whole words that does not see case, drops zero-width spaces, and knows six words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = {
        word: number for number, word in enumerate(["<unk>", "yes", "no", "not", "sure", "really", "so"])
    }
    made = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace("\u200b", "")])
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (
            ["yes", "Yes"],
            "cannot distinguish number 1, 'yes', and number 2, 'Yes': it reads both as token ids \\[1\\]",
        ),
        (["yes", "no", "World", "Sports"], "cannot distinguish number 3, 'World', and number 4, 'Sports'"),
        (
            ["yes", "not  sure", "not sure"],
            "cannot distinguish number 2, 'not sure', and number 3, 'not sure'",
        ),
        (["yes", "no\u200b", "no"], r"cannot distinguish number 2, 'no\\u200b', and number 3, 'no'"),
        (["yes", "\u200b"], r"reads number 2, '\\u200b', as no token at all"),
        (["yes", "yes "], "expected two or more different labels"),
        ([f"word{n}" for n in range(500)], "cannot distinguish number 1, 'word0', and number 2, 'word1'"),
    ],
)
def test_labels_that_a_tokenizer_cannot_tell_apart(benchmark, labels, says, tmp_path):
    folder, write = benchmark
    write("labels.json", labels)
    for file in ("train.json", "test.json"):
        items = [
            {"label": labels[i % len(labels)], "sentence": f"so really no yes {file} {i}"} for i in range(20)
        ]
        write(file, items)
    with pytest.raises(UserError, match=f"labels.json: .*{says}"):
        build_stream({"source": "cl_benchmark", **settings(folder)}, 1, lowering(), tmp_path / "s")


def test_labels_that_can_be_reported_apart(benchmark):
    """One begins another, one is long, one is a single unknown word: different tokens, so they can be judged."""
    folder, write = benchmark
    labels = ["not", "not sure", "really so really not sure", "World"]
    write("labels.json", labels)
    for file in ("train.json", "test.json"):
        end = "no" * (file == "test.json")
        write(file, [{"label": labels[i % 4], "sentence": "no yes " + "so " * i + end} for i in range(1, 9)])
    (task,) = cl_benchmark.build(settings(folder), 1, lowering())
    assert len({tuple(task.test.row(i)[task.test.answers[i] :]) for i in range(4)}) == 4


def test_a_thousand_labels_of_two_words_each(benchmark, words):
    folder, write = benchmark
    labels = [f"s{i % 40} s{i // 40}" for i in range(1000)]
    write("labels.json", labels)
    for file, word in (("train.json", "dog"), ("test.json", "cat")):
        write(file, [{"label": labels[7 * i], "sentence": f"Ada keeps a {word} s{i}"} for i in range(100)])
    (task,) = cl_benchmark.build(settings(folder, test_items=5), 1, words)
    assert task.test.rows == 5000 and task.chance == 1e-3
    answers = [task.test.row(1000 * i + task.test.correct[i])[-2:].tolist() for i in range(5)]
    assert [words.decode(ids) in labels for ids in answers] == [True] * 5


@pytest.mark.parametrize("mark", ["-", "-1", -1, -1.0])
def test_items_without_a_gold_label(benchmark, words, mark):
    folder, write = benchmark
    good = {file: read(folder, file) for file in ("train.json", "test.json")}
    (whole,) = cl_benchmark.build(settings(folder), 1, words)
    for file, places in (("train.json", (0, 5, 17)), ("test.json", (0, 3, 39, 40))):
        items = list(good[file])
        for place in places:
            items.insert(place, {"label": mark, "sentence": f"Ada walks s{place}"})
        write(file, items)
    (task,) = cl_benchmark.build(settings(folder), 1, words)
    assert task.facts["unlabelled"] == {"train": 3, "test": 4} and whole.facts["unlabelled"] == {
        "train": 0,
        "test": 0,
    }
    for split in ("train", "validation", "test"):
        ours, theirs = getattr(task, split), getattr(whole, split)
        assert ours.tokens.tobytes() == theirs.tokens.tobytes() and (ours.correct == theirs.correct).all()
    cl_benchmark.check(settings(folder, unlabelled="drop"))
    with pytest.raises(
        UserError, match="train.json: item 0: label .* marks a missing gold label.*unlabelled: drop"
    ):
        cl_benchmark.check(settings(folder, unlabelled="error"))


def test_an_error_names_the_number_that_an_item_has_in_its_file(benchmark, words):
    folder, write = benchmark
    write(
        "test.json",
        [{"label": "-", "sentence": "Ada"}] * 7 + [{"label": "walks", "sentence": "Ada keeps " * 30}],
    )
    with pytest.raises(UserError, match="test.json: item 7: 6. tokens found"):
        cl_benchmark.build(settings(folder), 1, words)


def test_marks_of_no_label_are_narrow(benchmark, words):
    folder, write = benchmark
    good = read(folder, "train.json")
    for label in ("--", "", " - ", "none", None, True, 0, 1, float("nan"), ["-"], {"-": 1}):
        write("train.json", [*good, {"label": label, "sentence": "Ada walks"}])
        with pytest.raises(UserError, match=f"train.json: item {len(good)}.*label"):
            cl_benchmark.check(settings(folder))
    write("train.json", [{"label": "-", "sentence": "Ada walks"}])
    with pytest.raises(UserError, match="train.json: none of the 1 items has a gold label"):
        cl_benchmark.check(settings(folder))
    write("labels.json", ["walks", "plays the", "never", "-"])  # where it is a label, it is one
    write("train.json", good)
    write("test.json", [{"label": "-", "sentence": f"Ada s{i}"} for i in range(6)])
    (task,) = cl_benchmark.build(settings(folder), 1, words)
    assert task.facts["unlabelled"]["test"] == 0 and set(task.test.correct) == {3}


def test_a_label_of_text_and_number_minus_one(benchmark, words):
    folder, write = benchmark
    write("labels.json", ["-1", "s1"])
    for file, word in (("train.json", "dog"), ("test.json", "cat")):
        write(
            file, [{"label": ("-1", "s1")[i % 2], "sentence": f"Ada keeps a {word} s{i}"} for i in range(20)]
        )
    (task,) = cl_benchmark.build(settings(folder), 1, words)
    assert len(task.test) == 20 and task.facts["unlabelled"] == {"train": 0, "test": 0}


def test_half_a_surrogate_pair(benchmark):
    folder, write = benchmark
    good, labels = read(folder, "train.json"), read(folder, "labels.json")
    for half in ("\ud800", "\udfff"):
        write("train.json", [*good, {"label": "walks", "sentence": f"Ada {half} walks"}])
        code = f"u{ord(half):04x}"
        with pytest.raises(
            UserError, match=rf"train.json: item {len(good)}: character 4 is \\{code}, half of"
        ):
            cl_benchmark.check(settings(folder))
    write(
        "train.json", [*good, {"label": "walks", "sentence": "Ada \U0001f3b9 walks"}]
    )  # json.dumps writes a pair
    cl_benchmark.check(settings(folder))
    write("labels.json", [*labels, "a\udc00"])
    with pytest.raises(UserError, match=r"labels.json: label 'a\\udc00': character 1 is \\udc00"):
        cl_benchmark.check(settings(folder))


def test_what_was_found_instead_of_an_item(benchmark):
    folder, write = benchmark
    for item, says in (
        ({"label": "walks", "text": "Ada"}, "has no sentence: found the keys label, text"),
        ({"label": "walks", "sentence": None}, "has no sentence: found None"),
        ({"label": "walks", "sentence": "\n \t"}, "has no sentence: found "),
        ({"label": 1, "sentence": "Ada"}, "has no label: found 1"),
        ("Ada", "found 'Ada', expected an object"),
    ):
        write("train.json", [item])
        with pytest.raises(UserError, match=f"train.json: item 0:? {says}"):
            cl_benchmark.check(settings(folder))


def test_a_sentence_that_the_tokenizer_drops(benchmark, words):
    folder, write = benchmark
    write("labels.json", ["yes", "no"])
    for file in ("train.json", "test.json"):
        write(file, [{"label": "yes", "sentence": f"so {file} " + "so " * i} for i in range(9)])
    items = read(folder, "test.json")
    write("test.json", [*items, {"label": "no", "sentence": "\u200b"}])
    with pytest.raises(
        UserError, match=r"test.json: item 9: the tokenizer reads the sentence .* as no token at all"
    ):
        cl_benchmark.build(settings(folder), 1, lowering())


# The fifteen data sets of the authors' orders 1 to 6, in their layout: category, labels, items of train and test that
# say something about the format. The texts are made up.
FIFTEEN = {
    "TC/dbpedia": ["Company", "Educational Institution", "Artist", "Athlete", "Office Holder", "Mean of Transportation",
                   "Building", "Natural Place", "Village", "Animal", "Plant", "Album", "Film", "Written Work"],
    "TC/yahoo": ["Society & Culture", "Science & Mathematics", "Health", "Education & Reference",
                 "Computers & Internet", "Sports", "Business & Finance", "Entertainment & Music",
                 "Family & Relationships", "Politics & Government"],
    "TC/agnews": ["World", "Sports", "Business", "Science or Technology"],
    "SC/amazon": ["very negative", "negative", "neutral", "positive", "very positive"],
    "SC/yelp": ["very negative", "negative", "neutral", "positive", "very positive"],
    "SC/IMDB": ["Good", "Bad"],
    "SC/SST-2": ["Good", "Bad"],
    "NLI/MNLI": ["neutral", "entailment", "contradiction"],
    "NLI/CB": ["entailment", "contradiction", "neutral"],
    "NLI/RTE": ["contradiction", "entailment"],
    "WiC/WiC": ["True", "False"],
    "QQP/QQP": ["False", "True"],
    "BoolQA/BoolQA": ["True", "False"],
    "MultiRC/MultiRC": ["False", "True"],
    "COPA/COPA": ["A", "B"],
}  # fmt: skip
SENTENCES = {
    "TC": 'Title: {n} Inc. Text: A firm of <br /> and &amp; "quotes", caf\u00e9 {n}.',
    "SC": "Text: Film {n} was </s> so-so \u2014 7/10 :-)",
    "NLI": "sentence 1: She has {n} dogs.\nsentence 2: She has none.",
    "WiC": "word: bank\nsentence 1: bank {n}\nsentence 2: river bank",
}


def test_the_fifteen_sets_of_the_authors_orders(tmp_path):
    for name, labels in FIFTEEN.items():
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "labels.json").write_text(json.dumps(labels, indent=0))
        for file, many in (("train", 60), ("dev", 30), ("test", 30)):
            sentence = SENTENCES.get(name.split("/")[0], "passage {n}\nquestion: is it so?")
            items = [
                {"sentence": sentence.format(n=f"{file}{i}"), "label": labels[i % len(labels)]}
                for i in range(many)
            ]
            if name == "NLI/MNLI" and file != "train":
                items[3]["label"] = items[20]["label"] = "-"
            (folder / f"{file}.json").write_text(json.dumps(items))
    names = [name.split("/")[1] for name in FIFTEEN]
    found = cl_benchmark.build({"folder": str(tmp_path), "tasks": names, "max_tokens": 256}, 1, fast("start"))
    assert [task.name for task in found] == names and len(names) == 15
    for task, labels in zip(found, FIFTEEN.values(), strict=True):
        left_out = {"train": 0, "test": 2 if task.name == "MNLI" else 0}
        assert task.facts["unlabelled"] == left_out and len(task.test) == 30 - left_out["test"]
        assert task.chance == pytest.approx(1 / len(labels)) and len(task.train) + len(task.validation) == 60

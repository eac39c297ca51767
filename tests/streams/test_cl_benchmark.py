"""The benchmark's layout, its splits, what overflows, and one clear line for each mistake."""

import json

import pytest

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
    with pytest.raises(UserError, match="'toy' stands for SC/toy and TC/toy"):
        cl_benchmark.check(settings(folder))
    cl_benchmark.check(settings(folder, tasks=["SC/toy"]))
    with pytest.raises(UserError, match="two tasks are called toy"):
        cl_benchmark.check(settings(folder, tasks=["SC/toy", "TC/toy"]))
    with pytest.raises(UserError, match="no such folder"):
        cl_benchmark.check(settings(folder / "gone"))
    with pytest.raises(UserError, match="no source of a base's mixture"):
        cl_benchmark.check(settings(folder), role="base")


def test_unknown_words(benchmark, words):
    folder, write = benchmark
    write("train.json", [{"label": "walks", "sentence": f"nobody knows these words {i}"} for i in range(9)])
    with pytest.raises(UserError, match="tokens are unknown"):
        cl_benchmark.build(settings(folder), 1, words)

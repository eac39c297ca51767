"""Tasks on disk and in memory: numbers that are wide enough, whatever is counted."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sparse_continual.errors import UserError
from sparse_continual.streams.build import build_mixture
from sparse_continual.streams.tasks import (
    Task,
    concatenate,
    load_tasks,
    make_split,
    merged,
    save_tasks,
    whole,
)


def task_of(number: int, items: int = 1) -> Task:
    """A task whose rows hold its own number and whose chance no other has."""
    splits = {
        split: make_split([[1, number, 2]] * items, [1] * items) for split in ("train", "validation", "test")
    }
    return Task(f"task_{number}", "tokens", parts=whole(1 / (number + 2)), **splits)


@pytest.mark.parametrize("count", [1, 127, 128, 140, 256, 300, 40_000])
def test_parts_beyond_every_narrow_integer(count, tmp_path):
    pool = [task_of(number, 1 + number % 3) for number in range(min(count, 50))]
    tasks = [pool[number % 50] for number in range(count)]
    turns = [number % 50 for number in range(count)]
    by_hand = sum((1 + n % 3) / (n + 2) for n in turns) / sum(1 + n % 3 for n in turns)
    made = merged(tasks)
    assert made.chance == pytest.approx(by_hand, rel=1e-12)
    save_tasks(tmp_path, [made])
    (back,) = load_tasks(tmp_path)
    assert back.chance == made.chance and back.test.parts.dtype == np.int32
    assert (back.test.parts == np.repeat(np.arange(count), [1 + n % 3 for n in turns])).all()


def test_the_files_of_few_parts_keep_their_bytes(tmp_path):
    """They were stored as int8 before, and results are named after what they are made from."""
    for count, dtype in ((127, np.int8), (128, np.int32)):
        save_tasks(tmp_path / str(count), [merged([task_of(number) for number in range(count)])])
        stored = load_file(tmp_path / str(count) / "base" / "test.safetensors")
        assert stored["parts"].dtype == dtype and stored["answers"].dtype == np.int32


def test_numbers_that_an_older_version_wrapped_are_refused(tmp_path):
    save_tasks(tmp_path, [merged([task_of(number) for number in range(140)])])
    path = tmp_path / "base" / "validation.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"parts": tensors["parts"].astype(np.int8)}, path)
    with pytest.raises(UserError, match=r"validation.safetensors: part numbers overflow.*delete the folder"):
        load_tasks(tmp_path)


def test_many_rows_and_long_rows_keep_their_numbers():
    long = make_split([np.arange(70_000)], [69_000])
    many = make_split([[0, n] for n in range(70_000)], [1] * 70_000)
    both = concatenate([many, long, many])
    assert both.items[-1] == 140_000 and both.starts[-1] == 2 * 140_000 + 70_000
    assert (
        both.answers[70_000] == 69_000 and both.row(70_000)[-1] == 69_999 and both.row(140_000)[1] == 69_999
    )


def test_a_mixture_of_140_files(words, tmp_path):
    """The last 12 files hold one word, so a guess is always right there."""
    files = []
    for i in range(140):
        path = tmp_path / f"f{i:03}.txt"
        path.write_text(" ".join("s1" if i >= 128 else f"s{(i * 7 + k * k) % 50}" for k in range(120)))
        files.append(str(path))
    settings = [{"source": "text", "files": files, "sequence_length": 12, "test_sequences": 1}]
    (task,) = build_mixture(settings, 0, words, tmp_path / "mixture")
    assert [part["chance"] for part in task.parts[128:]] == [1.0] * 12
    assert task.chance == pytest.approx(np.mean([part["chance"] for part in task.parts]))
    assert task.test.parts.max() == 139 and task.test.parts.min() == 0

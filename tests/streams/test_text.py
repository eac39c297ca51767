"""Windows of a file: consecutive, apart, counted from the second token on."""

import numpy as np
import pytest

from sparse_continual.errors import UserError
from sparse_continual.streams.sources import text


@pytest.fixture
def story(tmp_path):
    path = tmp_path / "story.txt"
    rng = np.random.default_rng(0)
    path.write_text(" ".join(f"s{i}" for i in np.minimum(rng.geometric(0.2, 400), 60)))
    return path


def settings(path, **more):
    return {"files": [str(path)], "sequence_length": 11, **more}


def test_windows_are_the_files_tokens(story, words):
    (task,) = text.build(settings(story), 1, words)
    ids = words(story.read_text(), add_special_tokens=False)["input_ids"]
    windows = [tuple(ids[i : i + 10]) for i in range(0, 400, 10)]
    found = [tuple(s.row(i)[1:]) for s in (task.train, task.validation, task.test) for i in range(s.rows)]
    assert found == windows and (task.train.rows, task.validation.rows, task.test.rows) == (32, 4, 4)
    assert set(task.train.answers) == {2} and {task.train.row(i)[0] for i in range(32)} == {
        words.bos_token_id
    }
    counted = np.array(windows[:32])[:, 1:].ravel()
    favourite = np.bincount(counted).argmax()
    assert task.chance == pytest.approx(np.mean(np.array(windows[36:])[:, 1:] == favourite))


def test_caps_take_a_seeded_sample(story, words):
    (one,), (other,) = (
        text.build(settings(story, train_sequences=5, test_sequences=2), s, words) for s in (1, 2)
    )
    assert (one.train.rows, one.test.rows) == (5, 2)
    assert one.train.tokens.tobytes() != other.train.tokens.tobytes()


def test_bad_files(story, tmp_path, words):
    with pytest.raises(UserError, match="gone.txt: no such file"):
        text.check(settings(tmp_path / "gone.txt"))
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 50)
    with pytest.raises(UserError, match="latin.txt: not UTF-8 text: byte 3"):
        text.check(settings(tmp_path / "latin.txt"))
    (tmp_path / "short.txt").write_text("s1 s2 s3")
    with pytest.raises(UserError, match="short.txt: 8 bytes found"):
        text.check(settings(tmp_path / "short.txt"))
    (tmp_path / "brief.txt").write_text("s100 " * 29)
    text.check(settings(tmp_path / "brief.txt"))
    with pytest.raises(UserError, match="brief.txt: 29 tokens found"):
        text.build(settings(tmp_path / "brief.txt"), 1, words)
    with pytest.raises(
        UserError, match="story.txt: 400 tokens found, too few"
    ):  # two windows without a start token
        text.build(settings(story, sequence_length=134, start_token="never"), 1, words)
    (tmp_path / "english.txt").write_text("some words that nobody invented " * 30)
    with pytest.raises(UserError, match="english.txt: 120 of 150 tokens are unknown"):
        text.build(settings(tmp_path / "english.txt"), 1, words)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "story.txt").write_text(story.read_text())
    with pytest.raises(UserError, match="two files are called story"):
        text.check({"files": [str(story), str(tmp_path / "more" / "story.txt")]})

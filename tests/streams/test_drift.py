"""Closed forms against a long simulation, and the knob."""

import numpy as np
import pytest

from sparse_continual.errors import UserError
from sparse_continual.streams.sources import drift


def settings(**more):
    return {"similarity": 0.5, "alphabet": 16, **more}


@pytest.mark.parametrize("k", [0, 1])
def test_entropy_and_bayes_against_simulation(k):
    matrix = drift.language(settings(), 3, k)
    assert np.allclose(matrix.sum(1), 1)
    # an own walk, one step after the other
    rng, state, losses, hits, visits = np.random.default_rng(0), 0, [], [], np.zeros(16)
    for _ in range(60_000):
        following = int(np.searchsorted(np.cumsum(matrix[state])[:-1], rng.random(), side="right"))
        losses.append(-np.log(matrix[state, following]))
        hits.append(following == matrix[state].argmax())
        visits[state] += 1
        state = following
    assert drift.entropy(matrix) == pytest.approx(np.mean(losses), abs=0.02)
    assert drift.bayes(matrix) == pytest.approx(np.mean(hits), abs=0.01)
    assert drift.bayes(matrix) >= 0.85
    assert np.allclose(drift.stationary(matrix), visits / visits.sum(), atol=0.02)


def test_entropy_by_hand():
    matrix = np.array([[0.9, 0.1], [0.3, 0.7]])
    assert drift.stationary(matrix) == pytest.approx([0.75, 0.25])
    h = [-(p * np.log(p) + (1 - p) * np.log(1 - p)) for p in (0.9, 0.7)]
    assert drift.entropy(matrix) == pytest.approx(0.75 * h[0] + 0.25 * h[1])
    assert drift.bayes(matrix) == pytest.approx(0.75 * 0.9 + 0.25 * 0.7)


@pytest.mark.parametrize("similarity", [0, 0.25, 1])
def test_similarity_is_the_share_of_common_rows(similarity):
    zero, one = (drift.language(settings(similarity=similarity), 3, k) for k in (0, 1))
    assert (zero == one).all(1).sum() == 16 * similarity


def test_samples_follow_the_matrix():
    matrix = drift.language(settings(), 3, 1)
    states = drift.sample(matrix, 4000, 20, np.random.default_rng(1))
    counts = np.zeros((16, 16))
    np.add.at(counts, (states[:, :-1].ravel(), states[:, 1:].ravel()), 1)
    assert np.allclose(counts / counts.sum(1, keepdims=True), matrix, atol=0.03)
    assert np.allclose(np.bincount(states[:, 0], minlength=16) / 4000, drift.stationary(matrix), atol=0.03)


def test_first_symbol_is_not_counted(words):
    task = drift.build(settings(tasks=1, train_sequences=4), 1, words)[0]
    assert set(task.train.answers) == {2} and task.train.row(0)[0] == words.bos_token_id
    assert task.facts["entropy"] < np.log(16) and task.ceiling == pytest.approx(0.9)


def test_a_tokenizer_without_the_symbols(words):
    class Other:
        bos_token_id, unk_token_id = 1, 3

        def __call__(self, texts, **_):
            return {"input_ids": [list(text.encode()) for text in texts]}

    with pytest.raises(UserError, match="knows 0 of 16 symbols"):
        drift.build(settings(), 1, Other())

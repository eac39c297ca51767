"""Option scores with the prior of each option taken out, against one row at a time."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from sparse_continual.errors import UserError
from sparse_continual.models.load import load_model
from sparse_continual.scores import evaluate
from sparse_continual.scores.calibrate import calibrated, content_free, prior
from sparse_continual.streams.tasks import Task, make_split
from sparse_continual.training.measure import measure

BOS, CUE = [1], [7, 9]
OPTIONS = [[20], [21, 22], [23, 24, 25]]


def asked(name="mood", bos=BOS, cue=CUE, items=12):
    """A task of sentences of 2 to 5 tokens, whose three options are of different lengths."""
    rng = np.random.default_rng(3)
    rows, answers, numbers, right = [], [], [], []
    for item in range(items):
        prompt = [*bos, *rng.integers(10, 20, size=2 + item % 4), *cue]
        rows += [[*prompt, *option] for option in OPTIONS]
        answers += [len(prompt)] * 3
        numbers += [item] * 3
        right.append(item % 3)
    split = make_split(rows, answers, numbers, right)
    return Task(name, "options", split, split, split, [{"name": "all", "chance": 1 / 3, "ceiling": 1.0}])


@pytest.fixture
def model(world):
    return load_model(world.root / "model")


def loss_alone(model, prompt, option):
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *option]])).logits[0, len(prompt) - 1 : -1].double()
    return -float(logits.log_softmax(-1)[range(len(option)), option].mean())


def test_scores_against_single_rows(model):
    task = asked()
    none = [loss_alone(model, BOS + CUE, option) for option in OPTIONS]
    np.testing.assert_allclose(prior(model, task, 5), none * 12, rtol=1e-5)
    scores, losses = [], []
    for item in range(12):
        prompt = task.test.row(3 * item)[: task.test.answers[3 * item]].tolist()
        each = np.array([loss_alone(model, prompt, option) for option in OPTIONS])
        scores.append(float(np.argmin(each - none) == item % 3))
        losses.append(each[item % 3])
    found = calibrated(model, task, 5)
    assert found.score.tolist() == scores and 0 < np.mean(scores) < 1
    np.testing.assert_allclose(found.loss, losses, atol=1e-5)
    assert (found.loss == measure(model, task, "test", 5).loss).all()
    assert scores != measure(model, task, "test", 5).score.tolist()  # it makes a difference here


def test_a_bias_to_one_option_changes_nothing(model):
    """A head that raises one token everywhere lowers that option's loss and its prior alike (one-token
    options: no other token of them is touched)."""
    task = asked()
    one = [[20], [21], [22]]
    rows = [[*task.test.row(i)[: task.test.answers[i]], *one[i % 3]] for i in range(task.test.rows)]
    split = make_split(rows, task.test.answers, task.test.items, task.test.correct)
    task = Task("mood", "options", split, split, split, task.parts)
    before, plain = calibrated(model, task, 5), measure(model, task, "test", 5).score
    model.lm_head.bias = torch.nn.Parameter(torch.zeros(model.config.vocab_size))
    model.lm_head.bias.data[21] = 30.0
    assert measure(model, task, "test", 5).score.tolist() == [float(i % 3 == 1) for i in range(12)]
    after = calibrated(model, task, 5)
    assert after.score.tolist() == before.score.tolist() != plain.tolist()


def test_a_model_that_does_not_look_at_the_prompt_scores_chance(model):
    """It prefers one option, which calibration takes out: what is left is a tie of all, whichever is right."""
    task = asked()
    model.lm_head.weight.data.zero_()
    model.lm_head.bias = torch.nn.Parameter(torch.linspace(0, 3, model.config.vocab_size))
    assert set(measure(model, task, "test", 5).score) == {0.0, 1.0}
    np.testing.assert_allclose(calibrated(model, task, 5).score, 1 / 3)


def test_what_prompts_share():
    def split(*prompts):
        return make_split([[*p, 99] for p in prompts], [len(p) for p in prompts])

    assert content_free(split([1, 5, 6, 7], [1, 4, 7], [1, 8, 8, 8, 6, 7])) == [1, 7]
    assert content_free(split([1, 7], [1, 5, 7])) == [1, 7]
    assert content_free(split([1, 1], [1, 1, 1])) == [1, 1]  # they overlap in the shortest
    assert content_free(split([1, 2, 3], [1, 2, 3])) == [1, 2, 3]
    assert content_free(split([1, 2], [3, 4])) == []


def test_prompts_without_a_common_token_are_refused(model):
    with pytest.raises(UserError, match="task 'mood': its prompts share neither start nor end"):
        prior(model, asked(bos=[], cue=[]), 5)


def test_a_table_of_its_own_that_changes_no_other(model, world):
    from sparse_continual.streams.tasks import load_tasks

    tasks = [asked(), *load_tasks(world.root / "stream" / "tasks", ["a"])]
    plain, both = (
        evaluate.score(
            lambda task: nullcontext(model), 2, tasks, [], {"batch_size": 5, "calibrated_options": wanted}
        )
        for wanted in (False, True)
    )
    (row,) = both.pop("calibrated")
    assert both == plain
    assert (row["task"], row["position"], row["after"], row["items"]) == ("mood", 1, 2, 12)
    assert row["score"] == calibrated(model, tasks[0], 5).score.mean()
    assert row.keys() == set(evaluate.TABLES["calibrated"])

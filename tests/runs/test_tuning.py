"""The rule that chooses a learning rate, and the trials that it chooses from."""

import pytest

from sparse_continual.runs import tuning
from sparse_continual.runs.tables import TRIALS
from sparse_continual.training import loop


def rows(table, tasks=("a", "b")):
    """Rows of trials.csv from {rate: {block: [R[1,1], R[2,2]]}}; what is off the diagonal must not matter."""
    return [
        {
            "block": block,
            "learning_rate": rate,
            "after": after,
            "task": task,
            "position": position,
            "score": scores[position - 1] if after == position else 9.0,
        }
        for rate, blocks in table.items()
        for block, scores in blocks.items()
        for after in range(len(tasks) + 1)
        for position, task in enumerate(tasks, 1)
    ]


def test_the_smallest_rate_within_one_standard_error_of_the_best():
    # means .50, .62, .66, .65; the best's blocks are .60 and .72, so its standard error is .06
    table = {
        1e-3: {"t1": [0.4, 0.6], "t2": [0.5, 0.5]},
        2e-3: {"t1": [0.5, 0.7], "t2": [0.64, 0.64]},
        4e-3: {"t1": [0.5, 0.7], "t2": [0.7, 0.74]},
        8e-3: {"t1": [0.65, 0.65], "t2": [0.65, 0.65]},
    }
    found = tuning.choose(rows(table))
    assert (found["learning_rate"], found["best"]) == (2e-3, 4e-3)
    assert found["standard_error"] == pytest.approx(0.06)
    assert found["learning"] == pytest.approx({"0.001": 0.5, "0.002": 0.62, "0.004": 0.66, "0.008": 0.65})


def test_without_spread_the_best_is_chosen():
    table = {1e-3: {"t1": [0.5, 0.5], "t2": [0.5, 0.5]}, 2e-3: {"t1": [0.6, 0.6], "t2": [0.6, 0.6]}}
    assert tuning.choose(rows(table))["learning_rate"] == 2e-3


def test_of_equal_rates_the_smallest_is_chosen_and_none_above_the_best_matters():
    table = {rate: {"t1": [0.7, 0.7], "t2": [0.8, 0.8]} for rate in (4e-3, 1e-3, 2e-3)}
    found = tuning.choose(rows(table))
    assert found["learning_rate"] == found["best"] == 1e-3


@pytest.fixture
def tuning_job(job_of):
    job = job_of("sparse")
    block = {key: job[key] for key in ("model", "trust_remote_code", "topology", "like", "stream")}
    return {
        **{key: job[key] for key in ("resume", "identity", "arm", "training")},
        "learning_rates": [1e-3, 2e-3],
        "blocks": [
            {**block, "block": "tuning-1", "order": ["b", "a"], "seed": 1},
            {**block, "block": "tuning-2", "order": ["c", "b"], "seed": 2},
        ],
    }


def test_trials_are_complete(tuning_job):
    found = tuning.tune(tuning_job, 1)
    keys = [(r["block"], r["learning_rate"], r["after"], r["position"], r["task"]) for r in found]
    assert keys == [
        (block, rate, after, position, task)
        for block, order in (("tuning-1", "ba"), ("tuning-2", "cb"))
        for rate in (1e-3, 2e-3)
        for after in (0, 1, 2)
        for position, task in enumerate(order, 1)
    ]
    assert all(["condition", *row, "chosen"] == TRIALS.names for row in found)
    assert all(row["chance"] == pytest.approx(0.2) and row["ceiling"] == pytest.approx(0.95) for row in found)
    starts = {(r["block"], r["task"]): r["loss"] for r in found if r["after"] == 0}
    assert all(r["loss"] == starts[r["block"], r["task"]] for r in found if r["after"] == 0)
    assert sum(row["loss"] < starts[row["block"], row["task"]] for row in found if row["after"]) > 8


def test_a_trial_that_is_done_is_not_repeated(tuning_job, monkeypatch, tmp_path):
    expected = tuning.tune(tuning_job | {"resume": tmp_path / "other"}, 1)
    step, taken = loop.step, []

    def dying(*arguments):
        if len(taken) == 23:  # in the third trial of 10 steps
            raise KeyboardInterrupt
        taken.append(1)
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "step", dying)
        with pytest.raises(KeyboardInterrupt):
            tuning.tune(tuning_job, 1)
    taken.clear()
    monkeypatch.setattr(loop, "step", lambda *a: taken.append(1) or step(*a))
    assert tuning.tune(tuning_job, 1) == expected
    assert len(taken) == 20
    taken.clear()
    trial = next(tuning_job["resume"].glob("*-tuning-1-*.json"))
    trial.write_text(trial.read_text().replace('"position": 1', '"position": 2', 1))
    assert tuning.tune(tuning_job, 1) == expected
    assert len(taken) == 10  # the damaged trial
    taken.clear()
    assert tuning.tune(tuning_job | {"identity": "other"}, 1) == expected
    assert len(taken) == 40

"""What jobs ask for: bytes and hours by hand, times the safety factors."""

import pytest
import yaml
from driver import TINY

from sparse_continual.budgets import resources
from sparse_continual.budgets.price import STEP_SECONDS, THROUGHPUT
from sparse_continual.study.config import checked
from sparse_continual.study.study import Study
from sparse_continual.training.arithmetic import Shape, forward_flops, parameters, training_flops


def study_of(**training):
    config = yaml.safe_load(TINY.read_text())
    config["study"]["training"] |= training
    return Study(checked(config))


def cell(study):
    return study.runs(study.streams[0])[0]


def test_memory_is_planned_bytes_with_a_margin_and_grows_with_the_attempt(monkeypatch):
    study = study_of()
    monkeypatch.setattr(study, "parameters", lambda entity: 10**9)
    run, score = cell(study).run, cell(study).score
    model = study.model(study.conditions[0], study.blocks[0])
    # weights twice, gradients, two moments: 20 bytes a parameter; scoring loads weights alone
    assert resources.megabytes(study, run) == 2000 + 1.3 * 20_000
    assert resources.megabytes(study, score) == 2000 + 1.3 * 8_000
    assert resources.megabytes(study, model) == 2000 + 1.3 * 20_000
    assert resources.megabytes(study, run, attempt=2) == 2 * resources.megabytes(study, run)
    assert (resources.gpus(study, run), resources.gpus(study, model)) == (1, 0)


def test_small_models_ask_for_no_gpu_and_half_an_hour():
    study = study_of()
    assert resources.gpus(study, cell(study).run) == 0
    assert resources.minutes(study, cell(study).run) == 30
    assert resources.minutes(study, cell(study).run, attempt=3) == 90


def test_time_follows_steps_rows_and_tasks():
    study = study_of(stop={"steps": 1_000_000})
    run, stream = cell(study).run, study.streams[0]
    shape, sizes, tasks = Shape(**study.shape_of_model(run)), study.sizes(stream), len(study.tasks(stream))
    rows = study.study["training"]["batch_size"] * sizes["row_tokens"]
    step = STEP_SECONDS + rows * training_flops(shape, sizes["row_tokens"]) / THROUGHPUT
    forward = forward_flops(shape, sizes["row_tokens"])["total"] * sizes["row_tokens"] * sizes["test_items"]
    scoring = (tasks + 1) * (STEP_SECONDS + tasks * forward / THROUGHPUT)
    assert resources.planned_hours(study, run) * 3600 == pytest.approx(tasks * 10**6 * step + scoring)
    assert resources.minutes(study, run) == int(4 * 60 * resources.planned_hours(study, run))
    tuning = study.tuning(stream, study.conditions[0])
    trials = (
        len(study.tuning_blocks)
        * len(study.study["tuning"]["learning_rates"])
        * study.study["tuning"]["tasks"]
    )
    assert resources.planned_hours(study, tuning) * 3600 == pytest.approx(trials * 10**6 * step)


def test_every_stage_has_a_price():
    study = study_of()
    for (stage, _), entity in study._entities.items():
        if stage != "streams":
            assert 0 <= resources.planned_hours(study, entity) < 1, entity.path
            assert (
                resources.megabytes(study, entity)
                >= 2000 + 1.3e-6 * 8 * parameters(Shape(**study.shape_of_model(entity)))["total"] - 1
            )

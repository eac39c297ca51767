"""What jobs ask for: bytes and hours by hand, times the safety factors."""

import pytest
import yaml
from driver import TINY

from sparse_continual.budgets import resources
from sparse_continual.budgets.price import STEP_SECONDS, THROUGHPUT
from sparse_continual.study.config import checked
from sparse_continual.study.study import Study
from sparse_continual.training.arithmetic import Shape, forward_flops, parameters, training_flops


def study_of(mechanism=None, savings=False, **training):
    config = yaml.safe_load(TINY.read_text())
    config["study"]["training"] |= training
    config["mechanisms"]["finetune"] = mechanism or config["mechanisms"]["finetune"]
    config["study"]["secondary"] = {"savings": {"steps": 3}} if savings else {}
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
    head = sizes["answer_tokens"] / sizes["row_tokens"]
    flops = training_flops(shape, sizes["row_tokens"], ends_trained=False, head=head)
    step = STEP_SECONDS + rows * flops / THROUGHPUT
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


EWC = {"kind": "ewc", "lambda": 1, "fisher": "exact"}


def test_a_mechanism_adds_the_passes_and_bytes_that_it_declares():
    plain, ewc = study_of(savings=True), study_of(EWC, savings=True)
    shape, sizes = Shape(**plain.shape_of_model(cell(plain).run)), plain.sizes(plain.streams[0])
    tokens, head = sizes["row_tokens"], sizes["answer_tokens"] / sizes["row_tokens"]
    training = training_flops(shape, tokens, ends_trained=False, head=head)
    forward = forward_flops(shape, tokens, head=1 / tokens)["total"]
    # of every row one gradient for each token of the vocabulary as its answer, and their probabilities
    fisher = sizes["train_items"] * tokens * (shape.vocabulary * training + forward) / THROUGHPUT
    step = 5 * shape.prunable / THROUGHPUT

    def added(entity_of):
        before, after = (resources.planned_hours(study, entity_of(study)) for study in (plain, ewc))
        return 3600 * (after - before)

    assert added(lambda study: cell(study).run) == pytest.approx(2 * (40 * step + fisher))
    trials = len(plain.tuning_blocks) * 2 * 2
    tuning = added(lambda study: study.tuning(study.streams[0], "dense"))
    assert tuning == pytest.approx(trials * (40 * step + fisher))
    # three steps on the one old task, from the base and from the last weights; passes of all tasks: an upper bound
    assert added(lambda study: study.secondary(study.streams[0])[0][2]) == pytest.approx(
        6 * step + 4 * fisher
    )
    assert added(lambda study: cell(study).score) == 0


@pytest.mark.parametrize(
    ("mechanism", "bytes_of"),
    [
        (EWC, lambda shape, tokens: 8 * shape.prunable),
        ({"kind": "replay", "buffer_items": 10**6, "share": 0.5}, lambda shape, tokens: 4 * 10**6 * tokens),
    ],
)
def test_memory_has_room_for_what_a_mechanism_keeps(mechanism, bytes_of, monkeypatch):
    monkeypatch.setattr(resources, "LIBRARIES", 0)
    monkeypatch.setattr(Study, "parameters", lambda self, entity: 10**9)
    plain, study = study_of(savings=True), study_of(mechanism, savings=True)
    kept = bytes_of(
        Shape(**study.shape_of_model(cell(study).run)), study.sizes(study.streams[0])["row_tokens"]
    )
    for entity_of in (lambda s: cell(s).run, lambda s: s.secondary(s.streams[0])[0][2]):
        assert resources._kept_bytes(study, entity_of(study)) == kept  # too few to show in megabytes for ewc
        megabytes = resources.megabytes(study, entity_of(study))
        assert megabytes == int(1.3 * (20 * 10**9 + kept) / 1e6)
    assert resources.megabytes(study, cell(study).score) == resources.megabytes(plain, cell(plain).score)


def test_every_stage_has_a_price():
    study = study_of()
    for (stage, _), entity in study._entities.items():
        if stage != "streams":
            assert 0 <= resources.planned_hours(study, entity) < 1, entity.path
            assert (
                resources.megabytes(study, entity)
                >= 2000 + 1.3e-6 * 8 * parameters(Shape(**study.shape_of_model(entity)))["total"] - 1
            )

"""The resources of a job, from the price of its result: memory, time, GPUs.

Memory is 1.3 times the planned bytes plus 2 GB for the libraries; time is four times the planned hours and at least
half an hour. Both grow with the attempt. Planned hours count training and method passes as `budgets.price` does, and
scoring as forward passes. Training on a stream has the price that its mechanism declares, for a model that writes all
of its weights: an upper bound.
"""

from sparse_continual.budgets.demand import making_of, mixture_tokens, secondary_steps, steps_per_task
from sparse_continual.budgets.price import TOKEN, hours, sizes_of
from sparse_continual.budgets.pruning import making
from sparse_continual.errors import UserError
from sparse_continual.runs.mechanism import Price, Sizes, mechanism_class
from sparse_continual.runs.tables import SECONDARY
from sparse_continual.training.arithmetic import Shape, forward_flops, parameters, training_flops

LIBRARIES = 2000  # megabytes
TABLES = 1500  # megabytes of a job that only reads and writes tables, figures, pages or token rows
SHORTEST = 30  # minutes
LARGE = 5e8  # parameters from which training and scoring ask for a GPU
LOADED = 8  # bytes per parameter: its float32 weight, and the copy that is read from disk
TRAINED = 20  # LOADED, a float32 gradient and AdamW's two moments
METHOD = 28  # LOADED, and the data of a method that trains: gradients and moments of masks and weights
COPY = 4  # one more float32 model: a teacher


def megabytes(study, entity, attempt: int = 1) -> int:
    """Memory of the job that makes `entity`, an `Entity` of the study `study`."""
    planned = study.parameters(entity) * _bytes_each(entity) + _kept_bytes(study, entity)
    return attempt * int(1.3 * planned / 1e6 + LIBRARIES)


def minutes(study, entity, attempt: int = 1) -> int:
    """Wall time of the job that makes `entity`, an `Entity` of the study `study`."""
    return attempt * max(SHORTEST, int(4 * 60 * planned_hours(study, entity)))


def gpus(study, entity) -> int:
    """GPUs of the job that makes `entity`. Models are obtained and pruned on the CPU."""
    return int(entity.stage not in ("models", "topologies") and study.parameters(entity) >= LARGE)


def table_megabytes(attempt: int = 1) -> int:
    """Memory of a job that only reads and writes tables, figures, pages or token rows."""
    return attempt * TABLES


def table_minutes(attempt: int = 1) -> int:
    """Wall time of a job that only reads and writes tables, figures or pages."""
    return attempt * SHORTEST


def _bytes_each(entity) -> int:
    settings = entity.settings
    if entity.stage == "models":
        return TRAINED if "pretraining" in settings else LOADED
    if entity.stage == "topologies":
        recovery = settings["recovery"] or {}
        prunes = settings["topology"]["method"] != "dense"
        return (METHOD if prunes else TRAINED) + COPY * ("distillation" in recovery)
    return LOADED if entity.stage == "scores" else TRAINED


def _kept_bytes(study, entity) -> int:
    """Bytes that a mechanism keeps between tasks while it trains."""
    run, shape = entity.inputs.get("run", entity), study.shape_of_model(entity)
    if entity.stage == "scores" or "arm" not in run.settings or not shape:
        return 0
    price, sizes = _price(study, run, Shape(**shape))
    return price.state_bytes + TOKEN * price.buffer_rows * sizes.row_tokens


def planned_hours(study, entity) -> float:
    """Hours of one worker to make `entity`; 0 if nothing is trained, and for a model that is not downloaded yet."""
    shape = study.shape_of_model(entity)
    if not shape:
        return 0.0
    return {
        "models": _pretraining,
        "topologies": _topology,
        "tuning": _tuning,
        "runs": _run,
        **dict.fromkeys((table.name for table in SECONDARY), _secondary),
        "scores": _scoring,
    }[entity.stage](study, entity, Shape(**shape))


def _pretraining(study, entity, shape: Shape) -> float:
    training = entity.settings.get("pretraining")
    return _trained(shape, training, _mixture_tokens(study, entity)) if training else 0.0


def _topology(study, entity, shape: Shape) -> float:
    settings, tokens = entity.settings, _mixture_tokens(study, entity)
    phases = [settings[key] for key in ("pretraining", "recovery") if settings.get(key)]
    total = sum(
        _trained(shape, training, tokens) * (2 if "distillation" in training else 1) for training in phases
    )
    method = making_of(settings["topology"], tokens)
    flops = making(shape=shape, **method)["method_flops"] if method else 0
    return total + hours(1, flops or 0)


def _tuning(study, entity, shape: Shape) -> float:
    settings = entity.settings
    trials = len(settings["blocks"]) * len(settings["learning_rates"]) * study.study["tuning"]["tasks"]
    return trials * _task(study, entity, shape)


def _run(study, entity, shape: Shape) -> float:
    settings = entity.settings
    tasks = sum(settings.get("reference", {}).get("at", [len(settings["order"])]))
    return tasks * _task(study, entity, shape) + _scored(study, entity.inputs["stream"].label, shape)


def _secondary(study, entity, shape: Shape) -> float:
    """At most two trainings of every task: from the last weights and from the base."""
    run = entity.inputs["run"]
    tasks = len(run.settings["order"])
    return _training(study, run, shape, secondary_steps(entity, tasks), 2 * tasks)


def _scoring(study, entity, shape: Shape) -> float:
    return _scored(study, entity.inputs["run"].inputs["stream"].label, shape)


def _task(study, run, shape: Shape) -> float:
    """Hours of training on one task of a run or tuning."""
    return _training(study, run, shape, _price(study, run, shape)[1].steps, 1)


def _training(study, run, shape: Shape, steps: int, tasks: int) -> float:
    """Hours of `steps` training steps in all on so many tasks, under the mechanism of a run or tuning."""
    price, sizes = _price(study, run, shape)
    try:
        step_flops, task_flops = price.step_flops(None), price.task_flops(None)
    except UserError:  # of a base of another family whose FLOPs are not known
        step_flops, task_flops = 6 * parameters(shape)["total"], 0
    step_flops *= sizes.batch_size * sizes.row_tokens
    return hours(steps, step_flops) + hours(tasks, task_flops, step_seconds=0)


def _price(study, run, shape: Shape) -> tuple[Price, Sizes]:
    """What the mechanism of a run or tuning costs, and the sizes that this depends on."""
    settings, stream = run.settings, run.inputs["stream"]
    stream = (stream[0] if isinstance(stream, list) else stream).label
    rows, training = study.sizes(stream), settings["training"]
    condition = {
        **rows,
        "batch_size": training["batch_size"],
        "steps": steps_per_task(training, rows["train_items"]),
        "tasks": len(study.tasks(stream)),
        "ends": training["ends"],
    }
    mechanism, sizes = settings["arm"]["mechanism"], sizes_of(condition, shape.prunable)
    return mechanism_class(mechanism["kind"]).price(mechanism, shape, shape.prunable, sizes), sizes


def _trained(shape: Shape, training: dict, row_tokens: int) -> float:
    try:
        flops = training_flops(shape, row_tokens)
    except UserError:  # a base of another family whose FLOPs are not known
        flops = 6 * parameters(shape)["total"]
    return hours(training["steps"], flops * training["batch_size"] * row_tokens)


def _scored(study, stream: str, shape: Shape) -> float:
    """Hours of scoring every task's test rows after every task and before the first."""
    sizes, tasks = study.sizes(stream), len(study.tasks(stream))
    try:
        flops = forward_flops(shape, sizes["row_tokens"])["total"]
    except UserError:
        flops = 2 * parameters(shape)["total"]
    return hours(tasks + 1, tasks * sizes["test_items"] * sizes["row_tokens"] * flops)


def _mixture_tokens(study, entity) -> int:
    mixture = entity.inputs.get("mixture")
    return mixture_tokens(mixture.settings["mixture"]) if mixture else 0

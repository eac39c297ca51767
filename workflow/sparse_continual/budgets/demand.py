"""The inputs of the prices of a resolved study, per condition, topology and training, from the config alone."""

import math
from itertools import product

from sparse_continual import registry
from sparse_continual.identity import sha256
from sparse_continual.pruning.check import is_found, needs_text
from sparse_continual.streams.calibration import DEFAULTS as CALIBRATION


def priced(study, stream: str) -> list[dict]:
    """The inputs of `budgets.price.price` for every condition on `stream`.

    `shape` is None for a downloaded model: its manifest, `model`, has it. A topology that is counted in its checkpoint
    has neither pattern nor sparsity, but `densities`, the table of the counts.
    """
    sizes, training = study.sizes(stream), study.study["training"]
    steps = steps_per_task(training, sizes["train_items"])
    tuning = study.study["tuning"]
    trials = tuning["blocks"] * tuning["tasks"] * len(tuning["learning_rates"])
    rows = []
    for name in study.conditions:
        condition = study.condition(name)
        topology = study.config["topologies"][condition["topology"]]
        like = study.config["topologies"].get(condition.get("like"))
        match = condition.get("match")
        counted = {}
        if is_found(topology):
            topology_entity = study.topology(name, study.blocks[0])
            counted = {"densities": f"{topology_entity.path}/densities.csv", "pattern": None}
        rows.append(
            {
                "condition": name,
                "base": condition["base"],
                "topology": condition["topology"],
                **_amounts(topology),
                "mechanism": study.config["mechanisms"][condition["mechanism"]],
                "locked": condition["locked"],
                "writes": condition["writes"],
                "like": like and _amounts(like),
                "ends": training["ends"],
                "shape": None if study.fetched(condition["base"]) else study.shape(name),
                "model": study.model(name, study.blocks[0]).manifest,
                "row_tokens": sizes["row_tokens"],
                "answer_tokens": sizes["answer_tokens"],
                "train_items": sizes["train_items"],
                "steps": steps,
                "batch_size": training["batch_size"],
                "tasks": len(study.tasks(stream)),
                "blocks": len(study.blocks),
                "tuning_steps": trials * steps,
                "asked_steps": _extra_steps(study, stream, name, steps),
                "match": match and {**match, "error": study.control(name).error},
                "making": _making(study, name, condition["topology"]),
                **counted,
            }
        )
    return rows


def steps_per_task(training: dict, train_items: int) -> int:
    """Greatest number of training steps of one task under a study's `training` settings."""
    stop = training["stop"]
    if "epochs" in stop:
        return math.ceil(stop["epochs"] * train_items / training["batch_size"])
    return stop.get("steps") or stop.get("cap")


def _extra_steps(study, stream: str, condition: str, steps: int) -> int:
    """Training steps of a condition besides its cells, at `steps` per task: references, repeats, secondary outcomes."""
    tasks = len(study.tasks(stream))
    extra = [run for _, run in study.references(stream)] + study.repeats(stream)
    runs = {cell.run.name: cell.run.settings for cell in extra if cell.condition == condition}
    count = sum(sum(settings.get("reference", {}).get("at", [tasks])) for settings in runs.values()) * steps
    return count + sum(
        secondary_steps(entity, tasks) for name, _, entity in study.secondary(stream) if name == condition
    )


def secondary_steps(entity, tasks: int) -> int:
    """Training steps for a secondary outcome of one run: `steps` of its module."""
    return registry.by_name(f"runs.{entity.stage}").steps(entity.settings, tasks)


def lengths(study, base: str) -> list[int]:
    """Sorted lengths in tokens of the rows that a base reads: of streams, its mixture and calibration texts."""
    tokens = {study.sizes(stream)["row_tokens"] for stream in study.streams}
    for name in study.conditions:
        arm = study.condition(name)
        if arm["base"] == base:
            tokens.add(_mixture_tokens(study, name))
            for topology in {arm["topology"], arm.get("like")} - {None}:
                text = (_making(study, name, topology) or {}).get("text")
                tokens.add(text["tokens"] if text else 0)
    return sorted(tokens - {0})


def _making(study, condition: str, topology: str) -> dict | None:
    """`making_of` for the topology of this name on the condition's base."""
    settings = {k: v for k, v in study.config["topologies"][topology].items() if k != "at"}
    return making_of(settings, _mixture_tokens(study, condition))


def making_of(topology: dict, row_tokens: int) -> dict | None:
    """The inputs of `budgets.pruning.making` for a topology, except the shape; None if no method makes it.

    topology: its settings; row_tokens: of the base's own mixture, 0 if it declares none. In the result, text is
    {sequences, tokens, written} of the text that the method reads, None if it reads none.
    """
    if topology["method"] == "dense" or is_found(topology):
        return None
    text = None
    if needs_text(topology):
        calibration = topology.get("calibration", CALIBRATION)
        text = {
            "sequences": calibration["sequences"],
            "tokens": calibration["tokens"] if "files" in calibration or not row_tokens else row_tokens,
            "written": "files" not in calibration and not row_tokens,
        }
    return {"topology": topology, "text": text}


def _mixture_tokens(study, condition: str) -> int:
    return mixture_tokens(study.base(condition).get("mixture", ()))


def mixture_tokens(mixture: list[dict]) -> int:
    """Length in tokens of the longest row of a base's own mixture; 0 if the base declares none."""
    return max(
        (
            registry.load("streams.sources", entry["source"]).sizes(entry, role="base")["row_tokens"]
            for entry in mixture
        ),
        default=0,
    )


def prunings(study) -> list[dict]:
    """Every topology that a method makes, once for each base and shape: {topology: its name, base, shape, making: as in
    `priced`, models: number of models}.
    """
    rows = {}
    for condition in study.conditions:
        arm, shape = study.condition(condition), study.shape(condition)
        for name in sorted({arm["topology"], arm.get("like")} - {None}):
            making = _making(study, condition, name)
            if not making:
                continue
            row = {"topology": name, "base": arm["base"], "shape": shape, "making": making}
            models = rows.setdefault(sha256(row), (row, set()))[1]
            for block in study.blocks + study.tuning_blocks:
                models.add(study.topology(condition, block, name).digest)
    return [row | {"models": len(models)} for row, models in rows.values()]


def preparation(study) -> list[dict]:
    """Every pretraining and recovery of the study, once: {steps, batch_size, row_tokens, shape, teacher: whether it
    distils}.
    """
    phases = {}
    for condition in study.conditions:
        topologies = [
            study.topology(condition, block, like)
            for like in (None, study.condition(condition).get("like"))
            for block in study.blocks + study.tuning_blocks
        ]
        entities = [entity for topology in topologies for entity in (topology, *topology.inputs.values())]
        for kind, entity in product(("pretraining", "recovery"), entities):
            training = entity.settings.get(kind)
            if training:
                phases[kind, entity.digest] = {
                    **{key: training[key] for key in ("steps", "batch_size")},
                    "row_tokens": _mixture_tokens(study, condition),
                    "shape": study.shape(condition),
                    "teacher": "distillation" in training,
                }
    return list(phases.values())


def _amounts(topology: dict) -> dict:
    """The settings of a topology that decide how many weights are kept: pattern, sparsity, whole blocks."""
    pattern = topology.get("pattern", "dense")
    return {
        "pattern": pattern,
        "sparsity": topology.get("sparsity"),
        "whole": topology["first"] + topology["last"] if pattern == "structured" else 0,
    }

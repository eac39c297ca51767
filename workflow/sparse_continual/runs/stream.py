"""One condition on one task stream, from the base to the weights after the last task."""

import math
import time

import torch

from sparse_continual.identity import seed_of
from sparse_continual.models.train import adamw, step
from sparse_continual.streams.batches import collate, loss_of
from sparse_continual.streams.measure import measure
from sparse_continual.streams.tasks import concatenate

VALIDATION_ROWS = 256  # rows at a time when the validation loss is looked at


def train_stream(model, mechanism, tasks, training: dict, learning_rate: float, seed: int, resume=None, after_task=None):
    """Train `model` on `tasks` in turn.

    mechanism: runs.mechanism.Mechanism on `model`; training: the study's section (batch_size, stop);
    resume: runs.resume.Resume or None; after_task(position): called with 0 before the stream and with
    1..T after each task, on the model as it is then; it returns plain data that is kept with the
    checkpoint.

    Returns ([one record per task], [what after_task returned]). A record has position, task, steps,
    stop, tokens, learning_rate, validation_loss, trained, update_norm, relative_update, ends_share.
    """
    rows = concatenate([task.train for task in tasks])
    counts = [task.train.rows for task in tasks]
    firsts = [sum(counts[:number]) for number in range(len(counts))]
    after_task = after_task or (lambda position: None)
    found = resume.load() if resume else None
    if found:
        data, tensors = found
        mechanism.load(_strip("trained.", tensors))
        mechanism.remember(data["memory"])
        records, kept = data["records"], data["kept"]
        print(f"resuming task {data['task'] + 1} at step {data['step']}", flush=True)
    else:
        data, tensors, records, kept = {"task": 0, "step": 0, "tokens": 0}, {}, [], [after_task(0)]

    for number in range(data["task"], len(tasks)):
        task = tasks[number]
        fresh = number > data["task"] or not found or data["step"] == 0
        before = mechanism.weights() if fresh else _strip("before.", tensors)
        optimizer = adamw(mechanism.parameters(), learning_rate)
        if not fresh:
            _load_moments(optimizer, tensors)
        done, tokens = (0, 0) if fresh else (data["step"], data["tokens"])
        steps = _most_steps(training, counts[number])
        stop, loss = "steps", None
        model.train()
        while done < steps:
            chosen = mechanism.rows(
                firsts, counts, number, training["batch_size"], seed_of("task batches", seed, task.name), done
            )
            tokens += int((rows.starts[chosen + 1] - rows.starts[chosen]).sum())
            torch.manual_seed(seed_of("dropout", seed, task.name) + done)  # so that a resumed run drops the same units
            step(loss_of(model, collate(rows, chosen, model.device)), optimizer, mechanism.places)
            done += 1
            if "loss" in training["stop"] and done % training["stop"]["every"] == 0:
                loss = float(measure(model, task, "validation", VALIDATION_ROWS).loss.mean())
                if loss <= training["stop"]["loss"]:
                    stop = "criterion"
                    break
            if resume and resume.due() and done < steps:
                _checkpoint(resume, mechanism, optimizer, before, number, done, tokens, records, kept)
        if stop == "steps" and "loss" in training["stop"]:
            stop = "cap"
        model.eval()
        mechanism.verify()
        mechanism.end_task(firsts, counts, number)
        records.append(
            {
                "position": number + 1,
                "task": task.name,
                "steps": done,
                "stop": stop,
                "tokens": tokens,
                "learning_rate": learning_rate,
                "validation_loss": float(measure(model, task, "validation", VALIDATION_ROWS).loss.mean()),
                "trained": sum(p.numel() for p in mechanism.parameters()),
                **_update(before, mechanism.weights()),
            }
        )
        kept.append(after_task(number + 1))
        if resume:
            _checkpoint(resume, mechanism, None, {}, number + 1, 0, 0, records, kept)
        print(f"{time.strftime('%H:%M:%S')} task {number + 1} of {len(tasks)}: {done} steps", flush=True)
    return records, kept


def _most_steps(training: dict, rows: int) -> int:
    stop = training["stop"]
    if "epochs" in stop:
        return math.ceil(stop["epochs"] * rows / training["batch_size"])
    return stop.get("steps") or stop["cap"]


def _update(before: dict, after: dict) -> dict:
    """||dW||, ||dW|| / ||W|| over all matrices that may be written, and the ends' share of ||dW||^2."""
    squares = {name: float((after[name] - before[name]).double().square().sum()) for name in after}
    total = sum(squares.values())
    size = sum(float(before[name].double().square().sum()) for name in after)
    ends = sum(value for name, value in squares.items() if name.startswith("ends."))
    return {
        "update_norm": math.sqrt(total),
        "relative_update": math.sqrt(total / size),
        "ends_share": ends / total if total else 0.0,
    }


def _strip(prefix: str, tensors: dict) -> dict:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _checkpoint(resume, mechanism, optimizer, before, task, step, tokens, records, kept) -> None:
    tensors = {f"trained.{name}": t for name, t in mechanism.state().items()}
    tensors |= {f"before.{name}": t for name, t in before.items()}
    if optimizer is not None:
        for number, state in optimizer.state_dict()["state"].items():
            tensors |= {f"moments.{number}.{key}": value for key, value in state.items()}
    data = {"task": task, "step": step, "tokens": tokens, "records": records, "kept": kept, "memory": mechanism.memory()}
    resume.save(data, tensors)


def _load_moments(optimizer, tensors: dict) -> None:
    state = {}
    for name, tensor in _strip("moments.", tensors).items():
        number, key = name.split(".")
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})

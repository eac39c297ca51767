"""One condition on one task stream, from the base to the weights after the last task."""

import math
import time

import torch

from sparse_continual.identity import seed_of
from sparse_continual.runs.mechanism import TaskData
from sparse_continual.runs.state import packed, restore, snapshot, unpacked
from sparse_continual.streams.tasks import concatenate
from sparse_continual.training.batches import refuse_beyond
from sparse_continual.training.loop import CLIP, adamw, rate, step
from sparse_continual.training.measure import measure

WARMUP = 10  # the rate warms up over one in so many of a task's steps, then falls to a tenth as a cosine
VALIDATION_ROWS = 256  # rows at a time when the validation loss is looked at


def train_stream(
    mechanism, pools, training, learning_rate, seed: int, after_task, resume=None, found=None, anew=False
):
    """Train the mechanism's model on `pools` in turn.

    mechanism: runs.mechanism.Mechanism; pools: lists of tasks, those of a list are trained together on as
    many times the steps (in a stream every pool is one task); training: the study's section (batch_size,
    stop); after_task: called with 0 before the stream and with 1..n after each pool, when the mechanism has trained
    on it, returns plain data that is kept; resume: runs.resume.Resume that checkpoints go to, or None; found:
    the checkpoint to go on from, as Resume.load returns it, or None; anew: every pool begins from what
    `mechanism` was given with, weights and memory, and not from what the pool before it left.

    Returns ([one record per pool], [what after_task returned]). A record has position, task, steps,
    stop, tokens, learning_rate (the highest of the task's schedule), validation_loss (mean over the pool's
    tasks), trained, clipped (share of the steps whose gradient was clipped), update_norm, relative_update,
    ends_share.
    """
    model = mechanism.setting.model
    rows = concatenate([task.train for pool in pools for task in pool])
    refuse_beyond(model, rows, "the tasks' training rows")
    counts = [sum(task.train.rows for task in pool) for pool in pools]
    firsts = [sum(counts[:number]) for number in range(len(counts))]
    given = snapshot(mechanism) if anew else None
    if found:
        data, tensors = found[0], {name: tensor.to(model.device) for name, tensor in found[1].items()}
        restore(mechanism, unpacked(data["mechanism"], tensors))
        mechanism.frozen = data["frozen"]  # of before the kill: what changed since then is found by `verify`
        records, kept = data["records"], data["kept"]
        print(f"resuming task {data['task'] + 1} at step {data['step']}", flush=True)
    else:
        data, records, kept = {"task": 0, "step": 0}, [], [after_task(0)]

    moments = _moments_in(tensors) if found else {}
    for number in range(data["task"], len(pools)):
        pool, steps = pools[number], _most_steps(training, counts[number], len(pools[number]))
        going_on = number == data["task"] and data["step"] > 0
        if anew and not going_on:
            restore(mechanism, given)
            moments = {}
        order = seed_of("task batches", seed, *(task.name for task in pool))
        task = TaskData(
            number,
            range(firsts[number], firsts[number] + counts[number]),
            rows,
            order,
            mechanism.setting.seed,
            model.device,
        )
        if not going_on:
            mechanism.begin(task)
        named = mechanism.named()
        optimizer = adamw(list(named.values()), learning_rate)
        if going_on or mechanism.MOMENTS == "carried":
            _load_moments(optimizer, named, moments)
        if going_on:
            done, tokens, before = data["step"], data["tokens"], _strip("before.", tensors)
        else:
            done, tokens, before = 0, 0, mechanism.weights()
        clipped = torch.tensor(data["clipped"] if going_on else 0, device=model.device)
        criterion, stop = training["stop"].get("loss"), "steps" if "loss" not in training["stop"] else "cap"
        model.train()
        while done < steps:
            chosen = mechanism.rows(task, training["batch_size"], done)
            tokens += int((rows.starts[chosen + 1] - rows.starts[chosen]).sum())
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * rate(done, steps, steps // WARMUP)
            torch.manual_seed((order + done) % 2**63)  # so that a resumed run drops the same units
            norm = step(mechanism.loss(task.batch(chosen)), optimizer, mechanism.places, mechanism.adjust)
            clipped += norm > CLIP  # on the device: a look at every step would wait for it
            done += 1
            mechanism.after_step(done)
            if criterion and (done % training["stop"]["every"] == 0 or done == steps):
                if _validation_loss(mechanism, pool, number) <= criterion:
                    stop = "criterion"
                    break
            if resume and resume.due() and done < steps:
                state = {"task": number, "step": done, "tokens": tokens, "records": records, "kept": kept}
                state["clipped"] = int(clipped)
                _checkpoint(resume, mechanism, state, _moments_of(optimizer, named), before)
        model.eval()
        mechanism.end_task(task)
        mechanism.verify()
        moments = _moments_of(optimizer, named) if mechanism.MOMENTS == "carried" else {}
        records.append(
            {
                "position": number + 1,
                "task": pool[0].name if len(pool) == 1 else f"joint_{len(pool)}",
                "steps": done,
                "stop": stop,
                "tokens": tokens,
                "learning_rate": learning_rate,
                "validation_loss": _validation_loss(mechanism, pool, number),
                "trained": sum(p.numel() for p in mechanism.parameters()),
                "clipped": int(clipped) / done,
                **_update(before, mechanism.weights()),
            }
        )
        kept.append(after_task(number + 1))
        if resume:
            state = {"task": number + 1, "step": 0, "records": records, "kept": kept}
            _checkpoint(resume, mechanism, state, moments)
        print(f"{time.strftime('%H:%M:%S')} task {number + 1} of {len(pools)}: {done} steps", flush=True)
    return records, kept


def _most_steps(training: dict, rows: int, tasks: int) -> int:
    """Of a pool of so many rows and tasks. Epochs are of its own rows, so they need no multiple."""
    stop = training["stop"]
    if "epochs" in stop:
        return math.ceil(stop["epochs"] * rows / training["batch_size"])
    return (stop.get("steps") or stop["cap"]) * tasks


def _validation_loss(mechanism, pool, number: int) -> float:
    with mechanism.view(number) as model:
        losses = [measure(model, task, "validation", VALIDATION_ROWS).loss.mean() for task in pool]
    return float(sum(losses) / len(losses))


def _update(before: dict, after: dict) -> dict:
    """||dW||, ||dW|| / ||W|| over the block matrices and trained ends, and the ends' share of ||dW||^2.

    Matrices that the mechanism added or removed in `end_task` are left out.
    """
    after = {name: tensor for name, tensor in after.items() if name in before}
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


def _checkpoint(resume, mechanism, data: dict, moments: dict, before=None) -> None:
    """moments: {trained name: {key: tensor}}; before: weights at the task's start, needed within a task only."""
    plain, tensors = packed(snapshot(mechanism))
    tensors |= {f"before.{name}": tensor for name, tensor in (before or {}).items()}
    for name, state in moments.items():
        tensors |= {f"moments.{name}.{key}": value for key, value in state.items()}
    resume.save({**data, "mechanism": plain, "frozen": mechanism.frozen}, tensors)


def _moments_in(tensors: dict) -> dict:
    """{trained name: {key: tensor}} of a checkpoint's tensors."""
    moments: dict = {}
    for whole, tensor in _strip("moments.", tensors).items():
        name, key = whole.rsplit(".", 1)
        moments.setdefault(name, {})[key] = tensor
    return moments


def _moments_of(optimizer, named: dict) -> dict:
    """{trained name: {key: tensor}} of an optimizer."""
    state = optimizer.state_dict()["state"]
    return {name: state[number] for number, name in enumerate(named) if number in state}


def _load_moments(optimizer, named: dict, moments: dict) -> None:
    """Give an optimizer the moments of the trained tensors that had some; tensors of another shape start at zero."""
    state = {
        number: moments[name]
        for number, (name, tensor) in enumerate(named.items())
        if name in moments and moments[name]["exp_avg"].shape == tensor.shape
    }
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})

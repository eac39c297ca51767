"""One condition on one task stream, from the base to the weights after the last task."""

import math
import time

import torch

from sparse_continual.identity import seed_of
from sparse_continual.runs.mechanism import TaskData
from sparse_continual.runs.state import packed, restore, snapshot, unpacked
from sparse_continual.streams.tasks import concatenate
from sparse_continual.training.batches import refuse_beyond
from sparse_continual.training.loop import adamw, descend
from sparse_continual.training.measure import measure

WARMUP = 10  # the rate warms up over a tenth of a task's steps, then falls to a tenth as a cosine
VALIDATION_ROWS = 256  # rows per forward pass for the validation loss


def train_stream(
    mechanism,
    pools,
    training,
    learning_rate,
    seed: int,
    after_task,
    resume=None,
    checkpoint=None,
    restart=False,
):
    """Train the mechanism's model on `pools` in turn.

    mechanism: runs.mechanism.Mechanism; pools: lists of tasks; the tasks of a pool are trained together, on as many
    times the steps (in a stream every pool is one task); training: the study's section (batch_size, stop); after_task:
    called with 0 before the stream and with 1..n after the mechanism has trained on a pool; returns plain data; resume:
    runs.resume.Resume for checkpoints, or None; checkpoint: the one to continue from, as Resume.load returns it, or
    None; restart: every pool starts from the initial weights and memory of `mechanism`, not from the end of the pool
    before it.

    Returns ([one record per pool], [results of after_task]). A record has position, task, steps, stop, tokens,
    learning_rate (the highest of the task's schedule), validation_loss (mean over the pool's tasks), trained, clipped
    (share of the steps whose gradient was clipped), update_norm, relative_update, ends_share.
    """
    model = mechanism.setting.model
    rows = concatenate([task.train for pool in pools for task in pool])
    refuse_beyond(model, rows, "the tasks' training rows")
    counts = [sum(task.train.rows for task in pool) for pool in pools]
    firsts = [sum(counts[:number]) for number in range(len(counts))]
    initial = snapshot(mechanism) if restart else None
    if checkpoint:
        data, tensors = checkpoint
        tensors = {name: tensor.to(model.device) for name, tensor in tensors.items()}
        restore(mechanism, unpacked(data["mechanism"], tensors))
        mechanism.frozen = data["frozen"]  # from before the kill, so that `verify` finds a change since then
        records, kept = data["records"], data["kept"]
        print(f"resuming task {data['task'] + 1} at step {data['step']}", flush=True)
    else:
        data, tensors, records, kept = {"task": 0, "step": 0}, {}, [], [after_task(0)]

    moments = _moments_in(tensors)
    for number in range(data["task"], len(pools)):
        pool = pools[number]
        inside = number == data["task"] and data["step"] > 0
        if restart and not inside:
            restore(mechanism, initial)
            moments = {}
        task = TaskData(
            number,
            range(firsts[number], firsts[number] + counts[number]),
            rows,
            seed_of("task batches", seed, *(task.name for task in pool)),
            mechanism.setting.seed,
            model.device,
        )
        if not inside:
            mechanism.call("before_task", task)
        before = _strip("before.", tensors) if inside else mechanism.weights()
        steps = _Steps(mechanism, task, pool, training, learning_rate, moments)
        if inside:
            steps.done, steps.tokens, steps.clipped = (data[key] for key in ("step", "tokens", "clipped"))

        def save(number=number, steps=steps, before=before):
            if resume and resume.due():
                state = {"task": number, "step": steps.done, "tokens": steps.tokens}
                state |= {"clipped": int(steps.clipped), "records": records, "kept": kept}
                _checkpoint(resume, mechanism, state, steps.moments(), before)

        model.train()
        stop = steps.take(save)
        model.eval()
        mechanism.end_task(task)
        mechanism.verify()
        moments = steps.moments() if mechanism.MOMENTS == "carried" else {}
        records.append(
            {
                "position": number + 1,
                "task": pool[0].name if len(pool) == 1 else f"joint_{len(pool)}",
                "steps": steps.done,
                "stop": stop,
                "tokens": steps.tokens,
                "learning_rate": learning_rate,
                "validation_loss": _validation_loss(mechanism, pool, number),
                "trained": sum(p.numel() for p in mechanism.parameters()),
                "clipped": int(steps.clipped) / steps.done,
                **_update(before, mechanism.weights()),
            }
        )
        kept.append(after_task(number + 1))
        if resume:
            state = {"task": number + 1, "step": 0, "records": records, "kept": kept}
            _checkpoint(resume, mechanism, state, moments)
        now = time.strftime("%H:%M:%S")
        print(f"{now} task {number + 1} of {len(pools)}: {steps.done} steps", flush=True)
    return records, kept


class _Steps:
    """The steps on one pool, and their progress: done, tokens, clipped (how many had their gradient clipped).

    moments: {trained name: {key: tensor}} that the optimizer starts with.
    """

    def __init__(self, mechanism, task: TaskData, pool, training, learning_rate, moments: dict):
        self.mechanism, self.task, self.pool, self.training = mechanism, task, pool, training
        self.learning_rate = learning_rate
        self.steps = _most_steps(training, len(task.rows), len(pool))
        self.done = self.tokens = self.clipped = 0
        self.reached = False
        self._renew(moments)

    def _renew(self, moments: dict) -> None:
        """A new optimizer. Tensors without moments, or with moments of another shape, start at zero."""
        self.named = self.mechanism.named()
        self.optimizer = adamw(list(self.named.values()), self.learning_rate)
        state = {
            number: moments[name]
            for number, (name, tensor) in enumerate(self.named.items())
            if name in moments and moments[name]["exp_avg"].shape == tensor.shape
        }
        if state:
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})

    def moments(self) -> dict:
        """{trained name: {key: tensor}} of the optimizer."""
        state = self.optimizer.state_dict()["state"]
        return {name: state[number] for number, name in enumerate(self.named) if number in state}

    def take(self, save) -> str:
        """Take the steps that are left; call `save` after each but the last.

        Returns why they ended: "steps", "cap" or "criterion".
        """
        while self.done < self.steps and not self.reached:
            descend(
                self._loss,
                self.optimizer,
                self.steps,
                self.steps // WARMUP,
                self.mechanism.places,
                self.done,
                self.mechanism.adjust,
                lambda *step: self._after_step(save, *step),
            )
        if "loss" not in self.training["stop"]:
            return "steps"
        return "criterion" if self.reached else "cap"

    def _loss(self, number: int):
        starts = self.task.split.starts
        chosen = self.mechanism.rows(self.task, self.training["batch_size"], number)
        self.tokens += int((starts[chosen + 1] - starts[chosen]).sum())
        torch.manual_seed((self.task.order + number) % 2**63)  # so that a resumed run has the same dropout
        return self.mechanism.loss(self.task.batch(chosen))

    def _after_step(self, save, done: int, _, clipped) -> bool:
        self.done, self.clipped = done, self.clipped + clipped
        renewed = self.mechanism.after_step(done)
        if renewed:
            self.mechanism.call("rewire", self.task, done)
            self._renew(self.moments() if self.mechanism.MOMENTS == "carried" else {})
        stop = self.training["stop"]
        if "loss" in stop and (done % stop["every"] == 0 or done == self.steps):
            self.reached = _validation_loss(self.mechanism, self.pool, self.task.number) <= stop["loss"]
        if done < self.steps and not self.reached:
            save()
        return renewed or self.reached


def _most_steps(training: dict, rows: int, tasks: int) -> int:
    """Largest number of steps on a pool. Epochs refer to the pool's own rows, so they need no multiple."""
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
    """moments: {trained name: {key: tensor}}; before: weights at the task's start, only within a task."""
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

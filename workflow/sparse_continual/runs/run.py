"""A run: one condition on one block's stream, its weights after each task, and what was done."""

import platform
import time
from pathlib import Path

from sparse_continual.files import sha256_of, write, write_json
from sparse_continual.models.train import prepare
from sparse_continual.runs.resume import Resume
from sparse_continual.runs.start import start
from sparse_continual.runs.stream import train_stream
from sparse_continual.streams.tasks import load_tasks


def run_condition(job: dict, threads: int, device: str = "cpu", scorer=None) -> dict:
    """Train one run and write its folder; `run.json` is written last, by the caller of `finish`.

    job: {folder, resume, identity, arm, model, topology, like, stream, order, training, learning_rate,
    seed}. scorer(model, position) -> plain rows is called before the stream and after each task.

    Returns the content of run.json, and the scorer's rows under "scores".
    """
    began = time.time()
    prepare(threads, job["seed"])
    folder = Path(job["folder"])
    tasks = load_tasks(job["stream"], job["order"])
    with Resume(job["resume"], job["identity"]) as resume:
        mechanism = start(job["arm"], job["model"], job["topology"], job["like"], job["seed"], device)

        def after_task(position):
            if position:
                save_weights(mechanism, weights_path(folder, position))
            return scorer(mechanism.setting.model, position) if scorer else []

        records, kept = train_stream(
            mechanism.setting.model,
            mechanism,
            tasks,
            job["training"],
            job["learning_rate"],
            job["seed"],
            resume,
            after_task,
        )
        weights = {str(i): sha256_of(weights_path(folder, i)) for i in range(1, len(tasks) + 1)}
        resume.clear()
    return {
        "tasks": records,
        "weights": weights,
        "scores": [row for rows in kept for row in rows],
        "optimizer_moments": 2 * records[-1]["trained"],
        "seconds": round(time.time() - began, 2),
        "machine": {"processor": platform.machine(), "threads": threads, "device": device},
    }


def weights_path(folder, position: int) -> Path:
    """Where a run keeps its weights after the task at `position`."""
    return Path(folder) / "weights" / f"after_{position:03d}.safetensors"


def save_weights(mechanism, path) -> None:
    """Write what was trained, compact; absent and frozen weights are checked first."""
    from safetensors.torch import save

    mechanism.verify()
    write(path, save({name: tensor.contiguous().cpu() for name, tensor in mechanism.state().items()}))


def finish(path, run: dict, keep_weights: str) -> None:
    """Write run.json, then drop the weights that the study does not keep."""
    write_json(path, run)
    positions = sorted(int(p) for p in run["weights"])
    gone = {"all": [], "last": positions[:-1], "none": positions}[keep_weights]
    for position in gone:
        weights_path(Path(path).parent, position).unlink()

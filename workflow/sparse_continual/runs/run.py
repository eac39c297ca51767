"""A run: one condition on one block's stream, with its weights after each task and a record of the training."""

import platform
from datetime import UTC, datetime

from sparse_continual.device import prepare
from sparse_continual.files import sha256_of, write_json
from sparse_continual.runs.attach import start
from sparse_continual.runs.references import pools_of
from sparse_continual.runs.resume import Resume, clear
from sparse_continual.runs.state import save_weights, weights_path
from sparse_continual.runs.stream import train_stream
from sparse_continual.streams.tasks import load_tasks


def run_condition(job: dict, threads: int, device: str = "cpu", scorer=None) -> dict:
    """Train one run and write the weights after each task. `finish` writes run.json, last.

    job: {folder, resume, identity, arm, order, training, learning_rate, seed}, the keys of runs.inputs.located, and
    `reference` for a reference run (runs/references.py). scorer(view, position) -> plain data is called before the
    stream and after each task, with the mechanism's `view`.

    Returns the content of run.json, and under "scores" the list of the scorer's results.
    """
    prepare(threads, job["seed"])
    tasks = load_tasks(job["stream"], job["order"])
    with Resume(job["resume"], job["identity"]) as resume:
        checkpoint = _whole(job["folder"], resume.load())
        resume.before = checkpoint[0]["seconds"] if checkpoint else 0.0
        mechanism = start(job["arm"], job, device)

        def after_task(position):
            path = weights_path(job["folder"], position)
            scores = scorer(mechanism.view, position) if scorer else None
            return {"weights": position and save_weights(mechanism, path), "scores": scores}

        records, kept = train_stream(
            mechanism,
            pools_of(tasks, job.get("reference")),
            job["training"],
            job["learning_rate"],
            job["seed"],
            after_task,
            resume,
            checkpoint,
            restart="reference" in job,
        )
    return {
        "tasks": records,
        "weights": {str(i): left["weights"] for i, left in enumerate(kept) if i},
        "scores": [left["scores"] for left in kept],
        "seconds": round(resume.seconds(), 2),
        "machine": {"processor": platform.machine(), "threads": threads, "device": device},
    }


def _whole(folder, checkpoint):
    """`checkpoint` (from Resume.load) if the weights of all finished tasks exist; else None."""
    for position, left in enumerate(checkpoint[0]["kept"] if checkpoint else ()):
        path = weights_path(folder, position)
        if position and not (path.is_file() and sha256_of(path) == left["weights"]):
            print(f"{path}: missing or changed, so the run starts from scratch", flush=True)
            return None
    return checkpoint


def finish(path, run: dict) -> None:
    """Write run.json with the time (UTC): a registration must be older than the runs that it binds."""
    write_json(path, {**run, "finished": datetime.now(UTC).isoformat(timespec="seconds")})


def clean_up(folder, run: dict, keep_weights: str, resume) -> None:
    """Delete the weights that the study does not keep, and the resume folder.

    Call this after the manifest is written: until then a killed job continues from these files.
    """
    positions = sorted(int(position) for position in run["weights"])
    for position in {"all": [], "last": positions[:-1], "none": positions}[keep_weights]:
        weights_path(folder, position).unlink()
    clear(resume)

"""Scores of a run from its saved weights."""

from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.files import read_manifest, sha256_of
from sparse_continual.models.train import prepare
from sparse_continual.runs.run import weights_path
from sparse_continual.runs.start import start
from sparse_continual.scores.evaluate import COLUMNS, score
from sparse_continual.scores.table import csv_text, key_of, leave
from sparse_continual.streams.tasks import load_tasks


def scorer(job: dict, settings: dict):
    """A function (model, position) -> rows that scores `model` on the job's tasks and mixture."""
    tasks = load_tasks(job["stream"], job["order"])
    mixture = load_tasks(job["mixture"]) if job["mixture"] else []
    return lambda model, position: score(model, position, tasks, mixture, settings)


def beside(job: dict, scoring: dict):
    """The scorer of a training process, or None where the mixture that it should score is not built yet.

    scoring: {settings, code, mixture: manifest or None}.
    """
    mixture = scoring["mixture"]
    if mixture and not Path(mixture).is_file():
        return None
    folder = mixture and read_manifest(mixture)["folder"]
    return scorer({**job, "mixture": folder}, scoring["settings"])


def leave_beside(folder, run: dict, scoring: dict, base: str) -> None:
    """Leave the rows that a training process scored, taken out of `run`, beside its weights."""
    rows = run.pop("scores")
    if rows:
        key = key_of(run["weights"], scoring["settings"], scoring["code"], base, scoring["mixture"])
        leave(folder, csv_text(rows, COLUMNS), key)


def score_saved(job: dict, settings: dict, run: dict, price: str, threads: int, device: str = "cpu") -> list[dict]:
    """Rows of scores.csv computed from the weights that `run` (the content of run.json) left.

    job: as in runs.run, with mixture. price: what training the run again costs, for the message.

    Raises UserError when weights are gone or are not those that run.json lists.
    """
    import torch
    from safetensors.torch import load_file

    prepare(threads, job["seed"])
    for position, digest in run["weights"].items():
        path = weights_path(job["folder"], int(position))
        if not path.is_file():
            raise UserError(
                f"{path}: gone (study.keep_weights), and the scoring has changed; to score anew, delete "
                f"{Path(job['folder']) / 'run.json'} and train the run again: {price}"
            )
        if sha256_of(path) != digest:
            raise UserError(f"{path}: not the weights that run.json lists; delete run.json to train the run again")
    judge = scorer(job, settings)
    mechanism = start(job["arm"], job["model"], job["topology"], job["like"], job["seed"], device)
    with torch.no_grad():
        rows = judge(mechanism.setting.model, 0)
        for position in sorted(int(p) for p in run["weights"]):
            mechanism.load(load_file(weights_path(job["folder"], position)))
            rows += judge(mechanism.setting.model, position)
    return rows

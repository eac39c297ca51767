"""Scores of a run: by the process that trains it, or later from its saved weights."""

from pathlib import Path

from sparse_continual.device import prepare
from sparse_continual.errors import UserError
from sparse_continual.integrity import read_manifest
from sparse_continual.runs.attach import start
from sparse_continual.runs.state import listed, load_weights, weights_path
from sparse_continual.scores.evaluate import score, texts
from sparse_continual.scores.table import asked, key_of, leave
from sparse_continual.streams.tasks import load_tasks


def scorer(job: dict, settings: dict):
    """A function (view, position) -> rows of tables: it scores the model of `view` on the job's tasks and mixture.

    job: {stream, order, mixture}, folders of tasks; mixture: None if none is scored.
    """
    tasks = load_tasks(job["stream"], job["order"])
    mixture = load_tasks(job["mixture"]) if job["mixture"] else []
    return lambda view, position: score(view, position, tasks, mixture, settings)


class Beside:
    """How a training process scores its run, and stores the tables for the scoring rule.

    scoring: {settings, code, mixture: manifest or None}; base, stream: manifests. `identity` is plain data about what
    is scored and how. It is None, and nothing is scored, until the mixture to score is built.
    """

    def __init__(self, job: dict, scoring: dict, base: str, stream: str):
        mixture = scoring["mixture"]
        self.identity = self.rows = None
        if mixture is None or Path(mixture).is_file():
            self.identity = asked(scoring["settings"], scoring["code"], base, stream, mixture)
            folder = mixture and read_manifest(mixture)["folder"]
            self.rows = scorer({**job, "mixture": folder}, scoring["settings"])

    def leave(self, folder, run: dict) -> None:
        """Move the rows from `run` to tables in `folder`, beside the weights."""
        scored = run.pop("scores")
        if self.identity:
            leave(folder, texts(scored), key_of(run["weights"], self.identity))


def score_saved(job: dict, settings: dict, run: dict, threads: int, device: str = "cpu") -> dict[str, str]:
    """{name: CSV text} of the tables of scores, from the weights that `run` (the content of run.json) lists.

    job: as in runs.run, with mixture.

    Raises UserError if weights are missing, with the price of training them again, or if they are not those that
    run.json lists.
    """
    import torch

    prepare(threads, job["seed"])
    positions = sorted(int(position) for position in run["weights"])
    for position in positions:
        path = weights_path(job["folder"], position)
        if not path.is_file():
            steps = sum(task["steps"] for task in run["tasks"])
            raise UserError(
                f"{path}: missing (study.keep_weights), and the scoring has changed; to score again, delete "
                f"{job['folder']} and train the run again: {steps} steps, "
                f"{run['seconds']:.0f} s when it was trained"
            )
        listed(job["folder"], run, position)
    judge = scorer(job, settings)
    mechanism = start(job["arm"], job, device)
    with torch.no_grad():
        scored = [judge(mechanism.view, 0)]
        for position in positions:
            load_weights(mechanism, weights_path(job["folder"], position))
            scored.append(judge(mechanism.view, position))
    return texts(scored)

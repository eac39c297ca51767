"""Relearning savings: the scores after a few steps on an old task, from the final weights and from the base.

If k steps after the stream reach more than the same k steps from the base, the task was not erased: only its read-out
was forgotten (savings: Ebbinghaus 1885). Secondary: it is measured at the arm's tuned rate, on a schedule of k steps.
The last task is not an old one.
"""

from sparse_continual.device import prepare
from sparse_continual.runs.attach import start
from sparse_continual.runs.state import listed, load_weights
from sparse_continual.runs.stream import train_stream
from sparse_continual.streams.tasks import load_tasks
from sparse_continual.training.measure import measure

ROWS = 256  # rows scored at once


def steps(settings: dict, tasks: int) -> int:
    """Training steps on one run of `tasks` tasks: on every task but the last, from both weights."""
    return 2 * (tasks - 1) * settings["steps"]


def relearn(job: dict, run: dict, steps: int, threads: int, device: str = "cpu") -> list[dict]:
    """Rows of savings.csv, one for every task but the last: its test score after `steps` steps on it alone, from the
    final weights of the stream (score_old) and from the base (score_base), on the same batches.

    job: as in runs.run; run: the content of run.json.

    Raises UserError if the last weights are missing or are not those that run.json lists.
    """
    prepare(threads, job["seed"])
    tasks = load_tasks(job["stream"], job["order"])
    path = listed(job["folder"], run, len(tasks))
    old = tasks[:-1]
    training = {"batch_size": job["training"]["batch_size"], "stop": {"steps": steps}}

    def reached(weights) -> list[float]:
        mechanism = start(job["arm"], job, device)
        if weights:
            load_weights(mechanism, weights)

        def after_task(position):
            if position:
                with mechanism.view(position - 1) as model:
                    return float(measure(model, old[position - 1], "test", ROWS).score.mean())

        pools = [[task] for task in old]
        _, kept = train_stream(
            mechanism, pools, training, job["learning_rate"], job["seed"], after_task, restart=True
        )
        return kept[1:]

    return [
        {"task": task.name, "position": i, "steps": steps, "score_old": after, "score_base": before}
        for i, (task, after, before) in enumerate(zip(old, reached(path), reached(None), strict=True), 1)
    ]

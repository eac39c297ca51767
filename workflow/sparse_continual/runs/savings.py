"""Relearning savings: how much a few steps on an old task reach from the final weights and from the base.

Where k steps after the stream reach more than the same k steps from the base, something of the task was
still there: its forgetting was of read-out, not erasure (savings: Ebbinghaus 1885). Secondary: it is measured
at the arm's tuned rate, on a schedule of k steps, and the last task is no old one.
"""

from sparse_continual.device import prepare
from sparse_continual.runs.attach import start
from sparse_continual.runs.state import listed, load_weights
from sparse_continual.runs.stream import train_stream
from sparse_continual.streams.tasks import load_tasks
from sparse_continual.training.measure import measure

ROWS = 256  # rows scored at once


def steps(settings: dict, tasks: int) -> int:
    """Training steps on one run of so many tasks: on every task but the last, from both weights."""
    return 2 * (tasks - 1) * settings["steps"]


def relearn(job: dict, run: dict, steps: int, threads: int, device: str = "cpu") -> list[dict]:
    """Rows of savings.csv, one for every task but the last: its test score after `steps` steps on it alone, from the
    weights that the stream ended with (score_old) and from the base (score_base), on the same batches.

    job: as in runs.run; run: the content of run.json.

    Raises UserError when the last weights are gone or not those that run.json lists.
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

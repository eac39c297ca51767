"""The learning rate of an arm: the same grid for every arm, tried on blocks that are not part of any statistic.

Rule: the smallest rate whose learning accuracy (mean of R[j,j] over the tuning tasks, on validation
splits) is within one standard error of the best rate's; the standard error is over tuning blocks, at the best rate.
Forgetting is not used: the rate changes it by tens of points.
"""

import math

import numpy as np

from sparse_continual.device import prepare
from sparse_continual.runs.attach import start
from sparse_continual.runs.resume import Resume
from sparse_continual.runs.stream import train_stream
from sparse_continual.streams.tasks import load_tasks
from sparse_continual.training.measure import measure

ROWS = 256  # rows per forward pass on validation splits


def tune(job: dict, threads: int, device: str = "cpu") -> list[dict]:
    """Try every rate of the grid on every tuning block. Returns the rows of trials.csv, with their cells in order.

    job: {resume, identity, arm, learning_rates, training, blocks: [{block, order, seed, and the keys of
    runs.inputs.located}]}. A finished trial is stored in the resume folder and not repeated.
    """
    prepare(threads, job["blocks"][0]["seed"])
    rows = []
    with Resume(job["resume"], job["identity"]) as resume:
        for block in job["blocks"]:
            tasks = load_tasks(block["stream"], block["order"])
            for learning_rate in job["learning_rates"]:
                name = f"{block['block']}-{learning_rate!r}"
                trial = resume.part(name)
                if trial is None:
                    trial = _trial(job, block, tasks, learning_rate, device)
                    resume.save_part(name, trial)
                    print(f"block {block['block']}: rate {learning_rate} done", flush=True)
                rows += trial
    return rows


def _trial(job, block, tasks, learning_rate, device) -> list[dict]:
    mechanism = start(job["arm"], block, device)

    def after_task(after):
        rows = []
        for position, task in enumerate(tasks, 1):
            with mechanism.view(position - 1) as model:
                measured = measure(model, task, "validation", ROWS)
            rows.append(
                {
                    "block": block["block"],
                    "learning_rate": learning_rate,
                    "after": after,
                    "task": task.name,
                    "position": position,
                    "score": float(measured.score.mean()),
                    "loss": float(measured.loss.mean()),
                    "chance": task.chance,
                    "ceiling": task.ceiling,
                }
            )
        return rows

    pools = [[task] for task in tasks]
    _, kept = train_stream(mechanism, pools, job["training"], learning_rate, block["seed"], after_task)
    return [row for rows in kept for row in rows]


def choose(rows: list[dict]) -> dict:
    """The rate chosen from the rows of trials.csv, with the numbers behind the choice.

    Returns {learning_rate, learning: {rate: mean over blocks}, best, standard_error}.
    """
    learned: dict = {}
    for row in rows:
        if row["after"] == row["position"]:
            learned.setdefault(row["learning_rate"], {}).setdefault(row["block"], []).append(row["score"])
    by_block = {
        rate: np.array([np.mean(scores) for scores in blocks.values()]) for rate, blocks in learned.items()
    }
    means = {rate: float(values.mean()) for rate, values in by_block.items()}
    best = max(sorted(means), key=means.get)
    error = float(by_block[best].std(ddof=1) / math.sqrt(len(by_block[best])))
    chosen = min(rate for rate, mean in means.items() if mean >= means[best] - error)
    return {
        "learning_rate": chosen,
        "learning": {repr(rate): mean for rate, mean in sorted(means.items())},
        "best": best,
        "standard_error": error,
    }

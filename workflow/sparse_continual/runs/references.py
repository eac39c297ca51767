"""Reference runs: the scores of an arm without a stream, from its own base, with its own mechanism and rate.

single: every task alone; its score s_j is the reference of the forward transfer that refers to learning (Lopez-Paz &
Ranzato, arXiv 1706.08840, use an untrained model instead). joint: the first k tasks of the block's order together, on k
times the steps, for every k; the deficit of a stream against it is its intransigence (Chaudhry et al., arXiv
1801.10112). A single run has no order, so one run serves all orders.
"""

from sparse_continual.streams.tasks import Task


def pools_of(tasks: list[Task], reference: dict | None) -> list[list[Task]]:
    """Pools of tasks to train one after the other: each task in a stream (None) and in a `single` reference, and the
    first k tasks together for every k in `at` of a `joint` one.

    reference: {"kind": "single"} or {"kind": "joint", "at": [k, ...]}; each of their pools starts from the base.
    """
    if reference is None or reference["kind"] == "single":
        return [[task] for task in tasks]
    return [tasks[:k] for k in reference["at"]]

"""Warnings to read before a mean: floors, tasks not learnt, collapses, stops at the cap.

No run is dropped for a flag: collapses are data.
"""

from sparse_continual.statistics.tables import FLAGS

FLOOR = 0.05
COLLAPSE = 0.5  # share of tasks


def flags(scores, runs):
    """The table flags.

    - `floor`: the score is never more than 0.05 above chance, so forgetting on it can only be 0 and shows no memory;
      value is the best score minus chance;
    - `not learnt`: within 0.05 of chance right after its own training, though not at the floor throughout; value is
      that score minus chance;
    - `collapse`: of a whole run, at position 0: at least half of its tasks are within 0.05 of chance right after their
      own training; value is that share;
    - `cap`: training stopped at the cap on steps before its criterion was met; value is the number of steps.
    """
    rows = []
    stream = scores[scores.position > 0]
    stream = stream.assign(above=stream.score - stream.chance)
    keys = ["condition", "block", "position", "task", "part"]
    failed: dict = {}
    for key, group in stream.groupby(keys, sort=False):
        best = group.above.max()
        learnt = group.above[group.after == key[2]].max()
        if key[4] == "all":
            failed.setdefault(key[:2], []).append(learnt <= FLOOR)
        if best <= FLOOR:
            rows.append(("floor", *key, best))
        elif learnt <= FLOOR:
            rows.append(("not learnt", *key, learnt))
    for run, tasks in failed.items():
        share = sum(tasks) / len(tasks)
        if share >= COLLAPSE:
            rows.append(("collapse", *run, 0, "", "all", share))
    for run in runs[runs.stop == "cap"].itertuples():
        rows.append(("cap", run.condition, run.block, run.position, run.task, "all", float(run.steps)))
    return FLAGS.frame(rows)

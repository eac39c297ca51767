"""What a reader must know before trusting a mean: floors, tasks not learnt, stops at the cap.

Nothing is dropped for a flag: collapses are data.
"""

FLOOR = 0.05


def flags(scores, runs):
    """Flags as a DataFrame: kind, condition, block, position, task, part, value.

    - `floor`: the score never comes more than 0.05 above chance, so forgetting on it can only be 0 and
      is no sign of memory; value is the best score less chance;
    - `not learnt`: within 0.05 of chance right after its own training, though not at the floor
      throughout; value is that score less chance;
    - `cap`: training stopped at the cap on steps before its criterion was met; value is the steps.
    """
    import pandas

    rows = []
    stream = scores[scores.position > 0]
    stream = stream.assign(above=stream.score - stream.chance)
    keys = ["condition", "block", "position", "task", "part"]
    for key, group in stream.groupby(keys, sort=False):
        best = group.above.max()
        own = group.above[group.after == key[2]].max()
        if best <= FLOOR:
            rows.append(("floor", *key, best))
        elif own <= FLOOR:
            rows.append(("not learnt", *key, own))
    for run in runs[runs.stop == "cap"].itertuples():
        rows.append(("cap", run.condition, run.block, run.position, run.task, "all", float(run.steps)))
    return pandas.DataFrame(rows, columns=["kind", *keys, "value"])

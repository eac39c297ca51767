"""What the tuning blocks say about learning rates: a contrast of arms tuned apart also compares two rates."""

import math

from sparse_continual.report.sentences import signed


def chosen(frontier) -> dict[str, float]:
    """condition -> its chosen learning rate, from the table frontier."""
    rows = frontier[frontier.chosen]
    return dict(zip(rows.condition, rows.learning_rate, strict=True))


def in_words(streams: dict) -> dict[str, str]:
    """condition -> its chosen rate; the rate on every stream where they differ.

    `streams` maps each stream's name to its tables.
    """
    found: dict = {}
    for stream, tables in streams.items():
        for condition, rate in chosen(tables["frontier"]).items():
            found.setdefault(condition, {})[stream] = f"{rate:g}"
    return {
        condition: rates[next(iter(rates))]
        if len(set(rates.values())) == 1
        else " and ".join(f"{rate} on {stream}" for stream, rate in rates.items())
        for condition, rates in found.items()
    }


def limits(facts: dict, streams: dict) -> list[str]:
    """What the choice of learning rates leaves open; arguments as in limits.limits."""
    n = facts["study"]["tuning"]["blocks"]
    lines = [
        f"The rule for learning rates takes its standard error from {n} tuning blocks, so it is uncertain"
        " itself: other tuning blocks might choose other rates."
    ]
    for name, tables in streams.items():
        of = f" on stream `{name}`" if len(streams) > 1 else ""
        lines += _contrasts(tables, of)
    return lines + _edges(facts, streams)


def _contrasts(tables, of):
    """One line for every comparison of two arms at different rates."""
    rates = chosen(tables["frontier"])
    means = tables["frontier"].groupby(["condition", "learning_rate"])[["forgetting", "learning_accuracy"]]
    means = means.mean().T.to_dict()
    rows = tables["contrasts"]
    for row in rows[rows.role == "primary"].drop_duplicates("contrast").itertuples():
        if " + " in row.plus or rates[row.plus] == rates[row.minus]:
            continue

        def gap(a, b, plus=row.plus, minus=row.minus):
            forgot, learnt = (
                means[plus, a][metric] - means[minus, b][metric]
                for metric in ("forgetting", "learning_accuracy")
            )
            return f"{'none' if math.isnan(forgot) else signed(forgot)} ({signed(learnt)})"

        common = sorted(
            {rate for arm, rate in means if arm == row.plus} & {r for a, r in means if a == row.minus}
        )
        gaps = ", ".join(f"{gap(rate, rate)} at {rate:g} in both" for rate in common)
        yield (
            f"Contrast `{row.contrast}`{of} compares arms at different learning rates (`{row.plus}`"
            f" {rates[row.plus]:g}, `{row.minus}` {rates[row.minus]:g}). On the tuning blocks the difference"
            f" in forgetting (in learning) is {gaps + ', and ' if gaps else ''}"
            f"{gap(rates[row.plus], rates[row.minus])} points at the chosen rates: how much of a difference,"
            " or of none, is the rate's cannot be told from the test alone."
        )


def _edges(facts, streams):
    """Arms whose chosen or best rate is the smallest or largest of the grid, so that more may lie beyond."""
    grid = facts["study"]["tuning"]["learning_rates"]
    if len(grid) == 1:
        return ["A single learning rate was tried: another may turn the order of arms."]
    lines = []
    for edge, word in ((min(grid), "smallest"), (max(grid), "largest")):
        took, best = set(), set()
        for tables in streams.values():
            frontier = tables["frontier"]
            learnt = frontier.groupby(["condition", "learning_rate"]).learning_accuracy.mean()
            took |= {arm for arm, rate in chosen(frontier).items() if math.isclose(rate, edge)}
            best |= {arm for arm, rate in learnt.groupby(level=0).idxmax() if math.isclose(rate, edge)}
        if took:
            lines.append(
                f"{_names(took)} took the {word} learning rate of the grid ({edge:g}): a wider grid might"
                " choose another, and the learning rate moves forgetting strongly."
            )
        if best - took:
            lines.append(
                f"{_names(best - took)} learnt best at the {word} learning rate of the grid ({edge:g}),"
                " though the rule took another: the best may lie beyond the grid, and the choice with it."
            )
    return lines


def _names(conditions):
    return ", ".join(f"`{condition}`" for condition in sorted(conditions))

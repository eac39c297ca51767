"""Learning rates in the tuning blocks: a contrast of arms with different tuned rates also compares two rates."""

import math

from sparse_continual.report.words import Words
from sparse_continual.show import signed


def chosen(frontier) -> dict[str, float]:
    """condition -> its chosen learning rate, from the table frontier."""
    rows = frontier[frontier.chosen]
    return dict(zip(rows.condition, rows.learning_rate, strict=True))


def in_words(streams: dict, words: Words) -> dict[str, str]:
    """condition -> its chosen rate; the rate on every stream if they differ.

    `streams` maps each stream's name to its tables.
    """
    by_condition: dict = {}
    for stream, tables in streams.items():
        for condition, rate in chosen(tables["frontier"]).items():
            by_condition.setdefault(condition, {})[stream] = f"{rate:g}"
    return {
        condition: rates[next(iter(rates))]
        if len(set(rates.values())) == 1
        else words.both(words("rates.on", rate=rate, stream=stream) for stream, rate in rates.items())
        for condition, rates in by_condition.items()
    }


def limits(facts: dict, streams: dict, words: Words) -> list[str]:
    """Sentences on the questions that the choice of learning rates leaves open; arguments as in limits.limits."""
    lines = [words("rates.uncertain", n=facts["study"]["tuning"]["blocks"])]
    named = {
        words("rates.stream", stream=f"`{name}`") if len(streams) > 1 else "": tables
        for name, tables in streams.items()
    }
    for stream, tables in named.items():
        lines += _contrasts(tables, stream, words)
    grid = facts["study"]["tuning"]["learning_rates"]
    if len(grid) == 1:
        return [*lines, words("rates.single")]
    for stream, tables in named.items():
        lines += _edges(tables["frontier"], grid, stream, words)
    return lines


def _contrasts(tables, stream, words):
    """One line for every comparison of two arms at different rates."""
    rates = chosen(tables["frontier"])
    means = tables["frontier"].groupby(["condition", "learning_rate"])[["forgetting", "learning_accuracy"]]
    means = means.mean().T.to_dict()
    rows = tables["contrasts"]
    for row in rows[rows.role == "primary"].drop_duplicates("contrast").itertuples():
        if not (row.plus in rates and row.minus in rates) or rates[row.plus] == rates[row.minus]:
            continue  # a level or an interaction, or equal rates

        def gap(key, a, b, plus=row.plus, minus=row.minus):
            forgot, learnt = (
                means[plus, a][metric] - means[minus, b][metric]
                for metric in ("forgetting", "learning_accuracy")
            )
            forgot = words("rates.none") if math.isnan(forgot) else signed(forgot)
            return words(f"rates.gap.{key}", forgot=forgot, learnt=signed(learnt), rate=f"{a:g}")

        common = sorted(
            {rate for arm, rate in means if arm == row.plus} & {r for a, r in means if a == row.minus}
        )
        yield words(
            "rates.contrast",
            contrast=f"`{row.contrast}`",
            stream=stream,
            plus=f"`{row.plus}`",
            minus=f"`{row.minus}`",
            rate=f"{rates[row.plus]:g}",
            other=f"{rates[row.minus]:g}",
            gaps="".join(gap("both", rate, rate) for rate in common),
            chosen=gap("chosen", rates[row.plus], rates[row.minus]),
        )


def _edges(frontier, grid, stream, words):
    """Arms whose chosen or best rate is at an edge of the grid, so that a better rate may lie beyond it."""
    learnt = frontier.groupby(["condition", "learning_rate"]).learning_accuracy.mean()
    for edge, word in ((min(grid), "smallest"), (max(grid), "largest")):
        took = {arm for arm, rate in chosen(frontier).items() if math.isclose(rate, edge)}
        best = {arm for arm, rate in learnt.groupby(level=0).idxmax() if math.isclose(rate, edge)}
        for key, arms in (("took", took), ("best", best - took)):
            if arms:
                names = words.join(f"`{arm}`" for arm in sorted(arms))
                yield words(f"rates.{key}.{word}", arms=names, rate=f"{edge:g}", stream=stream)

"""Sentences about findings, made from one row of contrasts.csv each and from nothing else.

`row` is a dict with the columns of that table (see statistics/columns.py). A sentence opens with the
verdict, so that quoting its start cannot say more than the whole. Names of conditions stand in
backticks, which the page turns into code.
"""

import math

from sparse_continual.statistics.verdict import MINIMUM_BLOCKS

METRIC_WORDS = {"forgetting": "forgetting", "forward_transfer": "forward transfer"}


def claim(row: dict) -> str:
    """The sentence on a primary row that its verdict allows.

    Raises KeyError for a row without one of the four verdicts.
    """
    return {
        "shown": _shown,
        "not distinguished": _not_distinguished,
        "descriptive": _descriptive,
        "gate failed": _gate_failed,
    }[row["verdict"]](row)


def details(row: dict) -> str:
    """What a careful reader needs beside the claim: the exact test, what n can see, learning."""
    verdict = row["verdict"]
    if verdict == "gate failed":
        return ""
    parts = []
    if verdict == "shown" or (verdict == "not distinguished" and row["holm_p"] < row["level"]):
        parts.append(_exact(row))
    if verdict == "not distinguished":
        parts.append(_missed(row))
    if verdict == "shown":
        parts.append(_gate(row))
    if verdict == "descriptive" and not _true(row["gate_passed"]):
        parts.append(f"It is not shown that {_gate_claim(row)}.")
    parts.append(_learning(row))
    return " ".join(part for part in (*parts, _beside(row)) if part)


def final(row: dict) -> str:
    """What the row on average accuracy says, to stand beside forgetting: described and not tested."""
    interval = (
        "no interval"
        if math.isnan(row["lower"])
        else f"{_percent(row)} interval {signed(row['lower'])} to {signed(row['upper'])}"
    )
    return (
        f"Difference in average accuracy at the end: {signed(row['mean'])} points ({interval}; not tested)."
    )


def cannot_reach(smallest: float, level: float) -> str:
    """Why no test can be read: the exact test's `smallest` p, or too few blocks at a generous level."""
    if smallest < level:
        return f"there are fewer than {MINIMUM_BLOCKS} blocks"
    words = f"{level:g}".replace("0.", ".", 1)
    return f"the exact test can at best reach {p_text(smallest)}, and the level is {words}"


def signed(share: float) -> str:
    """A share as points with one decimal and its sign."""
    return f"{'−' if share < 0 else '+'}{points(share)}"


def points(share: float) -> str:
    """A share as points with one decimal and no sign."""
    return f"{100 * abs(share):.1f}"


def p_text(p: float) -> str:
    """`p = .012`, `p < .001`, or `p = 1`."""
    if round(p, 3) >= 1:
        return "p = 1"
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("= 0.", "= .")


def scope(row: dict) -> str:
    """Empty, or the words that limit a sentence to the one checkpoint that all blocks start from."""
    return " for this checkpoint" if row["bases"] == "one for all blocks" else ""


def _shown(row):
    margin = f"{100 * row['margin']:g} points"
    learning = (
        f"while the same difference in learning is above −{margin}"
        if len(_arms(row)) == 4
        else f"while learning at most {margin} less"
    )
    numbers = f"{_interval(row)}; {_blocks(row)}; {_adjusted(row)}"
    return f"Shown{scope(row)}: {_estimate(row)} ({numbers}), {learning}."


def _not_distinguished(row):
    return (
        f"Not distinguished{scope(row)} at this n: {_estimate(row)} ({_interval(row)}; {_blocks(row)};"
        f" {_adjusted(row)}), which is no evidence of equality."
    )


def _descriptive(row):
    why = cannot_reach(row["sign_flip_smallest"], row["level"])
    return (
        f"Descriptive only{scope(row)} ({_blocks(row)}; {why}): in what was run, {_estimate(row)}"
        f" ({_interval(row)})."
    )


def _missed(row):
    if math.isnan(row["detectable"]):
        return ""
    size = points(row["detectable"])
    return f"True differences below about {size} points would probably have been missed (power .8)."


def _gate_failed(row):
    learnt = row["learning_difference"]
    direction = "less" if learnt < 0 else "more"
    return (
        f"Gate failed{scope(row)}: no statement about {METRIC_WORDS[row['metric']]} is made, since it is not"
        f" shown that {_gate_claim(row)}: the difference in learning is {points(learnt)} points {direction},"
        f" and by the one-sided {_percent(row)} bound may be {_bound(row['learning_lower'])}"
        f" ({_blocks(row)})."
    )


def _arms(row):
    """(plus, minus) of a comparison of two, or the four names of (a - b) - (c - d)."""
    plus, minus = row["plus"].split(" + "), row["minus"].split(" + ")
    return (plus[0], minus[0]) if len(plus) == 1 else (plus[0], minus[0], minus[1], plus[1])


def _estimate(row):
    """What the mean difference says, in words whose direction is that of its sign."""
    arms, mean = [f"`{name}`" for name in _arms(row)], row["mean"]
    size, metric = points(mean), METRIC_WORDS[row["metric"]]
    if size == "0.0" and mean != 0:
        size = "under 0.1"
    if len(arms) == 4:
        return (
            f"in {metric}, the difference {arms[0]} − {arms[1]} was {size} points {_direction(row)} than the"
            f" difference {arms[2]} − {arms[3]}"
        )
    if row["metric"] == "forgetting":
        return f"{arms[0]} forgot {size} points {_direction(row)} than {arms[1]}"
    return f"{arms[0]} had {size} points {_direction(row)} forward transfer than {arms[1]}"


def _direction(row, reverse=False):
    lower, higher = ("lower", "higher") if len(_arms(row)) == 4 else ("less", "more")
    return lower if (row["mean"] < 0) != reverse else higher


def _interval(row):
    """The interval in the direction of the mean: `95 % interval 1.2 to 7.0 less`."""
    if math.isnan(row["lower"]):
        return "no interval" if row["n"] == 1 else "the same in all blocks, so no interval"
    ends = (row["lower"], row["upper"]) if row["mean"] >= 0 else (-row["upper"], -row["lower"])
    if ends[0] >= 0:
        words = f"{points(ends[0])} to {points(ends[1])} {_direction(row)}"
    else:
        words = (
            f"from {points(ends[0])} {_direction(row, reverse=True)} to {points(ends[1])} {_direction(row)}"
        )
    return f"{_percent(row)} interval {words}"


def _percent(row):
    return f"{100 * (1 - row['level']):g} %"


def _blocks(row):
    count = f"{int(row['n'])} block{'s' if row['n'] != 1 else ''}"
    if scope(row):
        return f"{count} from one base"
    return f"{count}, each with its own base" if row["n"] > 1 else count


def _adjusted(row):
    source = "" if row["p_source"] == "t" else " of the exact sign-flip test"
    return f"Holm-adjusted {p_text(row['holm_p'])}{source}, {int(row['tests'])} tests in the family"


def _exact(row):
    """What the exact test adds, and whether it could have reached the level at this n at all."""
    if _true(row["exact_reaches_holm"]):
        agrees = row["sign_flip_holm_p"] < row["level"]
        word = "agrees" if agrees else "does not agree"
        return f"The exact sign-flip test, adjusted alike, {word} ({p_text(row['sign_flip_holm_p'])})."
    word = "agrees" if row["sign_flip_p"] < row["level"] else "does not agree"
    return (
        f"The exact sign-flip test {word} unadjusted ({p_text(row['sign_flip_p'])}); it cannot reach the"
        f" level adjusted for {int(row['tests'])} tests with {int(row['n'])} blocks."
    )


def _beside(row):
    """The chance-corrected difference, which is described and not tested."""
    if math.isnan(row["corrected_mean"]):
        return ""
    return f"Chance-corrected difference: {signed(row['corrected_mean'])} points."


def _gate_claim(row):
    margin = f"{100 * row['margin']:g} points"
    arms = [f"`{name}`" for name in _arms(row)]
    if len(arms) == 4:
        return f"the same difference of differences in learning is above −{margin}"
    return f"{arms[0]} learnt at most {margin} less than {arms[1]}"


def _gate(row):
    return (
        f"Learning gate passed: the difference in learning is {signed(row['learning_difference'])} points,"
        f" its one-sided {_percent(row)} bound {signed(row['learning_lower'])}."
    )


def _learning(row):
    """A warning where a difference in forgetting may only be the price, or the gain, of one in learning."""
    learnt, size = row["learning_difference"], points(row["learning_difference"])
    if row["metric"] != "forgetting" or size == "0.0":
        return ""
    two = len(_arms(row)) == 2
    what = "It also learnt" if two else "The same difference of differences in learning is"
    if row["mean"] > 0 and learnt > row["margin"]:
        return f"{what} {size} points {'more' if two else 'higher'}, which alone can raise forgetting."
    if row["mean"] < 0 and learnt < 0:
        how = "less" if two else "lower"
        return f"{what} {size} points {how}, which alone can lower forgetting by as much."
    return ""


def _bound(lower):
    return f"{points(lower)} points {'less' if lower < 0 else 'more'}"


def _true(value):
    return str(value).lower() == "true"

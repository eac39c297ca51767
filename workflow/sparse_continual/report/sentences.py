"""The sentence that a claim's verdict allows, made only from its row of claims.csv.

Rules here choose a template and its numbers; the words are the catalogue's (`words.Words`). A sentence opens with the
verdict, its scope and the study's phase, so that a quotation of its start cannot say more than the whole. Names of
conditions are in backticks, which the page turns into code.
"""

from sparse_continual.report.guard import check, gated, keeper, undefined, withheld
from sparse_continual.report.words import Words, absent
from sparse_continual.show import decimal, points, signed
from sparse_continual.verdicts.verdict import MINIMUM_BLOCKS

TESTED = ("shown", "contradicted", "not distinguished", "equivalent")


def finding(row: dict, contrast: dict | None, words: Words, members=()) -> str:
    """The sentence on one claim.

    `row` has the columns of claims.csv, `contrast` is the study's {plus, minus, estimand, streams?} that
    the claim names (None for a rule without one), `members` are the rows of an all_of claim's members.

    Raises UserError if the numbers of the row contradict its verdict (guard.check).
    """
    check(row, members)
    verdict, key = row["verdict"], row["verdict"].replace(" ", "_")
    fields = {"head": _head(row, words)}
    if verdict == "not tested":
        return words("sentences.not_tested", **fields)
    if row["rule"] == "all_of":
        return words(f"sentences.all_of.{key}", **fields, **_joint(row, members, words))
    fields |= {"units": units(row, words), "metric": words.name("metrics", row["metric"])}
    if verdict == "gate failed" or withheld(row):
        fields |= {"gate": _gate(row, contrast, words)}
    else:
        fields |= {"estimate": _estimate(row, contrast, words), "interval": _interval(row, contrast, words)}
    if verdict == "descriptive":
        fields |= {"why": _why(row, (), words)}
    if verdict in ("descriptive", "exploratory"):
        return words(f"sentences.{key}.{'withheld' if withheld(row) else 'told'}", **fields)
    if verdict == "gate failed":
        return words("sentences.gate_failed", **fields)
    fields |= {"test": _test(row, words), "learning": _while(row, contrast, words)}
    if not absent(row["claim_margin"]):
        fields |= {"margin": f"{100 * row['claim_margin']:g}", "tost": _tost(row, words)}
    if verdict == "equivalent":
        return words("sentences.equivalent", **fields)
    return words(f"sentences.{key}.{row['rule']}.{row['direction'] or 'either'}", **fields)


def details(row: dict, contrast: dict | None, words: Words) -> list[str]:
    """Sentences that a careful reader needs besides the finding: the exact test, bootstrap, learning."""
    verdict = row["verdict"]
    if verdict in ("not tested", "gate failed") or row["rule"] == "all_of" or withheld(row):
        return []
    sentences = []
    if verdict in TESTED and row["rule"] in ("superiority", "noninferiority"):
        if verdict in ("shown", "contradicted") or (
            verdict == "not distinguished" and row["holm_p"] < row["level"]
        ):
            sentences.append(_exact(row, words))
        if not absent(row["bootstrap_lower"]):
            sentences.append(
                words(
                    "details.bootstrap", **_ends(row, "bootstrap_"), percent=words.percent(1 - row["level"])
                )
            )
        if (verdict, row["rule"]) == ("not distinguished", "superiority") and not absent(row["tost_p"]):
            sentences.append(
                words("details.tost", tost=_tost(row, words), margin=f"{100 * row['claim_margin']:g}")
            )
    if verdict in TESTED and gated(row):
        both = row["rule"] == "equivalence" or verdict == "equivalent"
        fields = {"bound": _bound(row, words), "learnt": signed(row["learning_difference"])}
        fields |= {} if both else {"p": words.p(row["gate_p"])}
        sentences.append(words(f"details.gate.{'both' if both else 'counted'}", **fields))
    sentences.append(_learning(row, contrast, words))
    return [line for line in sentences if line]


def seen(row: dict, words: Words) -> list[str]:
    """The true difference, and the equivalence, that the blocks of this claim could have shown."""
    if row["verdict"] in ("not tested", "gate failed") or row["rule"] == "all_of" or withheld(row):
        return []
    sentences = []
    if not absent(row["detectable"]):
        sentences.append(words("details.detectable", size=points(row["detectable"]), n=f"{row['n']:g}"))
    if row["verdict"] in ("equivalent", "not distinguished", "descriptive") and not absent(row["tost_power"]):
        power = row["tost_power"]
        text = words("numbers.unlikely") if power < 0.01 else decimal(round(power, 2))
        sentences.append(words("details.tost_power", margin=f"{100 * row['claim_margin']:g}", power=text))
    return sentences


def cannot_reach(smallest: float, level: float, unit: str, words: Words) -> str:
    """Why no test is possible: the exact test's `smallest` p, or too few units at a high level."""
    if absent(smallest) or smallest < level:
        return words(f"details.few.{unit}", minimum=MINIMUM_BLOCKS)
    return words("details.out_of_reach", p=words.p(smallest), level=decimal(level))


def _why(row, members, words):
    """Why a row is only described: too few units, or a metric that is not defined in all blocks."""
    reasons = []
    smallest, level = row["sign_flip_smallest"], row["level"]
    if row["n"] < MINIMUM_BLOCKS or not smallest < level:
        reasons.append(cannot_reach(smallest, level, row["unit"], words))
    lacking = undefined(row, members)
    if lacking:
        metric, missing, blocks = lacking
        metric = words.name("metrics", metric)
        reasons.append(words("details.undefined", metric=metric, missing=missing, blocks=blocks))
    return words("join.semicolon").join(reasons or [cannot_reach(smallest, level, row["unit"], words)])


def units(row: dict, words: Words) -> str:
    """n and its unit: blocks with a base each, blocks of one base, or bases."""
    if row["unit"] == "base":
        return words.count("units.bases", row["n"])
    if row["bases"] == "one for all blocks":
        return words.count("units.one_base", row["n"])
    return words.count("units.blocks", row["n"])


def form(contrast: dict) -> str:
    """The form of the comparison: `pair`, `interaction`, `level`, or `load` (a pair on two streams)."""
    if contrast.get("streams"):
        return "load"
    return {(1, 1): "pair", (2, 2): "interaction", (1, 0): "level"}[
        len(contrast["plus"]), len(contrast["minus"])
    ]


def arms(contrast: dict) -> dict[str, str]:
    """The contrast's conditions as fields a, b (and c, d of (a - b) - (c - d)), streams as first, second."""
    plus, minus = contrast["plus"], contrast["minus"]
    order = [*plus, *minus] if len(plus) == 1 else [plus[0], minus[0], minus[1], plus[1]]
    fields = dict(zip("abcd", (f"`{name}`" for name in order), strict=False))
    streams = (f"`{stream}`" for stream in contrast.get("streams") or ())
    return fields | dict(zip(("first", "second"), streams, strict=False))


def _head(row, words):
    scope = words("sentences.scope") if row["bases"] == "one for all blocks" else ""
    return words(
        "sentences.head",
        verdict=words.name("verdicts", row["verdict"]),
        scope=scope,
        phase=words(f"sentences.phase.{row['phase']}"),
    )


def _joint(row, members, words):
    """Fields of an all_of claim: its members, those that do not hold, the test."""
    names = {key: names_in(row[key]) for key in ("members", "failed_members")}
    quoted = {key: words.join(f"`{name}`" for name in members_named) for key, members_named in names.items()}
    return {
        "members": quoted["members"],
        "failed": quoted["failed_members"],
        "count": len(names["members"]),
        "missing": len(names["failed_members"]),
        "test": "" if absent(row["holm_p"]) else _test(row, words),
        "units": units(row, words),
        "why": _why(row, members, words),
    }


def names_in(cell) -> list[str]:
    """The names in a cell of claims.csv with a list."""
    return [] if absent(cell) else str(cell).split()


def _direction(row, contrast, words, reverse=False):
    """The catalogue's word for the direction of the mean."""
    if form(contrast) == "level":
        negative, positive = "below", "above"
    elif form(contrast) == "pair" and row["metric"] in words.catalogue["estimate"]["pair"]:
        negative, positive = "less", "more"
    else:
        negative, positive = "lower", "higher"
    return negative if (row["mean"] < 0) != reverse else positive


def _estimate(row, contrast, words):
    """The mean difference, in words whose direction is that of its sign."""
    kind, direction = form(contrast), "less" if row["mean"] < 0 else "more"
    size = points(row["mean"])
    if size == "0.0" and row["mean"] != 0:
        size = words("numbers.under")
    if kind == "pair":
        kind = f"pair.{row['metric'] if row['metric'] in words.catalogue['estimate']['pair'] else 'other'}"
    fields = {"size": size, "metric": words.name("metrics", row["metric"])} | arms(contrast)
    return words(f"estimate.{kind}.{direction}", **fields)


def _interval(row, contrast, words):
    """The interval in the direction of the mean: `95 % interval 1.2 to 7.0 less`."""
    if absent(row["lower"]):
        return words(f"interval.{'one' if row['n'] == 1 else 'constant'}")
    start, end = (row["lower"], row["upper"]) if row["mean"] >= 0 else (-row["upper"], -row["lower"])
    return words(
        f"interval.{'within' if start >= 0 else 'across'}",
        percent=words.percent(1 - row["level"]),
        start=points(start),
        end=points(end),
        direction=words(f"direction.{_direction(row, contrast, words)}"),
        reverse=words(f"direction.{_direction(row, contrast, words, reverse=True)}"),
    )


def _test(row, words):
    """The adjusted p; for a claim with a learning gate, that of the larger of both."""
    source = words("test.exact") if row["p_source"] == "sign-flip" else ""
    if gated(row) or (row["rule"] == "all_of" and row["gate_p"] > 0):
        source += words("test.gate")
    return words.count("test.holm", row["tests"], p=words.p(row["holm_p"]), source=source)


def _ends(row, kind):
    return {"lower": signed(row[f"{kind}lower"]), "upper": signed(row[f"{kind}upper"])}


def _tost(row, words):
    """The two one-sided tests: their interval and p."""
    if absent(row["equivalence_lower"]):
        return words("interval.constant")
    percent = words.percent(round(1 - 2 * row["level"] / max(row["tests"], 1), 3))
    return words("test.tost", percent=percent, p=words.p(row["tost_p"]), **_ends(row, "equivalence_"))


def _exact(row, words):
    """The result of the exact test."""
    p = row["sign_flip_p"]
    return words(f"details.exact.{'agrees' if p < row['level'] else 'disagrees'}", p=words.p(p))


def _sides(row, contrast):
    """Fields of a learning gate: the side that must not have learnt less, the other, and the margin."""
    names, side = arms(contrast), keeper(row)
    if form(contrast) == "pair":
        first, second = names["a"], names["b"]
        fields = {"keeper": second, "other": first} if side == "minus" else {"keeper": first, "other": second}
    else:
        fields = {}
    return fields | {"margin": f"{100 * row['margin']:g}", "sign": "+" if side == "minus" else "−"}


def _gate_key(row, contrast):
    if keeper(row) == "both":
        return "both"
    if form(contrast) == "pair":
        return "pair"
    return "upper" if keeper(row) == "minus" else "lower"


def _while(row, contrast, words):
    """The difference in learning, if a gate was required and passed."""
    if not gated(row):
        return ""
    return words(f"learning.while.{_gate_key(row, contrast)}", **_sides(row, contrast))


def _gate(row, contrast, words):
    """The part of the learning gate that is not shown, if it is not passed."""
    if absent(row["learning_lower"]):
        return words("learning.gate.unknown")
    return words(
        f"learning.gate.{_gate_key(row, contrast)}",
        learnt=signed(row["learning_difference"]),
        bound=_bound(row, words),
        **_sides(row, contrast),
    )


def _bound(row, words):
    """The one-sided bounds of the difference in learning behind the verdict."""
    percent = words.percent(1 - row["level"])
    bounds = {"plus": ("learning_lower",), "minus": ("learning_upper",)}
    bounds_shown = [signed(row[key]) for key in bounds.get(keeper(row), ("learning_lower", "learning_upper"))]
    return words("learning.bound", percent=percent, bounds=words.both(bounds_shown))


def _learning(row, contrast, words):
    """A warning if a difference in forgetting may only be the price, or the gain, of one in learning."""
    learnt = row["learning_difference"]
    if row["metric"] != "forgetting" or absent(learnt) or points(learnt) == "0.0":
        return ""
    kind = "pair" if form(contrast) == "pair" else "difference"
    if row["mean"] > 0 and learnt > row["margin"]:
        return words(f"learning.also.{kind}.more", size=points(learnt))
    if row["mean"] < 0 and learnt < 0:
        return words(f"learning.also.{kind}.less", size=points(learnt))
    return ""

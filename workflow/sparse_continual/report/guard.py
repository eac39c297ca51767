"""Refuse a verdict that contradicts the numbers of its own row.

verdicts/verdict.py gives the verdicts. The report never relies on a word in a table: it checks the word against the
row's numbers once more, so that a table that was edited, or made by other code, stops the page.
"""

import re

from sparse_continual.errors import UserError
from sparse_continual.report.words import absent
from sparse_continual.statistics.gate import applies, learnt, other
from sparse_continual.tables import true
from sparse_continual.verdicts.verdict import MINIMUM_BLOCKS, WORDS

STRONG = ("shown", "contradicted", "equivalent")


def gated(row: dict) -> bool:
    """Whether a statement about the row's metric requires a passed learning gate."""
    return row["rule"] != "all_of" and applies(row["metric"], row["estimand"] == "level")


def withheld(row: dict) -> bool:
    """Whether the row's estimate is withheld because its learning gate is not passed."""
    return gated(row) and not true(row["gate_passed"])


def keeper(row: dict) -> str:
    """The side that must not have learnt less for the row's verdict: plus, minus, or both."""
    if row["verdict"] == "equivalent":
        return "both"
    if row["verdict"] == "contradicted":
        return other(row["metric"], row["gate_side"])
    return row["gate_side"]


def undefined(row: dict, members=()) -> tuple[str, str, str] | None:
    """(metric, number of blocks in which it is not defined, number of blocks) of a claim whose metric is not defined in
    all blocks; for an all_of claim, of the first such member.
    """
    for measured in members or [row]:
        match = re.search(r"not defined in (\d+) of (\d+) blocks", str(measured["note"]))
        if match:
            return (measured["metric"], *match.groups())
    return None


def check(row: dict, members: list[dict] = ()) -> None:
    """Raise UserError unless the row of claims.csv earns its verdict.

    `members` are the rows of the members of an all_of claim.
    """
    verdict, role, rule = row["verdict"], row["role"], row["rule"]
    if verdict not in WORDS:
        _refuse(row, "it is no verdict")
    if (verdict == "not tested") != (rule == "untested"):
        _refuse(row, f"the claim's rule is {rule}")
    if verdict == "not tested":
        return
    if role != "confirmatory" and verdict != "exploratory":
        _refuse(row, f"the claim's role is {role}")
    if verdict in (*STRONG, "not distinguished") and withheld(row):
        _refuse(row, "its learning gate is not passed")
    if verdict in STRONG and gated(row):
        sides = {"both": ("plus", "minus")}.get(keeper(row), (keeper(row),))
        if not all(learnt(row, side) for side in sides):
            _refuse(row, "the learning gate that it needs is not passed")
    if verdict == "gate failed" and true(row["gate_passed"]):
        _refuse(row, "its learning gate is passed")
    if verdict in (*STRONG, "not distinguished", "gate failed") and undefined(row, members):
        _refuse(row, "its metric is not defined in every block")
    if verdict in STRONG and not (row["n"] >= MINIMUM_BLOCKS and true(row["exact_reaches_level"])):
        _refuse(row, f"n = {row['n']:g} is too few for any verdict but a descriptive one")
    if verdict == "equivalent":
        _equivalent(row, members)
    elif verdict in STRONG:
        _tested(row, members)


def _tested(row, members):
    level, rule = row["level"], row["rule"]
    if rule == "equivalence":
        if row["verdict"] == "shown" or not _outside(row):
            _refuse(row, "its simultaneous interval does not lie beyond the margin")
        _gates(row, [row])
        return
    if absent(row["holm_p"]) or not row["holm_p"] < level:
        _refuse(row, f"its Holm-adjusted p is not below {level:g}")
    if not row["holm_p"] >= max(row["p"], row["gate_p"]):
        _refuse(row, "its Holm-adjusted p is below that of its test or of its learning gate")
    if not row["sign_flip_p"] < level:
        _refuse(row, "the exact sign-flip test does not agree")
    if rule == "all_of":
        if row["verdict"] == "shown" and not absent(row["failed_members"]):
            _refuse(row, f"not all of its members are shown ({row['failed_members']})")
        for member in members:
            _excludes(row, member)
    else:
        _excludes(row, row)


def _excludes(row, measured):
    """The interval of `measured` leaves out 0, or the margin of a noninferiority, on the verdict's side."""
    less = measured["direction"] == "less"
    null = 0.0
    if measured["rule"] == "noninferiority":
        if absent(measured["claim_margin"]) or not measured["claim_margin"] > 0:
            _refuse(row, "it has no margin")
        null = measured["claim_margin"] * (1 if less else -1)
    if (measured["mean"] < null) != (less == (row["verdict"] == "shown")) or measured["mean"] == null:
        _refuse(row, f"the mean of {measured['contrast']} has the other sign")
    for kind in ("", "bootstrap_"):
        lower, upper = measured[f"{kind}lower"], measured[f"{kind}upper"]
        if absent(lower) or absent(upper):
            if not kind and measured["p_source"] == "t":
                _refuse(row, f"{measured['contrast']} has no interval")
        elif lower <= null <= upper:
            _refuse(
                row, f"the {'bootstrap ' if kind else ''}interval of {measured['contrast']} covers {null:g}"
            )


def _equivalent(row, members):
    if absent(row["claim_margin"]) or not row["claim_margin"] > 0:
        _refuse(row, "it has no margin")
    limit = row["level"] / max(row["tests"], 1)
    if absent(row["tost_p"]) or not row["tost_p"] < limit:
        _refuse(row, f"its TOST p is not below {limit:.3g}")
    _gates(row, members or [row])
    for measured in members or [row]:
        margin, lower = measured["claim_margin"], measured["equivalence_lower"]
        if not absent(lower) and not -margin < lower <= measured["equivalence_upper"] < margin:
            _refuse(row, f"the equivalence interval of {measured['contrast']} passes the margin")


def _gates(row, measured):
    """The learning gates keep the level over the number of claims, as claims on a margin need."""
    limit = row["level"] / max(row["tests"], 1)
    if not all(one["gate_p"] < limit for one in measured):
        _refuse(row, f"the p of its learning gate is not below {limit:.3g}")


def _outside(row):
    margin = row["claim_margin"]
    return row["simultaneous_lower"] > margin or row["simultaneous_upper"] < -margin


def _refuse(row, why):
    raise UserError(
        f"claims.csv: claim {row['claim']!r}: found the verdict {row['verdict']!r}, but {why}; the table was"
        " edited or made by other code: delete it and run again"
    )

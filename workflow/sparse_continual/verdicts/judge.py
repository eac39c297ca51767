"""From the claims of a study and its paired differences to one row, and one word, per claim.

`verdict` defines the words; these are the rules for its inputs:
- the unit is the block, or the base if blocks share several bases (`contrasts.units`);
- an intersection-union claim (rule `all_of`) states that all of its members hold: its p is the largest of theirs, and 1
  if they do not point the same way. Its members are tested only through it (Berger, Technometrics 24 (1982) 295);
- a claim on forgetting or transfer states that there is a difference and that the favoured side learnt no less, up to
  the margin. So its p is the larger of the test's and of the learning gate's, on the side that the estimate favours:
  the family-wise level then holds for gates too (Berger again);
- a claim whose metric is not defined in every block, which collapses can cause, is described and not judged;
- Holm's adjustment covers the separate confirmatory claims. Claims of equivalence count as one each and are tested at
  level / number of claims, which keeps the family-wise level over both kinds;
- claims of non-inferiority test the difference against their margin instead of 0.

Only plain numbers, so that a simulation can judge many thousands of studies.
"""

import math

from sparse_continual.errors import UserError
from sparse_continual.statistics import gate, paired
from sparse_continual.statistics.compare import bases_of
from sparse_continual.statistics.contrasts import arms, is_level, units
from sparse_continual.statistics.summary import describe, note
from sparse_continual.verdicts.tables import CLAIMS
from sparse_continual.verdicts.verdict import MINIMUM_BLOCKS, component, verdict

_ADJUSTED = ("tests", "holm_p")


def judge(claims: list[dict], samples: dict, settings: dict) -> list[dict]:
    """One row of the table CLAIMS per claim, in their order; `detectable` and `tost_power` stay NaN.

    claims: as `claims.load` returns them. samples: {(stream, contrast, metric): {block: difference}} on the
    raw scale, with learning_accuracy for every contrast; the stream of a load contrast is `stream_of`'s.
    settings: level; learning_margin; phase; registered (True, False or None); stale, names of claims that
    count as exploratory; bases, {block: base}; contrasts, as in the config; collapsed, {(stream, condition):
    blocks in which it collapsed}.

    Raises UserError for a claim without any difference.
    """
    contrasts = {contrast["name"]: contrast for contrast in settings["contrasts"]}
    tests = sum(counted(claim) for claim in claims)
    measured = {}
    for claim in claims:
        if claim["rule"] not in ("all_of", "untested"):
            measured[claim["name"]] = _single(claim, contrasts[claim["contrast"]], samples, settings, tests)
    for claim in claims:
        if claim["rule"] == "all_of":
            measured[claim["name"]] = _joint([measured[name] for name in claim["all_of"]])
        elif claim["rule"] == "untested":
            measured[claim["name"]] = {}
    _adjust(claims, measured, settings, tests)
    words = {}
    for claim in claims:
        words[claim["name"]] = _word(claim, measured[claim["name"]], settings, tests)
    _members(claims, measured, words, settings["level"])
    return [_row(claim, measured[claim["name"]], words[claim["name"]], settings) for claim in claims]


def stream_of(claim: dict, contrast: dict) -> str:
    """The stream that a claim is about; `a - b` for a contrast between two streams."""
    return " - ".join(contrast["streams"]) if "streams" in contrast else claim["stream"]


def counted(claim: dict) -> bool:
    """Whether a claim counts among the tests that are adjusted together."""
    return claim["role"] == "confirmatory" and claim["rule"] != "untested"


def gated(claim: dict, contrast: dict) -> bool:
    """Whether a claim has a learning gate: a level has no other side, and a claim on learning itself needs none."""
    return gate.applies(claim["metric"], is_level(contrast))


def _exploratory(claim: dict, settings: dict) -> bool:
    phase = settings["phase"]
    unbound = phase == "pilot" or (phase == "confirmatory" and not settings["registered"])
    stale = not {claim["name"], *claim.get("all_of", ())}.isdisjoint(settings["stale"])
    return unbound or stale or claim["role"] == "exploratory"


def _single(claim: dict, contrast: dict, samples: dict, settings: dict, tests: int) -> dict:
    """Measurements and tests of one contrast on one metric, before any adjustment."""
    level, metric, stream = settings["level"], claim["metric"], stream_of(claim, contrast)
    differences = samples.get((stream, claim["contrast"], metric))
    if not differences:
        raise UserError(
            f"claims: {claim['name']}: no difference of {metric} between the arms of {claim['contrast']} in stream"
            f" {stream}; choose a metric that all of its arms have"
        )
    bases = settings["bases"]
    d, unit = units(differences, bases)
    sign = -1 if claim.get("direction") == "less" else 1
    margin = claim.get("margin", math.nan)
    null = -sign * margin if claim["rule"] == "noninferiority" else 0.0
    wide = paired.interval(d, level / tests) if tests else (math.nan, math.nan)
    cells = {
        "stream": stream,
        "contrast": claim["contrast"],
        "estimand": contrast["estimand"],
        "metric": metric,
        "claim_margin": margin,
        "unit": unit,
        **describe(d, level),
        "simultaneous_lower": wide[0],
        "simultaneous_upper": wide[1],
        "note": note(differences, len(bases), bases),
        "_complete": len(differences) == len(bases),
        **_gate(claim, contrast, sign, samples, settings, stream),
    }
    flip = paired.sign_flip(d - null)
    cells |= {
        "sign_flip_p": flip.p,
        "sign_flip_error": flip.error,
        "sign_flip_smallest": flip.smallest,
    }
    gates = cells["_gates"]
    if margin > 0:
        cells["tost_p"], lower, upper = paired.tost(d, margin, level / max(tests, 1))
        cells |= {"equivalence_lower": lower, "equivalence_upper": upper}
        cells["_tost_claim_p"] = _largest(cells["tost_p"], gates["both"])
    if claim["rule"] == "equivalence":
        gated_both = gates["both"] < level / max(tests, 1)
        outside = gated_both and (wide[0] > margin or wide[1] < -margin)
        return cells | {
            "p": cells["tost_p"],
            "p_source": "tost",
            "gate_p": gates["both"],
            "_claim_p": cells["_tost_claim_p"],
            "_toward": not outside,
            "_bootstrap": True,
        }
    p = paired.t_test(d - null)[1]
    # without variance between units the t test is not defined; the sign-flip test still is
    cells["p"], cells["p_source"] = (flip.p, "sign-flip") if math.isnan(p) else (p, "t")
    cells["_toward"] = bool(sign * (d.mean() - null) > 0)
    cells["gate_p"] = gates["claimed" if cells["_toward"] else "opposite"]
    cells["_claim_p"] = max(cells["p"], cells["gate_p"])
    cells["_bootstrap"] = True
    runs = [(name, arm) for name in contrast.get("streams", [stream]) for arm in arms(contrast)]
    collapsed = any(settings["collapsed"].get(run) for run in runs)
    if len(d) >= MINIMUM_BLOCKS and not paired.constant(d) and (collapsed or paired.skewed(d)):
        lower, upper = paired.bootstrap_t(d, level)
        cells |= {"bootstrap_lower": lower, "bootstrap_upper": upper}
        cells["_bootstrap"] = bool(lower > null or upper < null)
    return cells


def _gate(claim: dict, contrast: dict, sign: int, samples: dict, settings: dict, stream: str) -> dict:
    """Whether the side that would gain from learning less is shown to learn no less, up to the margin, and the p.

    For a claim of less forgetting, and for metrics that do not mirror forgetting, this is the plus side; if the minus
    side is claimed to forget less, the minus side; for equivalence both.
    """
    if not gated(claim, contrast):
        return {
            "gate_side": "",
            "gate_passed": True,
            "_gates": {"claimed": 0.0, "opposite": 0.0, "both": 0.0},
        }
    learning, _ = units(samples[stream, claim["contrast"], gate.LEARNING], settings["bases"])
    sides = gate.sides(learning, settings["level"], settings["learning_margin"])
    side = gate.favoured(claim["metric"], sign)
    other = gate.other(claim["metric"], side)
    if claim["rule"] == "equivalence":
        side = "plus" if not sides["plus"].passed or sides["minus"].passed else "minus"
    return {
        "learning_difference": float(learning.mean()),
        "learning_lower": sides["plus"].bound,
        "learning_upper": -sides["minus"].bound,
        "learning_sd": float(learning.std(ddof=1)) if len(learning) > 1 else math.nan,
        "gate_side": side,
        "gate_passed": sides[side].passed,
        "_gates": {
            "claimed": sides[side].p,
            "opposite": sides[other].p,
            "both": max(one.p for one in sides.values()),
        },
        "_other": other,
    }


def _largest(*values: float) -> float:
    """The largest p value; NaN if one of them is NaN."""
    return math.nan if any(map(math.isnan, values)) else max(values)


def _joint(members: list[dict]) -> dict:
    """The intersection-union of measured members: as strong as the weakest."""
    cells = {
        "n": min(member["n"] for member in members),
        "unit": members[0]["unit"],
        "p_source": "largest of members",
        "sign_flip_smallest": max(member["sign_flip_smallest"] for member in members),
        "gate_passed": all(member["gate_passed"] for member in members),
        "_complete": all(member["_complete"] for member in members),
        "_bootstrap": all(member["_bootstrap"] for member in members),
        "_toward": members[0]["_toward"],
    }
    agree = len({member["_toward"] for member in members}) == 1
    for key in ("p", "gate_p", "_claim_p", "sign_flip_p"):
        cells[key] = max(member[key] for member in members) if agree else 1.0
    weakest = max(members, key=lambda member: member["sign_flip_p"])
    cells["sign_flip_error"] = weakest["sign_flip_error"] if agree else 0.0
    if all("tost_p" in member for member in members):
        for key in ("tost_p", "_tost_claim_p"):
            cells[key] = _largest(*(member[key] for member in members))
        cells["claim_margin"] = max(member["claim_margin"] for member in members)
    streams = dict.fromkeys(member["stream"] for member in members)
    metrics = dict.fromkeys(member["metric"] for member in members)
    return cells | {"stream": " ".join(streams), "metric": " ".join(metrics)}


def _adjust(claims: list[dict], cells_of_claims: dict, settings: dict, tests: int) -> None:
    """Holm's adjustment over the separate confirmatory claims, in place.

    A claim that turned out exploratory, and a claim of equivalence, keeps its place with p = 1.
    """
    family = [claim for claim in claims if counted(claim)]
    tested = [c for c in family if not _exploratory(c, settings) and c["rule"] != "equivalence"]
    names = [claim["name"] for claim in tested]
    padding = [1.0] * (len(family) - len(tested))
    adjusted = paired.holm([cells_of_claims[name]["_claim_p"] for name in names] + padding)
    for name, p in zip(names, adjusted, strict=False):
        cells_of_claims[name]["holm_p"] = float(p)
    for claim in family:
        measured = cells_of_claims[claim["name"]]
        if claim["rule"] == "equivalence" and not _exploratory(claim, settings):
            measured["holm_p"] = min(1.0, measured["_claim_p"] * tests)
        measured["tests"] = tests
    for measured in cells_of_claims.values():
        if measured:
            reaches = measured["sign_flip_smallest"] < settings["level"]
            measured["exact_reaches_level"] = "true" if reaches else "false"


def _word(claim: dict, cells: dict, settings: dict, tests: int) -> str:
    if claim["rule"] == "untested":
        return "not tested"
    word = verdict(
        level=settings["level"],
        rule=claim["rule"],
        exploratory=_exploratory(claim, settings),
        n=cells["n"],
        exact_smallest=cells["sign_flip_smallest"],
        complete=cells["_complete"],
        gate_passed=cells["gate_passed"],
        p=cells.get("holm_p", cells["_claim_p"]),
        exact_p=cells["sign_flip_p"],
        bootstrap_agrees=cells["_bootstrap"],
        toward=cells["_toward"],
        tost_p=cells.get("_tost_claim_p", math.nan),
        tost_level=settings["level"] / max(tests, 1),
    )
    reversed_ = claim["rule"] != "equivalence" and not cells["_toward"]
    if word == "not distinguished" and reversed_ and cells["p"] < settings["level"] <= cells["gate_p"]:
        # the other side forgot less, but it is not shown that it learnt as much
        cells |= {"gate_passed": False, "gate_side": cells.get("_other", "")}
        return "gate failed"
    return word


def _members(claims: list[dict], measured: dict, words: dict, level: float) -> None:
    """Set the words of the members of intersection-union claims, and list the failed members, in place.

    A member shows the adjusted p values of its claim.
    """
    originals = dict(words)
    for claim in claims:
        if claim["rule"] != "all_of":
            continue
        joint, word = measured[claim["name"]], words[claim["name"]]
        factor = (
            max(1.0, joint.get("holm_p", joint["_claim_p"]) / joint["_claim_p"])
            if joint["_claim_p"] > 0
            else 1.0
        )
        failed = [
            name
            for name in claim["all_of"]
            if originals[name] not in ("shown", "exploratory") or measured[name]["_claim_p"] * factor >= level
        ]
        joint["members"] = " ".join(claim["all_of"])
        decided = word in ("shown", "contradicted", "equivalent", "exploratory")
        joint["failed_members"] = "" if decided else " ".join(failed)
        adjusted = {key: joint[key] for key in _ADJUSTED if key in joint}
        for name in claim["all_of"]:
            words[name] = component(word, originals[name])
            measured[name] |= adjusted


def _row(claim: dict, cells: dict, word: str, settings: dict) -> dict:
    row = {key: claim[key] for key in ("role", "rule", "figure")}
    row |= {"claim": claim["name"], "direction": claim.get("direction", ""), "phase": settings["phase"]}
    row |= {"level": settings["level"], "margin": settings["learning_margin"], "verdict": word}
    row |= {"bases": bases_of(settings["bases"])}
    row |= {key: value for key, value in cells.items() if not key.startswith("_")}
    if cells:
        row["gate_passed"] = "true" if cells["gate_passed"] else "false"
    return CLAIMS.filled(row)

"""Conclusions that the study does not support, as sentences derived from its facts."""

import math

from sparse_continual.report import published, rates
from sparse_continual.report.sentences import cannot_reach
from sparse_continual.report.words import Words, absent
from sparse_continual.statistics.compare import bases_of
from sparse_continual.statistics.contrasts import shared
from sparse_continual.verdicts.findings import planned_n
from sparse_continual.verdicts.verdict import MINIMUM_BLOCKS

BITS_PER_WEIGHT = 2  # capacity of a model (arXiv 2404.05405)
SAME_MODEL = 0.05  # relative difference in weights below which two matched controls are nearly one


def limits(facts: dict, budget: list[dict], streams: dict, claims: list[dict], words: Words) -> list[str]:
    """Sentences on the limits of the study's conclusions.

    `facts` is the study's slice of config (report.smk), `budget` the rows of budget.csv, `streams` maps
    each stream's name to its tables `contrasts`, `summary`, `frontier`, `flags`, `runs` and `densities`, `claims`
    are the rows of claims.csv.
    """
    sentences = [_phase(facts, words), _estimands(facts, words), _blocks(facts, words)]
    sentences += [_bases(facts, budget, words), _topologies(facts, words)]
    sentences += published.limits(facts, streams, budget, words)
    sentences += [_load(name, facts, budget, words) for name in streams]
    sentences += [_training(facts, words), _ends(facts, streams, words), *rates.limits(facts, streams, words)]
    sentences += [_lora(facts, words), *_controls(budget, words), *_verdicts(claims, words)]
    sentences += [*_transfer(streams, words), *_retention(streams, words), *_flags(streams, words)]
    sentences += [*_flops(budget, words), words(f"limits.streams.{'one' if len(streams) < 2 else 'several'}")]
    return [line for line in sentences if line]


def units(facts: dict) -> tuple[int, str]:
    """(n, "block" or "base"): the unit that the study's statistics count."""
    bases = facts["bases_of_blocks"]
    return planned_n(bases), "base" if shared(bases) else "block"


def bases_kind(facts: dict) -> str:
    """How many bases the blocks start from: `one` for all, `shared` by some, or each its `own`."""
    bases = facts["bases_of_blocks"]
    if bases_of(bases) == "one for all blocks" or not facts["generated"]:
        return "one"
    return "shared" if shared(bases) else "own"


def _phase(facts, words):
    return "" if facts["phase"] == "confirmatory" else words(f"limits.phase.{facts['phase']}")


def _estimands(facts, words):
    contrasts = [f"`{c['name']}`" for c in facts["study"]["contrasts"]]
    if not contrasts:
        return words("limits.estimands.none")
    return words("limits.estimands.some", contrasts=words.join(contrasts))


def _blocks(facts, words):
    n, unit = units(facts)
    level = facts["study"]["statistics"]["level"]
    smallest = 2.0 ** (1 - n)
    if n < MINIMUM_BLOCKS or smallest >= level:
        return words.count(f"limits.blocks.{unit}.few", n, why=cannot_reach(smallest, level, unit, words))
    return words(f"limits.blocks.{unit}.enough", n=n)


def _bases(facts, budget, words):
    sizes = sorted({int(float(row["parameters"])) for row in budget})
    size = f"{sizes[0]:,}"
    if len(sizes) > 1:
        size = words("numbers.range", lower=size, upper=f"{sizes[-1]:,}")
    bases = words.join(f"`{name}`" for name in facts["bases"])
    return words(f"limits.bases.{bases_kind(facts)}", bases=bases, size=size)


def _topologies(facts, words):
    kinds = [
        words(
            "limits.topologies.each",
            name=f"`{name}`",
            method=topology["method"],
            pattern=topology.get("pattern") or words("limits.topologies.counted"),
        )
        for name, topology in facts["topologies"].items()
        if topology["method"] != "dense"
    ]
    if not kinds:
        return words("limits.topologies.none")
    return words("limits.topologies.some", kinds=words.join(kinds))


def _load(name, facts, budget, words):
    bits = facts["bits"][name]
    if bits is None:
        return words("limits.load.fixed", stream=f"`{name}`")
    load = bits / min(float(row["nonzeros"]) for row in budget)
    kind = "low" if load < BITS_PER_WEIGHT / 2 else "high"
    return words(f"limits.load.{kind}", stream=f"`{name}`", load=f"{load:.2g}", capacity=BITS_PER_WEIGHT)


def _training(facts, words):
    stop = facts["study"]["training"]["stop"]
    if "loss" in stop:
        return words("limits.training.loss", loss=f"{stop['loss']:g}", cap=stop["cap"])
    if "steps" in stop:
        return words("limits.training.steps", steps=stop["steps"])
    return words("limits.training.epochs", epochs=f"{stop['epochs']:g}")


def _ends(facts, streams, words):
    if facts["study"]["training"]["ends"] == "frozen":
        return words("limits.ends.frozen")
    shares = [tables["runs"].ends_share.mean() for tables in streams.values()]
    return words("limits.ends.trained", share=f"{100 * sum(shares) / len(shares):.0f}")


def _lora(facts, words):
    forms = {mechanism["form"] for mechanism in facts["mechanisms"].values() if mechanism["kind"] == "lora"}
    if not forms:
        return ""
    other = "".join(
        words("limits.lora.form", form=f"`{form}`") for form in ("masked", "side") if form not in forms
    )
    return words("limits.lora.tuned", other=other)


def _controls(budget, words):
    """Pairs of dense controls that are matched on different counts but are nearly the same model."""
    matched = [row for row in budget if row["matched_on"]]
    return dict.fromkeys(
        words(
            "limits.controls",
            a=f"`{a['condition']}`",
            b=f"`{b['condition']}`",
            left=f"{float(a['nonzeros']):,.0f}",
            right=f"{float(b['nonzeros']):,.0f}",
        )
        for i, a in enumerate(matched)
        for b in matched[i + 1 :]
        if (a["stream"], a["matched_to"]) == (b["stream"], b["matched_to"])
        and a["matched_on"] != b["matched_on"]
        and all(math.isclose(float(a[k]), float(b[k]), rel_tol=SAME_MODEL) for k in ("prunable", "nonzeros"))
    )


def _verdicts(claims, words):
    verdicts = {row["verdict"] for row in claims}
    if not claims:
        yield words("limits.verdicts.none")
    if "not distinguished" in verdicts:
        margins = any(not absent(row["claim_margin"]) for row in claims)
        yield words(f"limits.verdicts.not_distinguished.{'tost' if margins else 'plain'}")
    if "gate failed" in verdicts:
        yield words("limits.verdicts.gate_failed")
    skewed = [f"`{row['claim']}`" for row in claims if not absent(row["bootstrap_lower"])]
    if skewed:
        yield words("limits.skew", claims=words.join(skewed))
    if "exploratory" in verdicts:
        yield words("limits.verdicts.exploratory")


def _transfer(streams, words):
    for name, tables in streams.items():
        rows = tables["summary"]
        rows = rows[(rows.metric == "forward_transfer") & (rows.scale == "raw") & (rows.part == "all")]
        if len(rows) and ((rows.lower <= 0) & (rows.upper >= 0)).all():
            yield words("limits.transfer", stream=f"`{name}`")


def _retention(streams, words):
    lines = {}
    for tables in streams.values():
        rows = tables["summary"]
        kept = set(rows[rows.metric == "base_retention"].condition)
        lost = [f"`{name}`" for name in dict.fromkeys(rows.condition) if name not in kept]
        if lost:
            key = f"limits.retention.{'some' if kept else 'none'}"
            lines[words(key, conditions=words.join(lost))] = None
    return lines


def _flags(streams, words):
    for name, tables in streams.items():
        counts = tables["flags"].kind.value_counts()
        for kind, key in (("floor", "floor"), ("not learnt", "not_learnt")):
            if kind in counts:
                yield words(f"limits.flags.{key}", stream=f"`{name}`", count=counts[kind])


def _flops(budget, words):
    known = [row for row in budget if not absent(row["training_executed"])]
    if any(float(row["training_executed"]) > 1.01 * float(row["training_theoretical"]) for row in known):
        yield words("limits.flops")
    unknown = dict.fromkeys(f"`{row['condition']}`" for row in budget if absent(row["training_executed"]))
    if unknown:
        yield words("limits.flops_unknown", conditions=words.join(unknown))

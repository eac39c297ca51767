"""Methods side by side: the measurements of every topology, and the results of its arm on the stream.

Described only, and only in studies that measure their topologies (`study.measure_topologies`).
"""

import math

from sparse_continual.report.html_table import table
from sparse_continual.report.words import Words
from sparse_continual.show import digits, points

STAGES = ("base", "pruned", "trained", "recovered")
COLUMNS = (
    "condition topology pattern density:number perplexity_base:number perplexity_pruned:number"
    " perplexity_trained:number perplexity_recovered:number layer_error:number learning_accuracy:size"
    " forgetting:points"
)


def of_methods(name: str, frames: dict, facts: dict, words: Words) -> dict | None:
    """{lines: sentences, table, costs} of the stream `name`, or None if nothing was measured.

    found: tables of the stream, among them densities, summary, and those of pruning.tables.MEASURED.
    """
    if not facts["study"].get("measure_topologies"):
        return None
    rows = _rows(frames, facts)
    caption = words("page.compared.table")
    return {
        "lines": _lines_by_base(rows, words),
        "table": table(
            words, f"{name}-methods", rows, COLUMNS, f"../{name}/tables/perplexities.csv", caption
        ),
        "costs": table(
            words,
            f"{name}-costs",
            _costs(frames["costs"], words),
            "topology step:text wall_seconds:number peak_bytes:count added_bytes:count",
            f"../{name}/tables/costs.csv",
            words("page.compared.costs"),
        ),
    }


def _rows(frames, facts) -> list[dict]:
    """One row per condition whose model has the base's own shape: means over blocks."""
    perplexity = frames["perplexities"].copy()
    perplexity["perplexity"] = [math.log(value) for value in perplexity.perplexity]
    perplexity = perplexity.groupby(["topology", "stage"]).perplexity.mean().to_dict()
    errors = frames["layer_errors"].groupby(["topology", "matrix"]).error.mean()
    errors = errors.groupby("topology").median().to_dict()
    densities = frames["densities"].groupby("topology")[["nonzeros", "weights"]].sum()
    patterns = frames["densities"].groupby("topology").pattern.agg(lambda own: " ".join(dict.fromkeys(own)))
    summary = frames["summary"]
    plain = summary[(summary.part == "all") & (summary.scale == "raw")]
    levels = plain.set_index(["condition", "metric"])["mean"].to_dict()
    rows = []
    for name in facts["study"]["conditions"]:
        condition = facts["conditions"][name]
        topology = facts["topology_names"][name]
        if "match" in condition or topology not in densities.index:
            continue
        known = {stage: perplexity.get((topology, stage)) for stage in STAGES}
        rows.append(
            {
                "condition": name,
                "base": condition["base"],
                "topology": topology,
                "pattern": patterns[topology],
                "density": float(densities.nonzeros[topology] / densities.weights[topology]),
                "layer_error": errors.get(topology),
                **{f"perplexity_{k}": None if v is None else math.exp(v) for k, v in known.items()},
                **{metric: levels.get((name, metric)) for metric in ("learning_accuracy", "forgetting")},
            }
        )
    return rows


def _costs(costs, words: Words) -> list[dict]:
    """One row per topology and step: medians over blocks."""
    medians = costs.groupby(["topology", "stage"], sort=False)[
        ["seconds", "peak_bytes", "added_bytes"]
    ].median()
    return [
        {"topology": topology, "step": words(f"page.compared.steps.{stage}"), **row}
        | {"wall_seconds": row["seconds"]}
        for (topology, stage), row in zip(medians.index, medians.to_dict("records"), strict=True)
    ]


def _lines_by_base(rows: list[dict], words: Words) -> list[str]:
    """`_lines`; with several bases, those of each base after its name, because each reads its own text."""
    bases = list(dict.fromkeys(row["base"] for row in rows))
    if len(bases) == 1:
        return _lines(rows, words)
    return [
        words("page.compared.lines.each", base=base, line=line)
        for base in bases
        for line in _lines([row for row in rows if row["base"] == base], words)
    ]


def _lines(rows: list[dict], words: Words) -> list[str]:
    """Sentences on the differences between methods, as far as there is data."""
    unique = {row["topology"]: row for row in rows}
    sparse = [row for row in unique.values() if row["density"] < 1]
    later = [row for row in sparse if row["perplexity_trained"] is None]
    dense = [row for row in unique.values() if row["density"] == 1]
    lines = []
    for stage in ("pruned", "recovered"):
        ends = _ends(later, f"perplexity_{stage}", "topology", digits)
        if ends:
            lines.append(words(f"page.compared.lines.{stage}", n=len(later), **ends))
    if lines:
        lines[0] += " " + words("page.compared.lines.base", base=digits(later[0]["perplexity_base"]))
    if len(lines) == 2 and dense and dense[0]["perplexity_recovered"] is not None:
        lines[1] += " " + words("page.compared.lines.dense", dense=digits(dense[0]["perplexity_recovered"]))
    at_init = _ends(
        [row for row in sparse if row["perplexity_trained"] is not None],
        "perplexity_recovered",
        "topology",
        digits,
    )
    if at_init:
        lines.append(words("page.compared.lines.init", **at_init))
    arms = [row for row in rows if row["density"] < 1]
    learnt, forgot = (
        _ends(arms, metric, "condition", _points) for metric in ("learning_accuracy", "forgetting")
    )
    if learnt and forgot:
        lines.append(words("page.compared.lines.learning", **learnt))
        lines.append(words("page.compared.lines.forgetting", **forgot))
    return lines


def _ends(rows, key, name, form) -> dict:
    """{low, lowest, high, highest}: the smallest and largest value of a column, formatted by `form`, and the column
    `name` of their rows; {} for no rows.
    """
    rows = [row for row in rows if row[key] is not None and not math.isnan(row[key])]
    if not rows:
        return {}
    ends = {}
    for side, where, choose in (("low", "lowest", min), ("high", "highest", max)):
        row = choose(rows, key=lambda row: row[key])
        ends[side] = form(row[key])
        ends[where] = row[name]
    return ends


def _points(share: float) -> str:
    return f"{'−' if share < 0 and points(share) != '0.0' else ''}{points(share)}"

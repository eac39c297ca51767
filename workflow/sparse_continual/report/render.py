"""The page a lab member reads: one HTML file that opens offline, and its sentences as Markdown.

Everything said about findings comes from `sentences`, everything about limits from
`limits.limits`; the template holds only what is true of any study. No times and no paths of the
machine, so that equal results give an equal page.
"""

import base64
import csv
import math
import re
from pathlib import Path

from sparse_continual import files, registry
from sparse_continual.report import rates
from sparse_continual.report.limits import limits
from sparse_continual.report.sentences import claim, details, final
from sparse_continual.statistics import tables
from sparse_continual.statistics.columns import METRICS, TABLES

TEMPLATES = Path(__file__).parent / "templates"
SHOWN_FLAGS = 100  # rows of flags printed; the table has all


def write(root, facts: dict, page, extract) -> None:
    """Write the HTML `page` and the Markdown `extract` of the study in folder `root` (results/<study>).

    `facts` is the slice of config: study, one_base, and the bases, topologies, mechanisms, streams,
    conditions and figures that the study uses.
    """
    root = Path(root)
    with open(root / "budget.csv", newline="", encoding="utf-8") as handle:
        budget = list(csv.DictReader(handle))
    streams = {name: _stream(root / name, name, facts, budget) for name in facts["study"]["streams"]}
    found = {name: stream["tables"] for name, stream in streams.items()}
    values = {
        "facts": facts,
        "streams": streams,
        "questions": _questions(facts, rates.in_words(found)),
        "limits": limits(facts, budget, found),
        "metric_meanings": METRICS,
        "columns": TABLES,
    }
    files.write(page, _environment(escape=True).get_template("report.html.j2").render(values))
    files.write(extract, _environment(escape=False).get_template("findings.md.j2").render(values))


def _stream(folder: Path, name: str, facts: dict, budget: list[dict]) -> dict:
    """Everything the templates show of one stream."""
    found = {
        table: tables.read(folder / "statistics" / f"{table}.csv")
        for table in ("contrasts", "summary", "flags", "frontier")
    }
    found["runs"] = tables.read(folder / "tables" / "runs.csv")
    return {
        "name": name,
        "tables": found,
        "budget": [row for row in budget if row["stream"] == name],
        "buffers": any(float(row.get("buffer_tokens") or 0) for row in budget if row["stream"] == name),
        "arms": _arms(found, facts),
        "families": _families(found["contrasts"], facts, rates.in_words({name: found})),
        "verdicts": found["contrasts"].verdict.replace("", None).value_counts().to_dict(),
        "gates": _gates(found["contrasts"]),
        "summaries": _summaries(found["summary"]),
        "figures": [_figure(folder, name, figure, facts) for figure in _in_order(facts["figures"])],
        "flags": found["flags"].head(SHOWN_FLAGS).to_dict("records"),
        "flag_counts": _flag_counts(found["flags"]),
        "orders": _orders(folder / "orders.csv"),
    }


def _arms(found, facts) -> list[dict]:
    """What each condition did: chosen rate, and means over blocks and tasks of how it trained."""
    rows = []
    for condition in facts["study"]["conditions"]:
        runs = found["runs"][found["runs"].condition == condition]
        chosen = found["frontier"][(found["frontier"].condition == condition) & found["frontier"].chosen]
        rates = sorted(set(chosen.learning_rate))
        rows.append(
            {
                "condition": condition,
                "learning_rate": ", ".join(f"{rate:g}" for rate in rates),
                "steps": f"{runs.steps.mean():.0f}" + (" on average" if runs.steps.nunique() > 1 else ""),
                "stops": ", ".join(f"{stop} {count}" for stop, count in runs.stop.value_counts().items()),
                "tokens": runs.tokens.mean(),
                "trained": runs.trained.mean(),
                "update_norm": runs.update_norm.mean(),
                "relative_update": runs.relative_update.mean(),
                "ends_share": runs.ends_share.mean(),
            }
        )
    return rows


def _questions(facts, chosen) -> list[dict]:
    """What every planned contrast compares, over all streams."""
    return [
        {"name": contrast["name"], "differ": differ(contrast, facts["conditions"], chosen)}
        for contrast in facts["study"]["contrasts"]
    ]


def _families(contrasts, facts, chosen) -> list[dict]:
    """Families in the order of the study, with their contrasts, what these differ in, and the sentences."""
    planned = {contrast["name"]: contrast for contrast in facts["study"]["contrasts"]}
    families = []
    for family, members in contrasts.groupby("family", sort=False):
        entries = []
        for name, rows in members.groupby("contrast", sort=False):
            primary = rows[rows.role == "primary"].to_dict("records")
            accuracy = rows[rows.metric == "average_accuracy"].to_dict("records")
            beside = {"forgetting": [final(row) for row in accuracy]}
            entries.append(
                {
                    "name": name,
                    "differ": differ(planned[name], facts["conditions"], chosen),
                    "findings": [
                        {
                            "verdict": row["verdict"],
                            "claim": claim(row),
                            "details": " ".join(filter(None, [details(row), *beside.get(row["metric"], ())])),
                        }
                        for row in primary
                    ],
                    "rows": rows.to_dict("records"),
                }
            )
        families.append({"name": family, "tests": int(members.tests.max()), "contrasts": entries})
    return families


def differ(contrast: dict, conditions: dict, chosen: dict[str, str]) -> str:
    """In what the two sides of a contrast differ: config, and the learning rates `chosen` by tuning.

    Of an interaction, its two pairs.
    """
    plus, minus = contrast["plus"], contrast["minus"]
    if len(plus) == 2:
        arms = [plus[0], minus[0], minus[1], plus[1]]
        a, b, c, d = (f"`{arm}`" for arm in arms)
        found = [chosen[arm] for arm in arms]
        rates = (
            f" Learning rates, as tuned and in this order: {', '.join(found)}." if len(set(found)) > 1 else ""
        )
        return f"Interaction: {a} − {b}, against {c} − {d}.{rates}"
    a, b = (
        _in_words(conditions[name]) | {"learning rate, as tuned": chosen[name]} for name in (*plus, *minus)
    )
    parts = [f"{key} ({a[key]} against {b[key]})" for key in a if a[key] != b[key]]
    return f"`{plus[0]}` against `{minus[0]}`: they differ in {' and '.join(parts) or 'nothing'}."


def _in_words(condition: dict) -> dict[str, str]:
    """The settings of a condition as a reader would say them."""
    match = condition.get("match")
    writes = {
        "all": "all",
        "masked": f"only at the places of {condition.get('like')}",
        "random": f"as many as in {condition.get('like')}, at random",
    }
    return {
        "base": condition["base"],
        "topology": condition["topology"],
        "absent weights": "locked" if condition.get("locked", True) else "free to grow",
        "writes": writes[condition.get("writes", "all")],
        "shape": f"matched to the {match['on']} of {match['to']}" if match else "the base's own",
        "mechanism": condition["mechanism"],
    }


def _gates(contrasts) -> list[dict]:
    return contrasts[contrasts.role == "primary"].drop_duplicates("contrast").to_dict("records")


def _summaries(summary) -> list[dict]:
    """One table of conditions x metrics per part and scale, all items and raw scores first."""
    found = []
    for (part, scale), rows in summary.groupby(["part", "scale"], sort=False):
        metrics = [metric for metric in METRICS if metric in set(rows.metric)]
        cells = {(row.condition, row.metric): row for row in rows.itertuples()}
        found.append(
            {
                "part": part,
                "scale": scale,
                "metrics": metrics,
                "rows": [
                    (condition, [cells.get((condition, metric)) for metric in metrics])
                    for condition in dict.fromkeys(rows.condition)
                ],
            }
        )
    return sorted(found, key=lambda table: (table["part"] != "all", table["scale"] != "raw"))


def _in_order(figures) -> list[str]:
    """Names of figures by the place that each claims in the report."""
    return sorted(figures, key=lambda name: (registry.load("figures", name).PLACE, name))


def _figure(folder: Path, stream: str, name: str, facts: dict) -> dict:
    """A figure as the page shows it; an image of its own, so that no id of one can meet one of another."""
    import yaml

    variant = registry.load("figures", name)
    svg = (folder / "figures" / f"{name}.svg").read_bytes()
    settings = facts["figures"][name]
    return {
        "name": name,
        "id": f"{stream}-{name}",
        "title": settings["title"],
        "caption": variant.CAPTION,
        "wide": _width(svg) > 300,
        "uri": "data:image/svg+xml;base64," + base64.b64encode(svg).decode(),
        "tables": [f"../{stream}/{table}.csv" for table in variant.TABLES],
        "files": [f"../{stream}/figures/{name}.{form}" for form in ("svg", "pdf", "png")],
        "settings": yaml.safe_dump({"figures": {name: settings}}, sort_keys=False, allow_unicode=True),
    }


def _width(svg: bytes) -> float:
    """Width in points that an SVG declares, 0 when it declares none."""
    found = re.search(rb'<svg[^>]*\bwidth="([\d.]+)pt"', svg)
    return float(found[1]) if found else 0.0


def _flag_counts(flags) -> list[dict]:
    counts = flags.groupby(["kind", "condition", "part"], sort=False).size()
    return [
        dict(zip(("kind", "condition", "part", "count"), (*key, n), strict=True)) for key, n in counts.items()
    ]


def _orders(path: Path) -> dict[str, list[str]]:
    orders = tables.read(path).sort_values("position", kind="stable")
    return {block: list(rows.task) for block, rows in orders.groupby("block", sort=False)}


def _environment(escape: bool):
    import yaml
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
    from markupsafe import escape as escaped

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "code": lambda text: Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escaped(text)))),
        "points": _points,
        "count": _count,
        "number": lambda value: "" if _missing(value) else f"{float(value):.3g}",
        "yaml": lambda value: yaml.safe_dump(value, sort_keys=False, allow_unicode=True),
    }
    return made


def _missing(value) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _points(share) -> str:
    """A share as signed points; an en dash where there is none."""
    return "–" if _missing(share) else f"{100 * float(share):.1f}".replace("-", "−")


def _count(value) -> str:
    """A count for people: 148,000 or 1.2 M."""
    if _missing(value):
        return ""
    value = float(value)
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:,.0f}"

"""The study's report: one HTML file that opens offline, its findings as Markdown, a LaTeX table.

`sentences` writes the findings, `limits.limits` the limits, `differ` the differences behind a contrast; the words come
from the catalogue of one language. Equal inputs give an equal page: only the section on the environment shows machines
and times.
"""

import csv
import re
from pathlib import Path

from sparse_continual import files, tables
from sparse_continual.errors import UserError
from sparse_continual.pruning.tables import MEASURED
from sparse_continual.report import latex, page_tables, published, rates
from sparse_continual.report.differ import differ
from sparse_continual.report.html_table import figure, in_order
from sparse_continual.report.limits import bases_kind, limits, units
from sparse_continual.report.methods import of_methods
from sparse_continual.report.sentences import details, finding, names_in, seen
from sparse_continual.report.tasks import of_tasks
from sparse_continual.report.words import TEMPLATES, Words, absent
from sparse_continual.show import decimal, signed
from sparse_continual.statistics.metrics import METRICS
from sparse_continual.verdicts.instrument import refuse_failed


def write(root, facts: dict, page, extract, export, environment: dict | None = None, built=()) -> None:
    """Write the HTML `page`, the Markdown `extract` and the LaTeX `export` of the study in folder `root`.

    `root` is results/<study>. `facts` is the slice of config: study, phase, language, registration ({path, digest} or
    None), claims (those of the claims file), configfiles (besides the default), bases_of_blocks (block -> base),
    published (base -> declarations of a published checkpoint), counted (topology -> the base that it was counted in),
    topology_names (condition -> the name of its topology in the tables), tasks (stream -> number of tasks), bits
    (stream -> number of bits that its tasks ask a model to store, None if unknown), generated (whether every base is
    made here), and the bases, topologies, mechanisms, streams, conditions and figures that the study uses.
    `environment` is the result of environment.gather, `built` that of tasks.gather.

    Raises UserError if an instrument check failed, or a verdict contradicts its row.
    """
    root, words = Path(root), Words(facts["language"])
    with open(root / "budget.csv", newline="", encoding="utf-8") as handle:
        budget = list(csv.DictReader(handle))
    study = _read(root, tables.WHOLE)
    frames = {name: _read_stream(root / name, facts) for name in facts["study"]["streams"]}
    for name, stream in frames.items():
        refuse_failed(stream["instrument"].to_dict("records"), f"{root.name}/{name}")
    study = {name: frame.to_dict("records") for name, frame in study.items()}
    rows = {row["claim"]: row for row in study["claims"]}
    chosen = rates.in_words(frames, words)
    figures = [
        figure(root / name, name, each, facts, words)
        for name in frames
        for each in in_order(facts["figures"])
    ]
    claims = _claims(facts, rows, chosen, figures, words)
    primary = {
        name: page_tables.primary_rows(stream["contrasts"], name, study["claims"], words)
        for name, stream in frames.items()
    }
    n, unit = units(facts)
    values = {
        "units": {"n": n, "unit": unit, "bases": bases_kind(facts)},
        "facts": facts,
        "claims": claims,
        "counts": _counts(claims, words),
        "claim_table": page_tables.of_claims(study["claims"], words),
        "questions": [
            {**contrast, "differ": differ(contrast, facts["conditions"], chosen, words)}
            for contrast in facts["study"]["contrasts"]
        ],
        "published": published.provenance(facts, words),
        "limits": limits(facts, budget, frames, study["claims"], words),
        "streams": [
            page_tables.of_stream(root / name, name, frames[name], primary[name], budget, facts, words)
            | {
                "methods": of_methods(name, frames[name], facts, words),
                "tasks": of_tasks(root, name, built, words),
            }
            for name in frames
        ],
        "equivalence": page_tables.of_equivalence(study["claims"], words),
        "loads": page_tables.of_loads(study["loads"], words),
        "deviations": page_tables.of_deviations(study["deviations"], words),
        "power": page_tables.of_power(study["power"], words),
        "figures": figures,
        "methods": list(words.catalogue["page"]["methods"]),
        "environment": page_tables.of_environment(environment, words),
        "digests": page_tables.of_digests(root / "index.csv", words),
        "metric_meanings": {name: words.of_language(metric)[1] for name, metric in METRICS.items()},
        "columns": {
            name: {column.name: words.of_language(column) for column in table.columns}
            for name, table in tables.every().items()
        },
    }
    templates = _templates(words)
    files.write(page, templates(True).get_template("report.html.j2").render(values))
    files.write(extract, templates(False).get_template("findings.md.j2").render(values))
    files.write(export, latex.primary(facts["study"]["name"], primary, words))


def _read(folder: Path, kind: str) -> dict:
    """Name -> table of the estimates of a stream or of the whole study (`kind`: a folder of `tables`)."""
    names = [name for name, table in tables.every().items() if table.folder == kind]
    return {name: tables.read(folder / "statistics" / f"{name}.csv") for name in names}


def _read_stream(folder: Path, facts: dict) -> dict:
    measured = MEASURED if facts["study"].get("measure_topologies") else ()
    shown = ("runs", "densities", *(table.name for table in measured))
    collected = {name: tables.read(folder / "tables" / f"{name}.csv") for name in shown}
    return _read(folder, tables.STATISTICS) | collected


def _claims(facts, rows, chosen, figures, words) -> list[dict]:
    """The claims of the study for the page; members of joint claims are nested in those."""
    contrasts = {contrast["name"]: contrast for contrast in facts["study"]["contrasts"]}
    planned = {claim["name"]: claim for claim in facts["claims"]}
    _same_names(rows, planned)
    shown = []
    for name, claim in planned.items():
        row = rows[name]
        if row["role"] == "component":
            continue
        contrast = contrasts.get(claim.get("contrast"))
        members = [rows[member] for member in names_in(row["members"])]
        shown.append(
            {
                "name": name,
                "sentence": claim["sentence"][words.language],
                "verdict": row["verdict"],
                "word": words.name("verdicts", row["verdict"]),
                "style": row["verdict"].split()[0],
                "finding": finding(row, contrast, words, members),
                "details": details(row, contrast, words),
                "seen": seen(row, words),
                "rule": words.name("rules", row["rule"]),
                "role": words.name("roles", claim["role"]),
                "contrast": "" if contrast is None else contrast["name"],
                "metric": row["metric"],
                "differ": "" if contrast is None else differ(contrast, facts["conditions"], chosen, words),
                "stream": "" if absent(row["stream"]) else row["stream"],
                "same": _same(row, rows, words),
                "figure": _claim_figure(claim, row, figures),
                "members": page_tables.of_members(name, members, words) if members else None,
                "reason": claim.get("reason", {}).get(words.language, ""),
            }
        )
    return shown


def _same(row, rows, words) -> str:
    """The other claims that use the same differences, so that nobody counts them as further evidence."""
    if absent(row["contrast"]):
        return ""
    differences = page_tables.rests_on(row)
    test = [row["rule"], row["direction"]]
    others = [
        other for other in rows.values() if other is not row and page_tables.rests_on(other) == differences
    ]
    sentences = []
    for key, same in (("test", True), ("differences", False)):
        named = [
            _named(other, rows, words)
            for other in others
            if ([other["rule"], other["direction"]] == test) == same
        ]
        if named:
            sentences.append(words(f"page.claims.same.{key}", claims=words.join(named)))
    return " ".join(sentences)


def _named(row, rows, words):
    """A claim's name; for a member, followed by the name of its claim."""
    joint = next(
        (f"`{other}`" for other, its in rows.items() if row["claim"] in names_in(its["members"])), ""
    )
    name = f"`{row['claim']}`"
    return words("page.claims.member", claim=name, joint=joint) if joint else name


def _same_names(rows, planned):
    if set(rows) != set(planned):
        odd = ", ".join(sorted(set(rows) ^ set(planned)))
        raise UserError(
            f"claims.csv: not the claims of the study's claims file (differing in {odd}); delete it and run again"
        )


def _claim_figure(claim, row, figures):
    """The figure that a claim names, on the claim's stream or else the first; None if it is not drawn."""
    named = [each for each in figures if each["name"] == claim.get("figure")]
    of_stream = [each for each in named if each["stream"] in str(row["stream"]).split()]
    return next(iter(of_stream or named), None)


def _counts(claims, words) -> str:
    order = [claim["verdict"] for claim in claims]
    counts = [
        words("page.claims.count", n=order.count(verdict), verdict=words.name("verdicts", verdict).lower())
        for verdict in dict.fromkeys(order)
    ]
    return words("page.claims.summary", n=len(order), counts=words.join(counts)) if order else ""


def _templates(words: Words):
    """Jinja's environment, with or without escaping."""
    import yaml
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
    from markupsafe import escape as escaped

    def prose(text):
        html = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escaped(text)))
        html = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", html)
        return Markup(re.sub(r"\*([^*\s][^*]*)\*", r"<em>\1</em>", html))

    def environment(escape: bool):
        jinja = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=escape,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        jinja.filters |= {
            "prose": prose,
            "code": lambda text: Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escaped(text)))),
            "points": signed,
            "decimal": decimal,
            "yaml": lambda value: yaml.safe_dump(value, sort_keys=False, allow_unicode=True),
        }
        jinja.globals |= {"t": words, "words": words}
        return jinja

    return environment

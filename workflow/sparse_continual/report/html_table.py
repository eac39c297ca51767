"""Tables and figures in the form that the page's template shows."""

import base64
import posixpath
import shlex
from pathlib import Path

from sparse_continual import registry
from sparse_continual.figures.figure import SECTIONS
from sparse_continual.report.words import Words, absent
from sparse_continual.show import count, digits, points, probability, signed

LIMIT = 200  # rows of a table on the page; the file has all
# How a column's cells are shown: text (the default), code, count, number, p, flag (true or false), points (a share as
# signed points), size (points without a sign), amount (points, or bits in a row whose scale is bits), words:GROUP (a
# word of the catalogue).
KINDS = {
    **dict.fromkeys(
        "claim contrast condition condition_or_contrast topology name run scores".split(), "code"
    ),
    **dict.fromkeys("unit at estimator component left_out source".split(), "words:terms"),
    "estimand": "words:estimands",
    "metric": "words:metrics",
    "verdict": "words:verdicts",
    "role": "words:roles",
    "scale": "words:scales",
    **dict.fromkeys("gate_passed passed primary exact_reaches".split(), "flag"),
    **dict.fromkeys("p gate_p holm_p sign_flip_p tost_p".split(), "p"),
    **dict.fromkeys(
        "mean level_mean lower upper simultaneous_lower simultaneous_upper equivalence_lower equivalence_upper"
        " learning_difference learning_lower".split(),
        "points",
    ),
    **dict.fromkeys("claim_margin margin detectable effect".split(), "size"),
    **dict.fromkeys(
        "n tests blocks_for_effect parameters nonzeros weights trained training_theoretical training_executed"
        " tokens_per_run tokens blocks_planned blocks_run tasks_planned tasks_run bases_counted count seconds".split(),
        "count",
    ),
    **dict.fromkeys(
        "hedges_g density density_lowest density_highest share level tost_power gate_power ratio bits_per_nonzero steps"
        " update_norm relative_update ends_share".split(),
        "number",
    ),
}
_AMOUNTS = {"mean": "amount", "level_mean": "level_amount"}  # headers that name both units
_NUMERIC = ("count", "number", "p", "points", "size", "amount")


def table(words: Words, key: str, rows: list[dict], columns: str, file: str = "", caption: str = "") -> dict:
    """A sortable table: header cells and rows of cells.

    `columns` are names between spaces; `name:kind` overrides the kind in KINDS. `file` is the table's path from the
    page.
    """
    named = [column.partition(":")[::2] for column in columns.split()]
    kinds = {column: kind or KINDS.get(column, "text") for column, kind in named}
    numeric = {column: kind in _NUMERIC for column, kind in kinds.items()}
    return {
        "id": f"table-{key}",
        "caption": caption,
        "file": file,
        "all": len(rows),
        "head": [
            {
                "column": column,
                "text": words.name("headers", _AMOUNTS.get(column, column) if kind == "amount" else column),
                "numeric": numeric[column],
            }
            for column, kind in kinds.items()
        ],
        "rows": [
            [
                _cell(words, row.get(column), kind, row) | {"numeric": numeric[column]}
                for column, kind in kinds.items()
            ]
            for row in rows[:LIMIT]
        ],
    }


def _cell(words, value, kind, row):
    """{text, value: for sorting and the CSV, code}."""
    if absent(value):
        return {"text": "", "value": "", "code": False}
    if kind == "text" and isinstance(value, float):
        kind = "number"
    if kind == "amount":
        kind = "number" if row.get("scale") == "bits" else "points"
    if kind.startswith("words:"):
        return {"text": words.name(kind[6:], value), "value": value, "code": False}
    text = {
        "points": lambda: signed(float(value)),
        "size": lambda: points(float(value)),
        "number": lambda: digits(float(value)),
        "p": lambda: probability(value),
        "count": lambda: count(value),
        "flag": lambda: words(f"truth.{str(value).lower()}"),
    }.get(kind, lambda: str(value))()
    raw = f"{value:.10g}" if isinstance(value, float) else str(value)
    return {"text": text, "value": raw, "code": kind == "code"}


def in_order(figures) -> list[str]:
    """Names of figures in the order of the page: by section, then by their `order` in it."""

    def place(name):
        drawn = registry.load("figures", name)
        return SECTIONS.index(drawn.section), drawn.order, name

    return sorted(figures, key=place)


def figure(folder: Path, stream: str, name: str, facts: dict, words: Words) -> dict:
    """A figure for the page, as an image of its own, so that ids of two figures cannot clash."""
    import yaml

    drawn = registry.load("figures", name)
    svg = (folder / "figures" / f"{name}.svg").read_bytes()
    settings = facts["figures"][name]
    study_tables = [f"../statistics/{table}.csv" for table in drawn.study_tables]
    return {
        "name": name,
        "stream": stream,
        "id": f"{stream}-{name}",
        "section": drawn.section,
        "title": settings["title"],
        "caption": words.meaning("figures", name, drawn.caption),
        "uri": "data:image/svg+xml;base64," + base64.b64encode(svg).decode(),
        "tables": [posixpath.normpath(f"../{stream}/{table}.csv") for table in drawn.tables] + study_tables,
        "files": [f"../{stream}/figures/{name}.{form}" for form in ("svg", "pdf", "png")],
        "settings": yaml.safe_dump({"figures": {name: settings}}, sort_keys=False, allow_unicode=True),
        "command": rebuild(facts, stream, name),
    }


def rebuild(facts: dict, stream: str, name: str) -> str:
    """The command that redraws a figure, from the folder that holds `results`."""
    target = f"results/{facts['study']['name']}/{stream}/figures/{name}.svg"
    command = ["snakemake", "--cores", "1", target]
    if facts["configfiles"]:
        command += ["--configfile", *facts["configfiles"]]
    return shlex.join([*command, "--forcerun", "draw_figure"])

"""Published comparisons of two methods, put through the intervals and the caution of this workflow.

The shape of the file is `workflow/schemas/reanalysis.schema.yaml`; studies/reanalysis.yaml is an example. Nothing
here was registered before its data were seen, so no comparison is ever confirmatory: below six blocks it is
described, above it is exploratory.
"""

import math
from pathlib import Path

import numpy as np
import yaml

from sparse_continual import registry
from sparse_continual.errors import UserError
from sparse_continual.files import given_path
from sparse_continual.registry import nearest
from sparse_continual.statistics import metrics, paired, power
from sparse_continual.statistics.verdict import MINIMUM_BLOCKS
from sparse_continual.yaml_text import read_yaml

SCHEMA = Path(__file__).resolve().parents[2] / "schemas" / "reanalysis.schema.yaml"
IMPORTERS = "statistics.importers"
HEADER = (
    "comparison",
    "metric",
    "n",
    "mean",
    "SD",
    "interval",
    "p of t",
    "p of sign-flip (smallest)",
    "reading",
)


def reanalyse(path) -> str:
    """Markdown: a table of all comparisons of the file at `path`, then each with its values and sources.

    Raises ConfigError with one line per mistake in the file, and UserError for a log that cannot be read.
    """
    from sparse_continual.config import ConfigError, check_schema

    path = Path(path)
    content = read_yaml(path)
    lines = check_schema("", content, yaml.safe_load(SCHEMA.read_text(encoding="utf-8")))
    if not lines and not math.isfinite(content["level"]):
        lines = [f"level: found {content['level']}, expected a finite number"]
    lines = lines or [line for entry in content["comparisons"] for line in _mistakes(entry)]
    if lines:
        raise ConfigError(f"{path}: {line}" for line in lines)
    level = content["level"]
    parts = [_compared(entry, level, path.parent) for entry in content["comparisons"]]
    covers = f"{100 * (1 - level):g} %"
    text = [
        "# Published comparisons, read with intervals",
        f"Differences in points (percent), paired by block; t intervals that cover {covers}, and exact sign-flip"
        " tests. None was registered before its data were seen: nothing here is confirmatory.",
        "\n".join([_row(HEADER), _row(["---"] * len(HEADER)), *(_row(row) for row, _ in parts)]),
        *(detail for _, detail in parts),
    ]
    return "\n\n".join(text) + "\n"


def _mistakes(entry: dict) -> list[str]:
    """What no schema can say of a comparison."""
    where, lines = entry["name"], []
    for key in ("n", "mean", "sd"):
        if not math.isfinite(entry.get("summary", {}).get(key, 0)):
            return [f"{where}: summary.{key}: found {entry['summary'][key]}, expected a finite number"]
    if ("summary" in entry) == ("plus" in entry) or ("plus" in entry) != ("minus" in entry):
        return [f"{where}: expected plus and minus, or a summary, and not both"]
    for side in (entry[key] for key in ("plus", "minus") if key in entry):
        own = f"{where}: {side['method']}"
        if ("values" in side) == ("logs" in side) or ("logs" in side) != ("importer" in side):
            lines.append(f"{own}: expected values, or logs with their importer, and not both")
            continue
        wrong = [value for value in side.get("values", ()) if not math.isfinite(value)]
        if wrong:
            lines.append(f"{own}: found value {wrong[0]}, expected finite numbers")
            continue
        found, expected = len(side.get("values", side.get("logs"))), len(entry.get("blocks", ()))
        if found != expected:
            lines.append(
                f"{own}: {found} values or logs for {expected} blocks; expected one for each of blocks"
            )
    if (
        any("logs" in entry.get(key, ()) for key in ("plus", "minus"))
        and entry["metric"] not in metrics.OF_MATRIX
    ):
        known = list(metrics.OF_MATRIX)
        lines.append(f"{where}: metric {entry['metric']!r} is unknown{nearest(entry['metric'], known)}")
    return lines


def _compared(entry: dict, level: float, folder: Path) -> tuple[list[str], str]:
    """(cells of the table, what is said below it) of one comparison."""
    lines = [f"## {entry['name']}"]
    if "summary" in entry:
        own = entry["summary"]
        d, sides = _spread(own["n"], own["mean"], own["sd"]), [own]
        flip = paired.SignFlip(math.nan, math.nan, math.nan)
        lines.append(_source("Summary", own))
    else:
        sides, values = [entry["plus"], entry["minus"]], []
        for side in sides:
            found, notes = _values(side, entry["metric"], folder)
            values.append(found)
            lines.append(_source(side["method"], side) + "".join(f" {note}." for note in notes))
        d = np.subtract(*values)
        flip = paired.sign_flip(d)
        names = [side["method"] for side in sides]
        lines.append(_values_table(entry["blocks"], names, values, d))
    n, mean, sd = len(d), float(d.mean()), float(d.std(ddof=1)) if len(d) > 1 else math.nan
    lower, upper = paired.interval(d, level)
    p = paired.t_test(d)[1]
    reading = _reading(n, lower, upper, p, flip.p, flip.smallest, level)
    marked = entry["name"] + ("" if all(side["confirmed"] for side in sides) else " (unconfirmed values)")
    exact = "needs single values" if math.isnan(flip.p) else f"{flip.p:.3f} ({flip.smallest:.3f})"
    exact += f", standard error {flip.error:.4f}" if flip.error > 0 else ""
    row = [
        marked,
        entry["metric"],
        str(n),
        _points(mean),
        f"{sd:.2f}",
        _interval(lower, upper),
        _p(p),
        exact,
        reading,
    ]
    seen = power.detectable(n, 0.0 if n < 2 or paired.constant(d) else sd, level)
    if not math.isnan(seen):
        lines.append(
            f"With this n and spread a true difference of {seen:.1f} points is found four times in five."
        )
    if "checkpoint" in entry:
        lines.append(f"All blocks start from {entry['checkpoint']}: what is found holds for this checkpoint.")
    if "note" in entry:
        lines.append(" ".join(entry["note"].split()))
    return row, "\n\n".join(lines)


def _reading(n: int, lower, upper, p, flip, smallest, level: float) -> str:
    """What may be said, by rule alone. The exact test is NaN where only a summary is known."""
    if n < MINIMUM_BLOCKS or smallest >= level:
        return f"descriptive: n = {n}; no claim below {MINIMUM_BLOCKS}, or where the exact test cannot reject"
    if math.isnan(p):
        return "exploratory: no variance, so no interval and no t test"
    excludes = not lower <= 0 <= upper
    if excludes and not flip >= level:
        return "exploratory: the interval excludes 0" + (
            "" if math.isnan(flip) else " and the exact test agrees"
        )
    if excludes:
        return "exploratory: the interval excludes 0, but the exact test does not agree"
    return "exploratory: not distinguished, which is no evidence of equality"


def _values(side: dict, metric: str, folder: Path) -> tuple[list[float], list[str]]:
    """(one value per block in points, notes of the logs)."""
    if "values" in side:
        return side["values"], []
    importer, values, notes = registry.load(IMPORTERS, side["importer"]), [], []
    for log in map(given_path, side["logs"]):
        foreign = _read(importer, folder / log)
        found, reasons = foreign.metrics()
        if metric not in found:
            raise UserError(f"{folder / log}: {metric} cannot be computed: {reasons[metric]}")
        values.append(100 * found[metric])
        notes += foreign.notes
    return values, list(dict.fromkeys(notes))


def _read(importer, log: Path):
    """The matrix of a log; a log that is none of the importer's is told with what it expects."""
    try:
        return importer.read(log)
    except UserError as error:
        expected = getattr(importer, "EXPECTED", "")
        if not expected or "expected" in str(error):
            raise
        raise UserError(f"{error}; {expected}") from None


def _spread(n: int, mean: float, sd: float) -> np.ndarray:
    """n values of exactly this mean and SD: all that a t interval looks at."""
    z = np.arange(n) - (n - 1) / 2
    return mean + sd * z / z.std(ddof=1)


def _values_table(blocks, names, values, d) -> str:
    rows = [["block", *names, "difference"], ["---"] * 4]
    rows += [
        [block, f"{a:.2f}", f"{b:.2f}", _points(each)]
        for block, a, b, each in zip(blocks, *values, d, strict=True)
    ]
    return "\n".join(_row(row) for row in rows)


def _source(name: str, side: dict) -> str:
    seen = "" if side["confirmed"] else " **Not confirmed**: not seen in that source."
    return f"{name}: {' '.join(side['source'].split())}.{seen}"


def _row(cells) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def _points(value: float) -> str:
    return f"{value:+.2f}"


def _interval(lower: float, upper: float) -> str:
    return "none" if math.isnan(lower) else f"[{_points(lower)}, {_points(upper)}]"


def _p(p: float) -> str:
    return "none" if math.isnan(p) else f"{p:.3f}"

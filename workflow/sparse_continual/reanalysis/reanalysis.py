"""Published comparisons of two methods, read with the intervals and the caution of this workflow.

The schema is `schemas/reanalysis.schema.yaml`; studies/reanalysis.yaml is an example. No comparison was registered
before its data were seen, so none is confirmatory: below six blocks it is described, above it is exploratory.

Logs must belong together:
- in a block both sides have the same number T of tasks, and the same tasks in the same order, as far as the logs name
  them. All blocks have the same T. Only T shows a run that was killed between two tasks;
- a log is refused if the metric needs its missing scores; if not, the missing scores are reported;
- no log, and no copy of it, counts for two blocks. If both sides of a block are the same log, this is reported: that
  difference is 0 by construction;
- blocks with other sets of tasks, and sides with other importers, are reported.
"""

import math
import os
from pathlib import Path

import numpy as np

from sparse_continual import registry
from sparse_continual.errors import ConfigError, UserError
from sparse_continual.files import given_path
from sparse_continual.reanalysis.foreign import Foreign
from sparse_continual.registry import nearest
from sparse_continual.schema import check_schema, schema_named
from sparse_continual.show import markdown
from sparse_continual.statistics import metrics, paired, power
from sparse_continual.verdicts.verdict import MINIMUM_BLOCKS
from sparse_continual.yaml_text import read_yaml

IMPORTERS = "reanalysis.importers"
SAME = "**The two sides are the same**"
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
    path = Path(path)
    content = read_yaml(path)
    lines = check_schema("", content, schema_named("reanalysis"))
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
        f"Differences in points (percent), paired by block; t intervals that cover {covers}, and sign-flip"
        " tests. None was registered before its data were seen: nothing here is confirmatory.",
        markdown(HEADER, [row for row, _ in parts]),
        *(detail for _, detail in parts),
    ]
    return "\n\n".join(text) + "\n"


def _mistakes(entry: dict) -> list[str]:
    """Mistakes in a comparison that the schema cannot express."""
    where, lines = entry["name"], []
    for key in ("n", "mean", "sd"):
        if not math.isfinite(entry.get("summary", {}).get(key, 0)):
            return [f"{where}: summary.{key}: found {entry['summary'][key]}, expected a finite number"]
    if ("summary" in entry) == ("plus" in entry) or ("plus" in entry) != ("minus" in entry):
        return [f"{where}: expected plus and minus, or a summary, and not both"]
    lines += _mistaken_blocks(entry)
    for side in (entry[key] for key in ("plus", "minus") if key in entry):
        place = f"{where}: {side['method']}"
        if ("values" in side) == ("logs" in side) or ("logs" in side) != ("importer" in side):
            lines.append(f"{place}: expected values, or logs with their importer, and not both")
            continue
        wrong = [value for value in side.get("values", ()) if not math.isfinite(value)]
        if wrong:
            lines.append(f"{place}: found value {wrong[0]}, expected finite numbers")
            continue
        lines += [f"{place}: log {log!a}: {why}" for log in side.get("logs", ()) if (why := _no_name(log))]
        count, expected = len(side.get("values", side.get("logs"))), len(entry.get("blocks", ()))
        if count != expected:
            lines.append(
                f"{place}: {count} values or logs for {expected} blocks; expected one for each of blocks"
            )
        elif entry["metric"] in metrics.LEVELS and _as_shares(side.get("values", ())):
            lines.append(
                f"{place}: all values are at most 1, the largest {max(side['values'])}; expected points, from 0 to 100."
                " Multiply shares by 100"
            )
    if (
        any("logs" in entry.get(key, ()) for key in ("plus", "minus"))
        and entry["metric"] not in metrics.OF_MATRIX
    ):
        known = list(metrics.OF_MATRIX)
        lines.append(f"{where}: metric {entry['metric']!r} is unknown{nearest(entry['metric'], known)}")
    return lines


def _mistaken_blocks(entry: dict) -> list[str]:
    """Names of blocks that differ only in blanks; a summary with another number of blocks."""
    where, names, lines = entry["name"], [" ".join(name.split()) for name in entry.get("blocks", ())], []
    lines += [
        f"{where}: blocks: {name!r} occurs {names.count(name)} times; expected a different name for each block"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    if "summary" in entry and names and len(names) != entry["summary"]["n"]:
        lines.append(
            f"{where}: summary.n: found {entry['summary']['n']}, expected {len(names)}, one per block"
        )
    return lines


def _as_shares(values) -> bool:
    return any(values) and all(0 <= value <= 1 for value in values)


def _no_name(log: str) -> str:
    """Why no file can have the name `log`, as a phrase; "" if one can."""
    try:
        return "holds a NUL; expected the name of a file or folder" if b"\0" in os.fsencode(log) else ""
    except UnicodeEncodeError:
        return "cannot be a file name in this locale; rename it, or set PYTHONUTF8=1"


def _compared(entry: dict, level: float, folder: Path) -> tuple[list[str], str]:
    """(cells of the table, the text below it) of one comparison."""
    lines = [f"## {entry['name']}"]
    if "summary" in entry:
        summary = entry["summary"]
        d, sides = _spread(summary["n"], summary["mean"], summary["sd"]), [summary]
        flip = paired.SignFlip(math.nan, math.nan, math.nan)
        lines.append(_source("Summary", summary))
    else:
        sides, values = [entry["plus"], entry["minus"]], []
        logs = [_logs(side, folder) for side in sides]
        remarks = _belonging(entry, logs)
        for side, summary in zip(sides, logs, strict=True):
            side_values, notes = _values(side, summary, entry["metric"])
            values.append(side_values)
            lines.append(_source(side["method"], side) + "".join(f" {note}." for note in notes))
        lines += remarks
        d = np.subtract(*values)
        flip = paired.sign_flip(d)
        names = [side["method"] for side in sides]
        lines.append(_values_table(entry["blocks"], names, values, d))
    n, mean, sd = len(d), float(d.mean()), float(d.std(ddof=1)) if len(d) > 1 else math.nan
    lower, upper = paired.interval(d, level)
    p = paired.t_test(d)[1]
    reading = _reading(n, lower, upper, p, flip.p, flip.smallest, level)
    marked = entry["name"] + ("" if all(side["confirmed"] for side in sides) else " (unconfirmed values)")
    marked += " (the same on both sides)" if any(line.startswith(SAME) for line in lines) else ""
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
    detectable = power.detectable(n, 0.0 if n < 2 or paired.constant(d) else sd, level)
    if not math.isnan(detectable):
        lines.append(
            f"With this n and spread a true difference of {detectable:.1f} points is found four times in five."
        )
    if "checkpoint" in entry:
        lines.append(f"All blocks start from {entry['checkpoint']}: the finding holds for this checkpoint.")
    if "note" in entry:
        lines.append(" ".join(entry["note"].split()))
    return row, "\n\n".join(lines)


def _reading(n: int, lower, upper, p, flip, smallest, level: float) -> str:
    """The permitted conclusion, by rule alone. The exact test is NaN if only a summary is known."""
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


def _logs(side: dict, folder: Path) -> list[tuple[Path, Foreign]]:
    """(path, matrix) of each log of a side, in the order of the blocks; [] if its values are given."""
    if "logs" not in side:
        return []
    importer = registry.load(IMPORTERS, side["importer"])
    paths = [folder / given_path(log) for log in side["logs"]]
    return [(path, _read(importer, path)) for path in paths]


def _belonging(entry: dict, logs: list[list[tuple[Path, Foreign]]]) -> list[str]:
    """Notes on how the logs of both sides belong together.

    logs: of plus and of minus, each empty or one per block. Raises UserError if they do not belong together.
    """
    where, blocks = entry["name"], entry.get("blocks", [])
    if not any(logs):
        same = entry["plus"]["values"] == entry["minus"]["values"]
        return [f"{SAME}: all values are equal."] if same else []
    remarks = _said_of_copies(where, blocks, logs)
    for block, pair in zip(blocks, zip(*logs, strict=True), strict=True) if all(logs) else ():
        _check_pair(f"{where}: {block}", entry, *pair)
    runs = [(block, *run) for side in logs for block, run in zip(blocks, side, strict=False)]
    first = runs[0]
    for block, path, foreign in runs:
        if len(foreign.tasks) != len(first[2].tasks):
            raise UserError(
                f"{where}: {path} ({block}) has {_in_words(foreign)}, and {first[1]} ({first[0]}) has"
                f" {_in_words(first[2])}; expected the same number in all blocks. Make streams of another length a"
                " separate comparison; rerun a run that was killed"
            )
    others = [
        block
        for block, _, foreign in runs
        if foreign.naming == first[2].naming == "names" and set(foreign.tasks) != set(first[2].tasks)
    ]
    if others:
        remarks.append(
            f"Not all blocks are of the same tasks: {', '.join(dict.fromkeys(others))} from {first[0]}. The mean is"
            " over different sets of tasks."
        )
    importers = [entry[key].get("importer", "values as published") for key in ("plus", "minus")]
    if importers[0] != importers[1]:
        remarks.append(
            f"The sides are read from different sources ({importers[0]}; {importers[1]}), whose scores and metrics may"
            " be defined differently (docs/foreign_metrics.md)."
        )
    if all(logs) and any(not _named_alike(entry, *pair) for pair in zip(*logs, strict=True)):
        remarks.append(
            "The logs do not name the tasks alike: only their number was compared between the sides."
        )
    return remarks


def _said_of_copies(where: str, blocks: list[str], logs) -> list[str]:
    """The blocks whose two sides are one log. Raises UserError if one log counts for two blocks."""
    runs = [
        (block, path, foreign) for side in logs for block, (path, foreign) in zip(blocks, side, strict=False)
    ]
    both = []
    for number, (block, path, foreign) in enumerate(runs):
        for earlier, other, known in runs[:number]:
            one = os.path.realpath(path) == os.path.realpath(other)
            if not one and not (
                foreign.tasks == known.tasks and np.array_equal(foreign.R, known.R, equal_nan=True)
            ):
                continue
            if block != earlier:
                what = "are one log" if one else "hold the same scores in every cell"
                raise UserError(
                    f"{where}: {other} ({earlier}) and {path} ({block}) {what}; expected a run of its own for each"
                    " block"
                )
            both.append(block)
    if not both:
        return []
    return [f"{SAME} in {', '.join(both)}: the difference is 0 there by construction."]


def _check_pair(where: str, entry: dict, plus: tuple[Path, Foreign], minus: tuple[Path, Foreign]) -> None:
    """Raise UserError when the two logs of a block are not of one stream."""
    (a, first), (b, second) = plus, minus
    if len(first.tasks) == len(second.tasks):
        if not _named_alike(entry, plus, minus) or first.tasks == second.tasks:
            return
        advice = "Give both sides of a block the same tasks in the same order"
    else:
        shorter = min((len(first.tasks), a), (len(second.tasks), b))[1]
        advice = f"Was the run of {shorter} killed? Run it again, or leave out this block"
    raise UserError(
        f"{where}: {a} has {_in_words(first)}, and {b} has {_in_words(second)}; expected the same stream. {advice}"
    )


def _named_alike(entry: dict, plus: tuple[Path, Foreign], minus: tuple[Path, Foreign]) -> bool:
    """Whether the task names of the two logs can be compared: numbers have the same meaning only in one framework."""
    naming, other = plus[1].naming, minus[1].naming
    one = naming == "names" or entry["plus"]["importer"] == entry["minus"]["importer"]
    return naming == other != "positions" and one


def _in_words(foreign: Foreign) -> str:
    """The number of tasks of a log, and their names if it has them."""
    number = f"{len(foreign.tasks)} tasks"
    return number if foreign.naming == "positions" else f"{number} ({', '.join(foreign.tasks)})"


def _values(side: dict, logs: list[tuple[Path, Foreign]], metric: str) -> tuple[list[float], list[str]]:
    """(one value per block in points, notes of the logs)."""
    if "values" in side:
        return side["values"], []
    values, notes = [], []
    for log, (path, foreign) in zip(side["logs"], logs, strict=True):
        computed, reasons = foreign.metrics()
        if metric not in computed:
            raise UserError(f"{path}: {metric} cannot be computed: {reasons[metric]}")
        if math.isnan(computed[metric]):
            raise UserError(
                f"{path}: {metric} has no value, because the old tasks gained nothing; expected a gain"
            )
        values.append(100 * computed[metric])
        notes += foreign.notes
        if holes := foreign.holes():
            notes.append(f"{log} is not complete: {holes}; {metric} does not need it")
    return values, list(dict.fromkeys(notes))


def _read(importer, log: Path):
    """The matrix of a log; an error about unknown content gets the importer's `expected`."""
    try:
        return importer.read(log)
    except UserError as error:
        if "expected" in str(error):
            raise
        raise UserError(f"{error}; {importer.expected}") from None
    except OSError as error:  # a folder within, say, of someone else's
        raise UserError(
            f"{error.filename or log}: cannot be read ({error.strerror}); expected a log that you may read"
        ) from None


def _spread(n: int, mean: float, sd: float) -> np.ndarray:
    """n values with exactly this mean and SD, which determine a t interval."""
    z = np.arange(n) - (n - 1) / 2
    return mean + sd * z / z.std(ddof=1)


def _values_table(blocks, names, values, d) -> str:
    rows = [
        [block, f"{a:.2f}", f"{b:.2f}", _points(each)]
        for block, a, b, each in zip(blocks, *values, d, strict=True)
    ]
    return markdown(["block", *names, "difference"], rows)


def _source(name: str, side: dict) -> str:
    unconfirmed = "" if side["confirmed"] else " **Not confirmed**: not seen in that source."
    return f"{name}: {' '.join(side['source'].split())}.{unconfirmed}"


def _points(value: float) -> str:
    return f"{value:+.2f}"


def _interval(lower: float, upper: float) -> str:
    return "none" if math.isnan(lower) else f"[{_points(lower)}, {_points(upper)}]"


def _p(p: float) -> str:
    return "none" if math.isnan(p) else f"{p:.3f}"

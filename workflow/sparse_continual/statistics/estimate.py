"""The estimates of one stream from its tables, one table each. Claims are judged elsewhere.

scores.csv, runs.csv and trials.csv always exist; the other tables of scores and runs only if the study asks for them
(`Table.asked`). Without them their rows are absent.
"""

from pathlib import Path

from sparse_continual import tables
from sparse_continual.statistics import (
    compare,
    components,
    contrasts,
    frontier,
    matrices,
    metric_table,
    retention,
    sensitivity,
    specification,
    summary,
)
from sparse_continual.statistics import tables as stage_tables
from sparse_continual.statistics.flags import flags


def estimate(
    tables_folder,
    output_folder,
    compared: list[dict],
    level: float,
    margin: float,
    bases: dict[str, str],
    names: list[str],
) -> None:
    """Write every table of `statistics.tables` to `output_folder`.

    tables_folder holds the tables `names`; other files in it are left over from another study and are not read.
    compared: the study's contrasts; level: two-sided error rate; margin: learning margin as a share; bases: block ->
    base.

    Raises UserError naming the problem in the tables: invalid scores, or arms on different blocks.
    """
    read = {name: tables.read(Path(tables_folder) / f"{name}.csv") for name in names}
    scores = read["scores"]
    contrasts.check(compared, dict.fromkeys(scores.condition))
    entries = matrices.of_stream(scores, read.get("references"))
    calibrated = matrices.of_stream(read["calibrated"]) if "calibrated" in read else None
    values = metric_table.metric_table(entries, matrices.of_base(scores), read, calibrated)
    indexed = compare.index(values)
    repeated = None
    if "repeats" in read:
        repeated = compare.index(metric_table.metric_table(matrices.of_stream(read["repeats"])))
    curves = frontier.frontier_table(read["trials"])
    curve_blocks = frontier.block_table(curves, compared)
    held = retention.retention_table(scores)
    frames = {
        "metrics": values,
        "summary": summary.summary_table(values, level, bases),
        "differences": compare.difference_table(indexed, compared, bases),
        "contrasts": compare.contrast_table(indexed, compared, level, margin, bases),
        "flags": flags(scores, read["runs"]),
        "frontier": curves,
        "frontier_blocks": curve_blocks,
        "frontier_contrasts": frontier.frontier_contrasts(curves, curve_blocks, compared, level),
        "components": components.component_table(indexed, compared, bases, read.get("items"), repeated),
        "sensitivity": sensitivity.sensitivity_table(entries, _tasks(scores), compared, level, bases),
        "specification": specification.specification_table(indexed, compared, level, bases),
        "retention": held,
        "slopes": retention.slope_table(held, level, bases),
    }
    for table in tables.declared(stage_tables):
        tables.write(Path(output_folder) / f"{table.name}.csv", frames[table.name])


def _tasks(scores) -> dict[tuple[str, str], list[str]]:
    """(condition, block) -> names of its tasks by position."""
    rows = scores[(scores.position > 0) & (scores.part == "all") & (scores.after == 0)]
    return {
        run: list(group.sort_values("position").task)
        for run, group in rows.groupby(["condition", "block"], sort=False)
    }

"""The value of every metric in every run: metrics.csv."""

from sparse_continual.statistics import matrices, metrics
from sparse_continual.statistics.tables import METRICS

CALIBRATED = "calibrated"  # raw scores of options without their prior


def metric_table(entries, base=(), secondary=None, calibrated=None):
    """One row per condition, block, part, metric and scale.

    entries: matrices.of_stream; base: matrices.of_base; secondary: name -> table of each secondary outcome that the
    study measures; calibrated: the matrices of calibrated.csv, None if the study has none.
    """
    rows = []
    for entry in entries:
        for scale in metrics.SCALES:
            rows += _rows(entry, entry.part, scale, scale)
    for entry in base:
        for scale in metrics.SCALES:
            rows += _rows(entry, "all", scale, scale)
    for name, metric in metrics.OF_TABLE.items():
        if metric.needs in (secondary or {}):
            values = matrices.of_table(metric, secondary[metric.needs])
            rows += [(c, b, "all", name, "raw", value) for c, b, value in values]
    for entry in calibrated or ():
        rows += _rows(entry, entry.part, "raw", CALIBRATED)
    return METRICS.frame(rows)


def _rows(entry, part: str, scale: str, name: str) -> list[tuple]:
    return [
        (entry.condition, entry.block, part, metric, name, value)
        for metric, value in entry.values(scale).items()
    ]

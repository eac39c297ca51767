"""The value of every metric in every run: metrics.csv."""

from sparse_continual.statistics import matrices, metrics

COLUMNS = ["condition", "block", "part", "metric", "scale", "value"]
CALIBRATED = "calibrated"  # raw scores of options whose prior has been taken out


def metric_table(entries, base=(), savings=None, calibrated=None):
    """One row per condition, block, part, metric and scale.

    entries: matrices.of_stream; base: matrices.of_base; savings, calibrated: savings.csv and the
    matrices of calibrated.csv, None where the study has none.
    """
    import pandas

    rows = []
    for entry in entries:
        for scale in metrics.SCALES:
            rows += _rows(entry, entry.part, scale, scale)
    for entry in base:
        for scale in metrics.SCALES:
            rows += _rows(entry, "all", scale, scale)
    if savings is not None:
        rows += [(c, b, "all", "savings", "raw", value) for c, b, value in matrices.of_savings(savings)]
    for entry in calibrated or ():
        rows += _rows(entry, entry.part, "raw", CALIBRATED)
    return pandas.DataFrame(rows, columns=COLUMNS)


def _rows(entry, part: str, scale: str, name: str) -> list[tuple]:
    return [
        (entry.condition, entry.block, part, metric, name, value)
        for metric, value in entry.values(scale).items()
    ]

"""Tidy tables as CSV text: the same bytes for the same rows."""

import csv
import io


def csv_text(rows: list[dict], columns) -> str:
    """CSV of `columns` of `rows`: a header, `\\n` line ends, floats to 10 significant digits.

    None becomes empty, a boolean `true` or `false`; text stays unchanged.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_text(row[column]) for column in columns])
    return out.getvalue()


def _text(value) -> str:
    if hasattr(value, "item"):  # numpy's scalars, without importing numpy
        value = value.item()
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else str(value)

"""Tidy tables as CSV text: the same bytes for the same rows."""

import csv
import io


def csv_text(rows: list[dict], columns) -> str:
    """CSV of `columns` with a header, `\\n` line ends and floats to 10 significant digits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_text(row[column]) for column in columns])
    return out.getvalue()


def _text(value) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)

"""scores.csv, and the key under which a training process leaves it beside its weights.

Importing torch and transformers costs more than scoring a small run, so the process that trained it
scores it too. The scoring rule adopts that table when weights, settings and code are what it would
use itself. Nothing heavy is imported here.
"""

import csv
import io
from pathlib import Path

from sparse_continual.files import read_json, write, write_json
from sparse_continual.identity import sha256

TABLE, KEY = "scores.csv", "scores.json"


def key_of(weights: dict, settings: dict, code: str, base: str, mixture: str | None) -> str:
    """The identity of a scored run: digests of its weights, of the scoring's settings and code, and the
    manifests (their names hold digests) of its base and of the mixture."""
    return sha256({"weights": weights, "settings": settings, "code": code, "made from": [base, mixture]})


def csv_text(rows: list[dict], columns) -> str:
    """CSV with a header, `\\n` line ends and numbers to 10 significant digits: the same bytes for the same rows."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_text(row[column]) for column in columns])
    return out.getvalue()


def _text(value) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def leave(folder, text: str, key: str) -> None:
    """Write the table, then its key, beside a run's weights."""
    write(Path(folder) / TABLE, text)
    write_json(Path(folder) / KEY, {"key": key})


def adopt(folder, key: str) -> str | None:
    """The table beside a run's weights when it was made under `key`, else None."""
    folder = Path(folder)
    if not (folder / KEY).is_file() or read_json(folder / KEY)["key"] != key:
        return None
    return (folder / TABLE).read_text(encoding="utf-8")

"""The table of scores that a training process leaves beside its weights, and the key it lies under.

Importing torch and transformers costs more than scoring a small run, so the process that trained it
scores it too. The scoring rule adopts that table when weights, settings, code and what was scored are
what it would use itself. Nothing heavy is imported here.
"""

import hashlib
from pathlib import Path

from sparse_continual.files import read_json, sha256_of, write, write_json
from sparse_continual.identity import sha256

TABLE, KEY = "scores.csv", "scores.json"


def asked(settings: dict, code: str, base: str, stream: str, mixture: str | None) -> dict:
    """What a table of scores comes from, besides weights: its settings, the digest of its code, and the
    content of the manifests of the base, of the stream and of the base's mixture (None: none is scored)."""
    manifests = {"base": base, "stream": stream, "mixture": mixture}
    return {
        "settings": settings,
        "code": code,
        "made from": {role: path and sha256_of(path) for role, path in manifests.items()},
    }


def key_of(weights: dict, asked: dict) -> str:
    """The identity of a scored run. weights: {position: digest of the weights after it}."""
    return sha256([weights, asked])


def leave(folder, text: str, key: str) -> None:
    """Write the table, then its key, beside a run's weights."""
    write(Path(folder) / TABLE, text)
    write_json(Path(folder) / KEY, {"key": key, "table": _digest(text)})


def adopt(folder, key: str) -> str | None:
    """The table beside a run's weights when it is whole and was made under `key`, else None."""
    table, left = Path(folder) / TABLE, Path(folder) / KEY
    if not (table.is_file() and left.is_file()):
        return None
    text = table.read_bytes().decode()
    return text if read_json(left) == {"key": key, "table": _digest(text)} else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

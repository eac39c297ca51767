"""The tables of scores that a training process stores beside its weights, and their key.

Importing torch and transformers costs more than scoring a small run, so the process that trained a run also scores it.
The scoring rule adopts these tables if their weights, settings, code and inputs are the ones that it would use itself.
Nothing heavy is imported here.
"""

import hashlib
from pathlib import Path

from sparse_continual.files import read_json, sha256_of, write, write_json
from sparse_continual.identity import sha256

KEY = "scores.json"


def asked(settings: dict, code: str, base: str, stream: str, mixture: str | None) -> dict:
    """The sources of tables of scores, besides weights: their settings, the digest of their code, and the contents of
    the manifests of the base, of the stream and of the base's mixture (None: no mixture is scored)."""
    manifests = {"base": base, "stream": stream, "mixture": mixture}
    return {
        "settings": settings,
        "code": code,
        "made from": {role: path and sha256_of(path) for role, path in manifests.items()},
    }


def key_of(weights: dict, sources: dict) -> str:
    """The identity of a scored run. weights: {position: digest of the weights after it}."""
    return sha256([weights, sources])


def leave(folder, tables: dict[str, str], key: str) -> None:
    """Write {name: CSV text} beside a run's weights, then their key."""
    for name, text in tables.items():
        write(Path(folder) / f"{name}.csv", text)
    write_json(Path(folder) / KEY, {"key": key, "tables": {name: _digest(t) for name, t in tables.items()}})


def adopt(folder, key: str) -> dict[str, str] | None:
    """The tables beside a run's weights if they are whole and were made under `key`, else None."""
    left = Path(folder) / KEY
    if not left.is_file():
        return None
    content = read_json(left)
    if content["key"] != key or not all(
        (Path(folder) / f"{name}.csv").is_file() for name in content["tables"]
    ):
        return None
    tables = {name: (Path(folder) / f"{name}.csv").read_bytes().decode() for name in content["tables"]}
    return tables if all(_digest(text) == content["tables"][name] for name, text in tables.items()) else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

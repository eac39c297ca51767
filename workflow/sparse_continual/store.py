"""Entries of the store that no study needs."""

import os
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.files import read_json
from sparse_continual.integrity import MANIFEST, MANIFESTS, STORE

RESUME = ".resume"  # below the store: checkpoints of runs that are not finished
LOGS = "logs"


def unneeded(needed: set[str]) -> list[Path]:
    """Artifacts of the store, and checkpoints of unfinished ones, that are not in `needed` (paths of artifacts)."""
    store = Path(STORE)
    artifacts = [path for path in store.glob("[!.]*/*-*") if path.parent.name != LOGS]
    checkpoints = list((store / RESUME).glob("*/*-*"))
    entries = [path for path in (*artifacts, *checkpoints) if path.is_dir() and not path.is_symlink()]
    return sorted(path for path in entries if f"{STORE}/{path.parent.name}/{path.name}" not in needed)


def reached() -> set[str]:
    """Paths of the artifacts that the tables and figures below `results` were made from, directly or not.

    Raises UserError, naming the file, for a manifest that cannot be read.
    """
    results = Path(STORE).parent
    waiting = [*results.glob(f"*/{MANIFESTS}/*.json"), *results.glob(f"*/*/{MANIFESTS}/*.json")]
    artifacts: set[str] = set()
    while waiting:
        for path in _inputs(waiting.pop()):
            parts = Path(path).parts
            artifact = os.path.join(*parts[:4]) if path.startswith(f"{STORE}/") and len(parts) > 4 else None
            if artifact and artifact not in artifacts:
                artifacts.add(artifact)
                manifest = Path(artifact) / MANIFEST
                waiting += [manifest] if manifest.is_file() else []
    return artifacts


def _inputs(manifest: Path) -> list[str]:
    try:
        return list(read_json(manifest)["inputs"].keys())
    except (UserError, AttributeError, KeyError, TypeError, RecursionError):
        raise UserError(
            f"{manifest}: damaged, so the artifacts behind its files are unknown; delete it and rerun its study"
        ) from None


def unfinished() -> list[str]:
    """Names of the studies below `results` that have begun and have no report yet."""
    begun = {path.parent.name for path in Path(STORE).parent.glob(f"*/{MANIFESTS}")}
    return sorted(
        name for name in begun if not (Path(STORE).parent / name / "report" / "report.html").is_file()
    )

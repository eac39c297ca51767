"""Integrity of results: what a manifest records, and the one check that every reader makes.

An artifact of the store is a folder with `manifest.json`. The manifest records what must be equal: the digest of
every file, the filled settings, the digest of the code, the digests of the inputs, and the format of the store.
`provenance.json` beside it says when, where and with which versions the artifact was made; no job reads it.
Tables and figures of a study have `manifests/<rule>.json` beside them. `verify` is the check.
"""

import json
import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.files import PART, read_json, sha256_of, write_json
from sparse_continual.identity import sha256

STORE = "results/store"
STORE_FORMAT = 1  # of manifests and of what lies in the store; change it when old artifacts cannot be read
MANIFEST = "manifest.json"
PROVENANCE = "provenance.json"
MANIFESTS = "manifests"  # the folder of manifests beside a study's tables and figures
CACHE = Path(STORE) / ".digests"
LARGE = 2**20  # bytes from which a digest is cached on disk
TICK = (
    50_000_000  # nanoseconds: a file that changed less than this ago can change again in the same clock tick
)

PACKAGES = "torch transformers tokenizers safetensors peft numpy scipy pandas statsmodels matplotlib snakemake".split()

_remembered: dict = {}  # state of a file -> its digest, in this process


def digest_of(path) -> str:
    """Hex SHA-256 of a file. It is computed once per state of the file.

    The state is (device, inode, size, mtime_ns, ctime_ns): a changed file has another ctime even where its mtime was
    set back. Digests of large files are cached below the store, one small file each. Several jobs may read and write
    the cache at once, because a cache file appears whole.
    """
    stat = os.stat(path)
    state = [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    if tuple(state) in _remembered:
        return _remembered[tuple(state)]
    cached = CACHE / f"{stat.st_dev}-{stat.st_ino}.json"
    large = stat.st_size >= LARGE
    digest = _cached(cached, state) if large else None
    if digest is None:
        settled = time.time_ns() - stat.st_ctime_ns > TICK
        digest = sha256_of(path)
        if not settled:
            return digest
        if large and CACHE.parent.is_dir():
            try:
                write_json(cached, {"state": state, "sha256": digest})
            except OSError:  # the cache saves time and nothing else: a read-only store is verified without it
                pass
    _remembered[tuple(state)] = digest
    return digest


def _cached(path, state: list) -> str | None:
    try:
        content = json.loads(path.read_bytes())
        return content["sha256"] if content["state"] == state else None
    except (OSError, ValueError, KeyError, TypeError):  # none, or damaged: the digest is computed
        return None


def write_manifest(path, folder=None, *, files=None, settings=None, code=None, inputs=None, **facts) -> None:
    """Write the manifest of an artifact to `path`.

    folder: where the data lie that other stages load, below the manifest or elsewhere (a download in a shared cache);
    files: paths to record; without them, all files below the manifest and all of `folder`. inputs: {path: digest}.
    facts: further entries, for readers. A `folder` below the manifest is recorded relative to it, so that both can
    move together.
    """
    path = Path(path)
    content = {"store_format": STORE_FORMAT, "name": _name(path), **facts}
    content |= {"settings": settings, "code": code, "inputs": inputs or {}}
    if files is not None:
        content["files"] = {os.path.relpath(file, path.parent): digest_of(file) for file in sorted(files)}
    else:
        content["files"] = digests(path.parent)
    if folder is not None:
        below = Path(folder).resolve().is_relative_to(path.parent.resolve())
        content["below"] = below
        content["folder"] = (
            os.path.relpath(Path(folder).resolve(), path.parent.resolve()) if below else str(folder)
        )
        content["outside"] = {} if below else digests(Path(folder))
    content["sha256"] = sha256(content)
    write_json(path, content)


def _name(path: Path) -> str:
    """Whose manifest lies at `path`: the artifact's folder name, or the rule of a study's tables."""
    return path.parent.name if path.name == MANIFEST else path.stem


def digests(folder: Path) -> dict[str, str]:
    """Relative path -> SHA-256 of every file below `folder` that a manifest records, sorted."""
    return {name: digest_of(folder / name) for name in _recorded(folder)}


def _recorded(folder: Path) -> list[str]:
    """Files below `folder` but for manifest and provenance, hidden files, and parts that a killed process left."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return [
        name
        for name in names
        if name not in (MANIFEST, PROVENANCE)
        and not name.endswith(PART)
        and not any(part.startswith(".") for part in name.split("/"))
    ]


def read_manifest(path) -> dict:
    """The manifest at `path` after `verify` of all its files; `folder` is usable from the working directory."""
    return verify(path)


def verify(path, settings: str | None = None, only=None) -> dict:
    """Check an artifact against its manifest at `path`, and return the manifest.

    settings: digest (identity.sha256) of the filled settings that the reader asks for; only: the paths that the
    reader reads, None for all. Files below a `removable` folder may be gone: who reads them says what that means.

    Raises UserError, one line with file and remedy: for a manifest that is missing, damaged, of another artifact or of
    another store format; for other settings; for files that are gone, that have other bytes, that the manifest
    does not record, or (in a folder that is loaded whole) that were added.
    """
    path = Path(path)
    remedy = f"delete {_whole(path)} and run again"
    if not path.is_file():
        raise UserError(f"{path}: gone, so what it records cannot be verified; {remedy}")
    try:
        manifest = read_json(path)
    except UserError as error:
        raise UserError(f"{error}; {remedy}") from None
    if not isinstance(manifest, dict) or manifest.get("store_format") != STORE_FORMAT:
        kind = manifest.get("store_format", "none") if isinstance(manifest, dict) else "none"
        raise UserError(f"{path}: found store_format {kind!r:.40}, expected {STORE_FORMAT}; {remedy}")
    recorded = manifest.pop("sha256", None)
    if recorded != sha256(manifest):
        raise UserError(f"{path}: it was changed after it was written; {remedy}")
    if manifest["name"] != _name(path):
        raise UserError(f"{path}: found the manifest of {manifest['name']}; {remedy}")
    if settings is not None and sha256(manifest["settings"]) != settings:
        raise UserError(f"{path}: made with other settings than this study asks for; {remedy}")
    files = {Path(os.path.normpath(path.parent / name)): digest for name, digest in manifest["files"].items()}
    if "folder" in manifest:
        manifest["folder"] = (
            path.parent / manifest["folder"] if manifest["below"] else Path(manifest["folder"])
        )
        files |= {manifest["folder"] / name: digest for name, digest in manifest["outside"].items()}
        if only is None and manifest["below"]:
            _refuse_added(manifest["folder"], files, path)
    removable = [path.parent / name for name in manifest.get("removable", ())]
    for file in files if only is None else [Path(os.path.normpath(file)) for file in only]:
        if file not in files:
            raise UserError(f"{file}: {path} does not record this file; {remedy}")
        if not file.is_file():
            if any(file.is_relative_to(folder) for folder in removable):
                continue
            raise UserError(f"{file}: listed in {path}, but gone; {remedy}")
        if digest_of(file) != files[file]:
            raise UserError(f"{file}: its bytes are not those that {path} records; {remedy}")
    return manifest


def _refuse_added(folder: Path, files: dict, path: Path) -> None:
    for name in _recorded(folder):
        if folder / name not in files:
            raise UserError(f"{folder / name}: {path} does not record this file; delete it and run again")


def _whole(manifest: Path) -> Path:
    """What to delete so that everything that a manifest records is made again: a folder, or the manifest alone."""
    return manifest if manifest.parent.name == MANIFESTS else manifest.parent


def verify_inputs(paths, settings=None) -> None:
    """`verify` what a job reads: all files of a manifest among `paths`, and every other path by itself.

    settings: {folder of an artifact: digest of the filled settings that are asked for}. Paths outside `results` are
    the user's own files and are not verified here.
    """
    settings, paths = settings or {}, list(dict.fromkeys(map(Path, paths)))
    for path in filter(is_manifest, paths):
        verify(path, settings.get(str(path.parent)), None if path.name == MANIFEST else [])
    files: dict = {}
    for path in paths:
        if path.parts[:1] == ("results",) and not is_manifest(path):
            files.setdefault(manifest_of(path), []).append(path)
    for manifest, read in files.items():
        verify(manifest, settings.get(str(manifest.parent)), read)


def manifest_of(path) -> Path:
    """The manifest that records the file `path`: in its own folder, or among those beside a study's tables.

    Raises UserError when none does.
    """
    path = Path(path)
    if (path.parent / MANIFEST).is_file() or Path(STORE) in path.parents:
        return path.parent / MANIFEST
    for folder in (path.parent, path.parent.parent):
        for manifest in sorted((folder / MANIFESTS).glob("*.json")):
            try:
                files = json.loads(manifest.read_bytes())["files"]
            except (ValueError, KeyError, TypeError):  # `verify` refuses it where a reader is given it
                continue
            if os.path.relpath(path, manifest.parent) in files:
                return manifest
    raise UserError(f"{path}: no manifest beside it records this file; delete it and run again")


def verified(path) -> Path:
    """`path`, once `verify` found the file to be what its manifest records."""
    verify(manifest_of(path), only=[path])
    return Path(path)


def is_manifest(path) -> bool:
    """Whether a rule's output is the manifest of the others."""
    path = Path(path)
    return path.name == MANIFEST or path.parent.name == MANIFESTS


def write_provenance(folder, began: float) -> None:
    """Write `provenance.json` of an artifact that was begun at `began` (time.time()): what need not be equal."""
    write_json(
        Path(folder) / PROVENANCE,
        {
            "began": datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds"),
            "seconds": round(time.time() - began, 2),
            "versions": versions(),
            "machine": {
                "host": platform.node(),
                "system": platform.platform(),
                "processor": platform.machine(),
            },
            **_checkout(),
        },
    )


def versions() -> dict[str, str]:
    """Package -> installed version, of this package, Python and the packages that results can depend on."""
    import sparse_continual

    found = {"sparse_continual": sparse_continual.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _checkout() -> dict:
    """{commit, diff} of the checkout that runs; None where it is no git checkout."""

    def git(*words):
        line = ["git", "-C", str(Path(__file__).resolve().parent), *words]
        try:
            done = subprocess.run(line, capture_output=True, text=True, timeout=20, errors="replace")
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return {"commit": commit and commit.strip(), "diff": commit and git("diff", "HEAD")}

"""Integrity of results: the content of a manifest, and the check that every reader makes.

An artifact of the store is a folder with `manifest.json`. The manifest records what must be equal: the digest of
every file, the filled settings, the digest of the code, the digests of the inputs, and the format of the store.
`provenance.json` (module `provenance`) beside it says when, where and with which versions the artifact was made.
Tables and figures of a study have `manifests/<rule>.json` beside them. `verify` is the check.
"""

import json
import os
import time
from contextlib import contextmanager
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.files import PART, read_json, reason, sha256_of, write_json
from sparse_continual.identity import sha256

STORE = "results/store"
STORE_FORMAT = 1  # of manifests and artifacts in the store; change it when old artifacts cannot be read
MANIFEST = "manifest.json"
PROVENANCE = "provenance.json"
MANIFESTS = "manifests"  # the folder of manifests beside a study's tables and figures
CACHE = Path(STORE) / ".digests"
LARGE = 2**20  # bytes from which a digest is cached on disk
TICK = (
    50_000_000  # nanoseconds: a file that changed less than this ago can change again in the same clock tick
)

JSON_KINDS = {str: "a text", dict: "an object of texts", list: "a list of texts", bool: "true or false"}

_remembered: dict = {}  # state of a file -> its digest, in this process


@contextmanager
def _readable(path):
    """Turn a file that the system cannot read into a UserError; it names `path` if the system names no file."""
    try:
        yield
    except OSError as error:
        gone = isinstance(error, FileNotFoundError)
        remedy = "run again" if gone else "correct its permissions, or delete it, and run again"
        raise UserError(f"{error.filename or path}: {reason(error)}; {remedy}") from None


def digest_of(path, cached: bool = True) -> str:
    """Hex SHA-256 of a file. It is computed once per state of the file; without `cached` it is always computed.

    The state is (device, inode, size, mtime_ns, ctime_ns): a changed file has another ctime even if its mtime was
    set back. Digests of large files are cached below the store, one small file each. Several jobs may read and write
    the cache at once, because a cache file appears whole.

    Raises UserError for a file that cannot be read.
    """
    with _readable(path):
        stat = os.stat(path)
        state = [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        if cached and tuple(state) in _remembered:
            return _remembered[tuple(state)]
        entry = CACHE / f"{stat.st_dev}-{stat.st_ino}.json"
        large = stat.st_size >= LARGE
        digest = _entry(entry, state) if cached and large else None
        if digest is None:
            settled = time.time_ns() - stat.st_ctime_ns > TICK
            digest = sha256_of(path)
            if not settled:
                return digest
            if large and CACHE.parent.is_dir():
                try:
                    write_json(entry, {"state": state, "sha256": digest, "entry": sha256([state, digest])})
                except OSError:  # the cache only saves time: a read-only store is verified without it
                    pass
        _remembered[tuple(state)] = digest
    return digest


def _entry(path, state: list) -> str | None:
    """The digest in a cache file for `state`; None if there is none, or the cache file is damaged."""
    try:
        content = json.loads(path.read_bytes())
        digest = content["sha256"]
        return digest if content["entry"] == sha256([state, digest]) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _has(path, digest: str) -> bool:
    """Whether a file has this digest. A cache can be wrong, so a negative answer is always computed from the bytes."""
    return digest_of(path) == digest or digest_of(path, cached=False) == digest


def write_manifest(path, folder=None, *, files=None, settings=None, code=None, inputs=None, **facts) -> None:
    """Write the manifest of an artifact to `path`.

    folder: the data that other stages load, below the manifest or elsewhere (a download in a shared cache); files:
    paths to record; by default all files below the manifest and all of `folder`. inputs: {path: digest}. facts: further
    entries, for readers. A `folder` below the manifest is recorded relative to it, so that both can move together.
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
    """The name of the recorded artifact: its folder's name, or the rule of a study's tables."""
    return path.parent.name if path.name == MANIFEST else path.stem


def digests(folder: Path) -> dict[str, str]:
    """Relative path -> SHA-256 of every file below `folder` that a manifest records, sorted."""
    return {name: digest_of(folder / name) for name in _recorded(folder)}


def _recorded(folder: Path) -> list[str]:
    """Files below `folder` except manifest and provenance, hidden files, and parts that a killed process left."""
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

    settings: digest (identity.sha256) of the filled settings that the reader asks for; only: the paths that the reader
    reads, None for all. Files below a `removable` folder may be missing; their readers handle that.

    Raises UserError, one line with file and remedy: for a manifest that is missing, damaged, of another artifact or of
    another store format; for other settings; for files that are missing, changed, unreadable, not recorded by the
    manifest, or (in a folder that is loaded whole) added.
    """
    path = Path(path)
    with _readable(path):
        return _verify(path, settings, only)


def _verify(path: Path, settings: str | None, only) -> dict:
    remedy = f"delete {_whole(path)} and run again"
    manifest = _undamaged(path, remedy)
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
            raise UserError(f"{file}: listed in {path}, but missing; {remedy}")
        if not _has(file, files[file]):
            raise UserError(f"{file}: its bytes differ from those that {path} records; {remedy}")
    return manifest


def _undamaged(path: Path, remedy: str) -> dict:
    """The manifest at `path`, checked to be unchanged and that of its artifact."""
    if not path.is_file():
        raise UserError(f"{path}: missing, so its files cannot be verified; {remedy}")
    try:
        manifest = read_json(path)
        if not isinstance(manifest, dict) or manifest.get("store_format") != STORE_FORMAT:
            kind = manifest.get("store_format", "none") if isinstance(manifest, dict) else "none"
            raise UserError(f"{path}: found store_format {kind!r:.40}, expected {STORE_FORMAT}")
        recorded = manifest.pop("sha256", None)
        if recorded != sha256(manifest):
            raise UserError(f"{path}: it was changed after it was written")
        _check_kinds(path, manifest)
    except UserError as error:
        raise UserError(f"{error}; {remedy}") from None
    except RecursionError:
        raise UserError(f"{path}: lists or objects are nested too deeply; {remedy}") from None
    if manifest["name"] != _name(path):
        raise UserError(f"{path}: found the manifest of {manifest['name']}; {remedy}")
    return manifest


def _check_kinds(path: Path, manifest: dict) -> None:
    """Raise UserError for a manifest with entries of other types than `write_manifest` writes."""
    kinds = {"name": str, "files": dict, "inputs": dict}
    if "folder" in manifest:
        kinds |= {"folder": str, "below": bool, "outside": dict}
    if "removable" in manifest:
        kinds["removable"] = list
    for key, kind in kinds.items():
        value = manifest.get(key)
        members = list(
            value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        )
        if not isinstance(value, kind) or not all(isinstance(member, str) for member in members):
            raise UserError(f"{path}: {key}: found {value!r:.40}, expected {JSON_KINDS[kind]}")
    if "settings" not in manifest:
        raise UserError(f"{path}: settings: found none, expected the settings of the artifact")


def _refuse_added(folder: Path, files: dict, path: Path) -> None:
    for name in _recorded(folder):
        if folder / name not in files:
            raise UserError(f"{folder / name}: {path} does not record this file; delete it and run again")


def _whole(manifest: Path) -> Path:
    """The path to delete so that the workflow remakes all recorded files: the folder, or only the manifest."""
    return manifest if manifest.parent.name == MANIFESTS else manifest.parent


def verify_inputs(paths, settings=None) -> None:
    """`verify` the inputs of a job: all files of a manifest among `paths`, and every other path by itself.

    Artifacts that are read together must fit: if one was made from another, it must have been made from its present
    version. settings: {folder of an artifact: digest of the filled settings that the study asks for}. Paths outside
    `results` are the user's own files and are not verified here.
    Raises UserError as `verify` does, and for artifacts that do not fit.
    """
    settings, paths = settings or {}, list(dict.fromkeys(map(Path, paths)))
    manifests = {}
    for path in filter(is_manifest, paths):
        only = None if path.name == MANIFEST else []
        manifests[path] = verify(path, settings.get(str(path.parent)), only)
    files: dict = {}
    for path in paths:
        if path.parts[:1] == ("results",) and not is_manifest(path):
            files.setdefault(manifest_of(path), []).append(path)
    for path, read in files.items():
        manifests[path] = verify(path, settings.get(str(path.parent)), read)
    read = {str(path) for path in (*paths, *manifests)}
    for path, manifest in manifests.items():
        for source, digest in manifest["inputs"].items():
            if source in read and not _has(source, digest):
                raise UserError(
                    f"{path}: made from an earlier {source}, with SHA-256 {digest:.8}..., found "
                    f"{digest_of(source):.8}...; delete {_whole(path)} and run again"
                )


def manifest_of(path) -> Path:
    """The manifest that records the file `path`: in its own folder, or among those beside a study's tables.

    Raises UserError if there is none; the line names a damaged manifest that may have recorded it.
    """
    path, damaged = Path(path), None
    with _readable(path):
        if (path.parent / MANIFEST).is_file() or Path(STORE) in path.parents:
            return path.parent / MANIFEST
        for folder in (path.parent, path.parent.parent):
            for manifest in sorted((folder / MANIFESTS).glob("*.json")):
                try:
                    files = read_json(manifest)["files"]
                    if os.path.relpath(path, manifest.parent) in files.keys():
                        return manifest
                except (UserError, AttributeError, KeyError, TypeError):
                    damaged = damaged or manifest
    if damaged:
        raise UserError(
            f"{path}: no manifest beside it records this file, and {damaged} is damaged; delete {damaged} and run again"
        )
    raise UserError(f"{path}: no manifest beside it records this file; delete it and run again")


def verified(path) -> Path:
    """`path`, after `verify` found the file unchanged since its manifest was written."""
    verify(manifest_of(path), only=[path])
    return Path(path)


def is_manifest(path) -> bool:
    """Whether a rule's output is the manifest of the others."""
    path = Path(path)
    return path.name == MANIFEST or path.parent.name == MANIFESTS

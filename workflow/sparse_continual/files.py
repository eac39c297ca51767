"""Files that appear whole or not at all, and the small manifests that stages hand on."""

import hashlib
import json
import os
from pathlib import Path

from sparse_continual.errors import UserError

MANIFEST = "manifest.json"


def write(path, content: str | bytes) -> None:
    """Write `content` to `path` through a temporary file, fsync and rename.

    A killed process leaves either the old file or the new one, never a part of it. Missing parent
    folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    data = content.encode() if isinstance(content, str) else content
    with open(temporary, "wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(temporary, path)


def write_json(path, value) -> None:
    """Write `value` as indented JSON with sorted keys, whole or not at all."""
    write(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path):
    """Parsed JSON of `path`.

    Raises UserError naming the file when it is missing, or the file and line when it is malformed.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: line {error.lineno}: not valid JSON: {error.msg}") from None


def sha256_of(path) -> str:
    """Hex SHA-256 of a file's bytes, read in blocks."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digests(folder, skip=(MANIFEST, ".snakemake_timestamp")) -> dict[str, str]:
    """Relative path -> SHA-256 of every file below `folder`, sorted, without those named in `skip`."""
    folder = Path(folder)
    found = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in skip)
    return {p.relative_to(folder).as_posix(): sha256_of(p) for p in found}


def write_manifest(path, folder, **facts) -> None:
    """Write a manifest of `folder` to `path`: a digest per file, and `facts` about what they are.

    `folder` is recorded relative to the manifest where it lies below it, else as given.
    """
    path, folder = Path(path), Path(folder)
    inside = folder.resolve().is_relative_to(path.parent.resolve())
    recorded = os.path.relpath(folder, path.parent) if inside else str(folder)
    write_json(path, {"folder": recorded, "files": digests(folder), **facts})


def read_manifest(path) -> dict:
    """The manifest at `path`, its `folder` made usable from the working directory.

    Raises UserError when a file that the manifest lists is gone.
    """
    manifest = read_json(path)
    folder = Path(manifest["folder"])
    manifest["folder"] = folder if folder.is_absolute() else Path(path).parent / folder
    for name in manifest["files"]:
        if not (manifest["folder"] / name).is_file():
            raise UserError(f"{manifest['folder'] / name}: listed in {path}, but gone; delete {path} to make it again")
    return manifest

"""Files that appear whole or not at all, and the small manifests that stages hand on."""

import hashlib
import json
import os
from pathlib import Path

from sparse_continual.errors import UserError

MANIFEST = "manifest.json"
PART = ".part"  # ends the name of a file that is not whole yet


def write(path, content: str | bytes) -> None:
    """Write `content` to `path` through a temporary file, fsync and rename.

    A killed process leaves either the old file or the new one, never a part of it. Missing parent
    folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    data = content.encode() if isinstance(content, str) else content
    try:
        with open(temporary, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException:  # a full disk must not be left fuller
        temporary.unlink(missing_ok=True)
        raise


def write_json(path, value) -> None:
    """Write `value` as indented JSON with sorted keys, whole or not at all."""
    write(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path):
    """Parsed JSON of `path`.

    Raises UserError naming the file when it is missing or cannot be read, or the file and line when it is malformed.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); expected a JSON file that you may read"
        ) from None
    except UnicodeDecodeError as error:
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
    """Relative path -> SHA-256 of every file below `folder`, sorted.

    Left out are files named in `skip`, and parts that a killed process left.
    """
    folder = Path(folder)
    found = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in skip and p.suffix != PART)
    return {p.relative_to(folder).as_posix(): sha256_of(p) for p in found}


def write_manifest(path, folder, **facts) -> None:
    """Write a manifest of `folder` to `path`: a digest per file, and `facts` about what they are.

    A `folder` below the manifest is recorded relative to it, so that both can move together; another one
    as given: absolute, or relative to the working directory.
    """
    path, folder = Path(path), Path(folder)
    own, above = folder.resolve(), path.parent.resolve()
    below = own.is_relative_to(above)
    recorded = own.relative_to(above).as_posix() if below else str(folder)
    write_json(path, {"folder": recorded, "below": below, "files": digests(folder), **facts})


def read_manifest(path) -> dict:
    """The manifest at `path`, its `folder` made usable from the working directory.

    Raises UserError when a file that the manifest lists is gone.
    """
    manifest = read_json(path)
    folder = Path(manifest["folder"])
    manifest["folder"] = Path(path).parent / folder if manifest["below"] else folder
    for name in manifest["files"]:
        if not (manifest["folder"] / name).is_file():
            raise UserError(
                f"{manifest['folder'] / name}: listed in {path}, but gone; delete {path} to make it again"
            )
    return manifest

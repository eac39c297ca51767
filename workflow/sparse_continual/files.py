"""Read files that users name, and write files that appear whole or not at all."""

import hashlib
import json
import os
import re
import shlex
from pathlib import Path

from sparse_continual.errors import UserError

PART = ".part"  # ends the name of a file that is not whole yet
MARKS = {  # byte order marks of encodings that are not read; UTF-32 first, because UTF-16's begins it
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


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
    except BaseException:  # do not leave a part of the file on a full disk
        temporary.unlink(missing_ok=True)
        raise


def write_json(path, value) -> None:
    """Write `value` as indented JSON with sorted keys, whole or not at all."""
    write(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def given_path(text) -> Path:
    """The path that a user wrote in a config; `~` and `~user` are expanded, everything else stays.

    Every key of the config that names a file or folder is read through this. A relative path stays relative.

    Raises UserError when the user of `~user` has no home folder here.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"{text}: the home folder of this user is unknown; write the full path") from None


def digest_of_given(path) -> str:
    """Hex SHA-256 of a file that the user names.

    Raises UserError naming the file when it is missing, a folder, or not readable.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise UserError(f"{path}: {reason(error)}; correct the path or its permissions") from None


def read_text(path, kind="text") -> str:
    """Text of a user's file in UTF-8, without the byte order mark that some editors add.

    Raises UserError naming the file when it is missing, a folder, not readable, or in another encoding; the line says
    how to convert it. kind: of file, for the message.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {reason(error)}; expected a {kind} file that you may read") from None
    for mark, encoding in MARKS.items():
        if data.startswith(mark):
            raise UserError(f"{path}: not UTF-8 text: found {encoding}; {_convert(encoding, path)}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        likely = "UTF-16LE" if b"\0" in data else "LATIN1"
        raise UserError(
            f"{path}: not UTF-8 text: byte {error.start} is {data[error.start]:#04x}; if it is {likely}, "
            f"{_convert(likely, path)}"
        ) from None


def read_plain(path) -> str:
    """`read_text` of a plain text file.

    Raises UserError also for a NUL character: UTF-16 without a byte order mark and binary files decode as UTF-8 with
    NULs in between.
    """
    text = read_text(path, "plain text")
    if "\0" in text:
        place = len(text[: text.index("\0")].encode())
        raise UserError(
            f"{path}: byte {place} is a NUL character, expected plain text; if it is UTF-16LE, "
            f"{_convert('UTF-16LE', path)}; else remove the NULs: tr -d '\\000' < old-file > new-file"
        )
    return text


def reason(error: OSError) -> str:
    """Why the system did not read a file, for a message."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return f"cannot be read ({error.strerror})"


def _convert(encoding: str, path) -> str:
    return f"convert it: iconv -f {encoding} -t UTF-8 {shlex.quote(str(path))} > new-file"


def read_json(path):
    """Parsed JSON of `path`, read as `read_text` does.

    Raises UserError naming the file when it cannot be read as text, and the line and the fix when it is malformed.
    """
    text = read_text(path, "JSON")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}: line {error.lineno}: not valid JSON: {_json_fix(text, error, path)}"
        ) from None
    except RecursionError:
        raise UserError(f"{path}: not valid JSON here: lists or objects are nested too deeply") from None
    except ValueError as error:  # an integer with thousands of digits
        raise UserError(f"{path}: not valid JSON here: {error}") from None


def _json_fix(text: str, error: json.JSONDecodeError, path) -> str:
    """The error at this place, with a fix for common causes."""
    if not text.strip():
        return "the file is empty; copy it again"
    if error.msg == "Extra data" and error.lineno > 1:
        return (
            "a second value begins here, as in JSON lines; expected one value; convert it: "
            f"jq -s . {shlex.quote(str(path))} > new-file"
        )
    if re.search(r",\s*\Z", text[: error.pos]) or re.match(r",\s*[\]}]", text[error.pos :]):
        return f"{error.msg}; remove the comma before the closing bracket"
    if text[error.pos : error.pos + 1] == "'":
        return f"{error.msg}; use double quotes"
    return error.msg


def sha256_of(path) -> str:
    """Hex SHA-256 of a file's bytes, read in blocks."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

"""Files of a model repository on the Hugging Face hub, through huggingface_hub: chosen, fetched, verified.

The files go to the cache that all programs of the user share (HF_HOME) and are used there: files in the cache are not
fetched again and need no network; HF_HUB_OFFLINE=1 forbids all requests. The token is the user's own (HF_TOKEN, or `hf
auth login`). A broken connection is resumed up to five times. After a killed process whole files stay, and a partial
file is fetched again from its start.

Small files come first, so that a closed or unsuitable repository is refused before gigabytes are fetched; then the free
disk space is checked. Sizes are compared with the hub's listing, and so is the SHA-256 of every file for which the hub
has one, which includes all weights (huggingface_hub itself compares only sizes). A file that differs is removed from
the cache. For small files without a SHA-256 on the hub only the size is checked.

Every failure is a UserError of one line: repository and revision, the cause, and the fix.
"""

import errno
import glob
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from sparse_continual.bases import convert
from sparse_continual.errors import UserError
from sparse_continual.files import read_json, sha256_of

COMMIT = re.compile("[0-9a-f]{40}")
SHA256 = re.compile("[0-9a-f]{64}")
SMALL = ("*.json", "tokenizer*", "*.model", "merges.txt", "vocab.txt", "*.jinja")
CODE = ("*.py",)
WEIGHTS = ("*.safetensors",)
CONFIGS = ("config.json", "*_config.json")
OTHER_COPIES = ("consolidated*",)  # the same weights in their author's own format
MASKS = ("*.npz",)
ONLY = {"masks": MASKS, "config": ("config.json",)}  # kind -> files that are fetched instead of weights
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")  # hidden from the process that opens pickles


def check_name(repo: str) -> None:
    """Raise UserError if `repo` cannot be owner/name of a repository; no network is used."""
    part = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
    if not re.fullmatch(f"{part}/{part}", repo) or ".." in repo or "--" in repo:
        raise UserError(f"hub: repo is {repo!r}, expected owner/name")


def check_commit(repo: str, revision: str) -> None:
    """Raise UserError if `revision` is not a whole commit hash; no network is used."""
    if not COMMIT.fullmatch(revision):
        raise UserError(
            f"hub: revision of {repo} is {revision!r}, expected the 40 hex digits of a commit, because "
            "branches and tags can move; copy it from the repository's list of commits"
        )


def fetch(
    repo: str,
    revision: str | None,
    folder=None,
    convert_pickles: bool = False,
    trust_remote_code: bool = False,
    kind: str = "weights",
    to_load: bool = True,
) -> Path:
    """The folder with the verified files of `repo` at `revision`: config, tokenizer and weights.

    revision: commit, branch or tag; None is the default branch. The folder is that of the commit in the cache; or a new
    `folder`, if the repository offers only pickled weights and `convert_pickles` allows a separate process to convert
    them there. kind: "masks" fetches `.npz` masks with the small files beside them; "config" fetches only config.json
    and similar files (`CONFIGS`), for models too large to download. Model code (`*.py`) is fetched only with
    `trust_remote_code`; without it, a model that transformers itself does not know is refused, unless it is not
    `to_load`, but only to be read.

    Raises UserError, one line, for every failure that the user can fix.
    """
    check_name(repo)
    name = f"hub: {repo} at {revision or 'its default branch'}"
    with _as_one_line(name, repo):
        commit, files, path = _listing(name, repo, revision, kind)
        offline = path is not None
        weights, pickled = _choose(files, kind)
        _refuse_weights(name, files, weights, kind, pickled and not convert_pickles)
        small = _small(files, kind, CODE if trust_remote_code else ())
        if not offline:
            path = _download(repo, commit, small)
        if to_load and kind == "weights":
            _refuse_code(name, path, trust_remote_code)
        if not offline:
            _refuse_full_disk(name, path, [files[file] for file in weights], folder if pickled else None)
            path = _download(repo, commit, small + weights)
        for file in small + weights:
            _verify(name, path / file, files[file])
    return _converted(name, path, Path(folder)) if pickled else path


def record(folder) -> dict[str, dict]:
    """{file: {"bytes", "sha256"}} of the fetched files in `folder`; each is read once."""
    kinds = SMALL + CODE + WEIGHTS + convert.PICKLES + MASKS
    fetched = sorted(path for path in Path(folder).iterdir() if path.is_file() and _matches(path.name, kinds))
    return {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in fetched}


def planned(entry: dict) -> dict:
    """The size and conditions of the download of a registry entry, without a request to the hub.

    {"bytes" (declared, or None), "licence", "gated", "token": whether the user has one, "cached": whether all files of
    this revision are in the cache, "free": bytes on the cache's disk}.
    """
    from huggingface_hub import constants, get_token

    return {
        "bytes": entry["bytes"],
        "licence": entry["licence"],
        "gated": entry["gated"],
        "token": get_token() is not None,
        "cached": cached(entry["repo"], entry["revision"], entry["kind"]) is not None,
        "free": _free(constants.HF_HUB_CACHE),
    }


def cached(repo: str, revision: str | None, kind: str = "weights") -> Path | None:
    """The folder in the cache with the files that `fetch` needs of `repo` at `revision`, or None.

    Makes no request. The hub's listing in the cache names the needed files; programs that fetch single files leave no
    listing, and then the cached files count as complete.
    """
    from huggingface_hub import get_cached_repo_tree, snapshot_download
    from huggingface_hub.errors import CachedRepoTreeNotFoundError, LocalEntryNotFoundError

    try:
        path = Path(snapshot_download(repo, revision=revision, local_files_only=True, allow_patterns=[]))
    except LocalEntryNotFoundError:
        return None
    held = {file.name for file in path.iterdir()}
    try:
        listed = _top(get_cached_repo_tree(repo, revision=path.name))
    except CachedRepoTreeNotFoundError:
        listed = held
    weights, _ = _choose(listed, kind)
    needed = {*weights, *_small(listed, kind)}
    return path if weights and needed <= held else None


def _listing(name: str, repo: str, revision: str | None, kind: str):
    """(commit, {file: its entry}, None) from the hub's listing of the top folder; if the hub cannot be reached,
    (commit, {file: None}, folder) of the cache."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HTTPError,
        OfflineModeIsEnabled,
        RevisionResolutionError,
    )

    api = HfApi()
    try:
        commit = api.resolve_revision(repo, revision=revision).resolved
        return commit, _top(api.list_repo_tree(repo, revision=commit, recursive=True)), None
    except (OfflineModeIsEnabled, HTTPError, RevisionResolutionError) as error:
        if isinstance(error, RevisionResolutionError):
            error = error.__cause__
        if isinstance(error, HfHubHTTPError) and error.response.status_code < 500:
            raise
        path = cached(repo, revision, kind)
        if path is None:
            raise UserError(
                f"{name}: not in the Hugging Face cache and not downloadable ({_first_line(error)}); "
                "run this with a network"
            ) from None
        return path.name, dict.fromkeys(file.name for file in path.iterdir()), path


def _top(entries) -> dict:
    """{file: entry} of the files at the top of a listing."""
    return {entry.path: entry for entry in entries if hasattr(entry, "size") and "/" not in entry.path}


def _choose(files, kind: str) -> tuple[list[str], bool]:
    """(those of `files` that hold the weights, or the `kind`; whether they are pickles)."""
    if kind in ONLY:
        return [file for file in files if _matches(file, ONLY[kind])], False
    whole = [file for file in files if _matches(file, WEIGHTS) and not _matches(file, OTHER_COPIES)]
    pickles = [file for file in files if _matches(file, convert.PICKLES)]
    return whole or pickles, bool(pickles and not whole)


def _small(files, kind: str, more=()) -> list[str]:
    """Those of `files` that accompany the weights, and those that match the patterns `more`."""
    patterns = (CONFIGS if kind == "config" else SMALL) + more
    return [file for file in files if _matches(file, patterns)]


def _matches(file: str, patterns) -> bool:
    return any(fnmatch(file, pattern) for pattern in patterns)


def _download(repo: str, commit: str, files: list[str]) -> Path:
    """The folder of `commit` in the cache, with `files` in it."""
    from huggingface_hub import snapshot_download

    patterns = [glob.escape(file) for file in files]
    try:
        return Path(snapshot_download(repo, revision=commit, allow_patterns=patterns))
    except RuntimeError as error:  # hf_xet raises it for every failure
        raise OSError(_first_line(error)) from error


def _refuse_weights(name: str, files, weights: list[str], kind: str, pickles_forbidden: bool) -> None:
    if pickles_forbidden:
        raise UserError(
            f"{name}: offers only pickled weights ({weights[0]}), which can run code when they are read; "
            "to allow their conversion to safetensors, as plain tensors and in a separate process, set "
            "convert_pickles: true"
        )
    if not weights:
        expected = {"masks": "masks (*.npz)", "config": "config.json"}.get(kind, "safetensors weights")
        listed = ", ".join(sorted(files)[:5]) or "nothing"
        raise UserError(f"{name}: offers no {expected}; found {listed}; name a commit that has {expected}")


def _refuse_code(name: str, folder: Path, trusted: bool) -> None:
    """Raise UserError for a model that only its own code can build."""
    from transformers import CONFIG_MAPPING, __version__

    if not (folder / "config.json").is_file():
        raise UserError(f"{name}: offers no config.json; expected a model in Hugging Face format")
    config = read_json(folder / "config.json")
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind in CONFIG_MAPPING:
        return
    if not isinstance(config, dict) or "auto_map" not in config:
        raise UserError(
            f"{name}: config.json has model_type {kind!r}, which transformers {__version__} does not know; "
            "expected an architecture that it knows"
        )
    if not trusted:
        raise UserError(
            f"{name}: its architecture ({kind}) needs the repository's own code, and no code was "
            "fetched; read that code, then allow it for this model with trust_remote_code: true"
        )


def _refuse_full_disk(name: str, path: Path, weights: list, folder) -> None:
    """Raise UserError if the missing weights, or converted ones in `folder`, do not fit on the disk."""
    from huggingface_hub import constants

    cache = constants.HF_HUB_CACHE
    needed = {cache: sum(entry.size for entry in weights if not (path / entry.path).exists())}
    if folder is not None:
        place = cache if _device(cache) == _device(folder) else str(folder)
        needed[place] = needed.get(place, 0) + sum(entry.size for entry in weights)
    for place, size in needed.items():
        if size > _free(place):
            raise UserError(
                f"{name}: needs {_words(size)} on the disk of {place}, where {_words(_free(place))} are free; "
                "make room there, or choose another disk for the cache with HF_HOME"
            )


def _existing(place) -> Path:
    place = Path(place).expanduser().absolute()
    return next(parent for parent in (place, *place.parents) if parent.exists())


def _free(place) -> int:
    return shutil.disk_usage(_existing(place)).free


def _device(place) -> int:
    return _existing(place).stat().st_dev


def _words(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e7 else f"{size} bytes"


def _verify(name: str, file: Path, entry) -> None:
    """Raise UserError, and remove `file` from the cache, if it differs from the hub's listing."""
    size = file.stat().st_size
    if entry is not None and size != entry.size:
        _remove(file)
        raise UserError(
            f"{name}: {file.name} has {size} bytes, but the hub lists {entry.size}; "
            "it was removed from the cache; run this again to fetch it"
        )
    blob = Path(os.readlink(file)).name if file.is_symlink() else ""  # the hub's name of the content
    expected = entry.lfs.sha256 if entry is not None and entry.lfs else blob
    if SHA256.fullmatch(expected) and (digest := sha256_of(file)) != expected:
        _remove(file)
        raise UserError(
            f"{name}: {file.name} has SHA-256 {digest}, but the hub lists {expected}; "
            "it was removed from the cache; run this again to fetch it"
        )


def _remove(file: Path) -> None:
    """Remove a file of the cache and the targets of its link."""
    links = [file]
    while links[-1].is_symlink():
        links.append(links[-1].parent / os.readlink(links[-1]))
    for link in links:
        link.unlink(missing_ok=True)


def _converted(name: str, source: Path, folder: Path) -> Path:
    """`folder` with the safetensors that a separate process made from the pickles in `source`."""
    import sparse_continual

    environment = {key: value for key, value in os.environ.items() if key not in SECRETS}
    environment["PYTHONPATH"] = str(Path(sparse_continual.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-m", convert.__name__, str(source), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode == convert.REFUSED:
        raise UserError(f"{name}: {done.stderr}")
    if done.returncode < 0:
        raise UserError(
            f"{name}: converting its pickles was killed by signal {-done.returncode}; a shard and its copy must fit "
            "into memory: increase the job's memory"
        )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return folder


@contextmanager
def _as_one_line(name: str, repo: str):
    """Turn errors of huggingface_hub, the network and the disk into one line with the fix."""
    from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError

    try:
        yield
    except (OSError, HTTPError) as error:
        if isinstance(error, LocalEntryNotFoundError) and error.__cause__:
            error = error.__cause__  # the reason why there was no file
        raise UserError(f"{name}: {_cause_and_fix(error, repo)}") from None


def _cause_and_fix(error: Exception, repo: str) -> str:
    """The cause of a failure, and what the user can do."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return _refusal(error, repo)
    place, number = constants.HF_HUB_CACHE, getattr(error, "errno", None)
    if number == errno.ENOSPC:
        free = _words(_free(place))
        return f"the disk of {place} is full ({free} free); make room there, or choose another with HF_HOME"
    if number in NOT_WRITABLE:
        return f"the cache cannot be written ({_first_line(error)}); fix that, or choose another with HF_HOME"
    return f"the download stopped ({_first_line(error)}); run this again: whole files are kept"


def _refusal(error, repo: str) -> str:
    """The meaning of a refusal by the hub, and what the user can do."""
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    token, page = get_token(), f"{constants.ENDPOINT}/{repo}"
    if isinstance(error, GatedRepoError):
        if token is None:
            return f"gated, and you have no token; ask for access at {page}, then set HF_TOKEN or run `hf auth login`"
        return (
            f"gated, and your token is not admitted; ask for access at {page}, or set HF_TOKEN to one that is"
        )
    if isinstance(error, RevisionNotFoundError):
        return "no such commit in this repository; expected one of its list of commits"
    if isinstance(error, RepositoryNotFoundError):
        return _absent(token)
    status = error.response.status_code
    invalid = "your token is not valid; set HF_TOKEN to one that is, or run `hf auth login`"
    lines = {
        401: invalid if token else _absent(token),
        403: f"access is refused; ask for it at {page}, and set HF_TOKEN to a token that is admitted",
        404: _absent(token),
        429: "the hub asks for fewer requests; wait a few minutes and run this again",
    }
    return lines.get(status, f"the hub answers {status} ({_first_line(error)}); run this again later")


def _absent(token: str | None) -> str:
    private = "" if token else ", or a token for a private or gated one (HF_TOKEN, or `hf auth login`)"
    return f"no such public repository; expected owner/name of a model{private}"


def _first_line(error) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)

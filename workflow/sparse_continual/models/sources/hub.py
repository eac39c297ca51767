"""A model on the Hugging Face hub, by repository and commit.

The files go to the Hugging Face cache (HF_HOME) and are used there; what is in the cache already
needs no network. Only safetensors, JSON and tokenizer files are downloaded, never pickles, and
code only with `trust_remote_code`. Whether the repository exists shows when the model is obtained:
the check at start reads the settings alone.

Every block starts from this one model: results hold for this checkpoint. Gated models need the
reader's own login (`hf auth login`). Limits: those of the `local` source.
"""

import re
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.models.facts import facts_of
from sparse_continual.models.load import shape_of

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["repo", "revision"],
    "properties": {
        "repo": {"type": "string", "description": "Repository as owner/name."},
        "revision": {
            "type": "string",
            "description": "Commit hash in full, 40 hex digits. Branches and tags can move: no reproduction.",
        },
        "trust_remote_code": {
            "type": "boolean",
            "default": False,
            "description": "Run the model code that the repository brings along.",
        },
    },
}

FILES = ["*.safetensors", "*.json", "tokenizer*", "*.model", "merges.txt", "vocab.txt", "*.jinja"]
OTHER_COPIES = ["*/*", "consolidated*"]  # the same weights again, in their author's own format


def check(settings) -> None:
    """Raise UserError when the names cannot be a repository and a whole commit hash; no network is used."""
    repo, revision = settings["repo"], settings["revision"]
    part = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
    if not re.fullmatch(f"{part}/{part}", repo) or ".." in repo or "--" in repo:
        raise UserError(f"hub: repo is {repo!r}, expected owner/name")
    if not re.fullmatch("[0-9a-f]{40}", revision):
        raise UserError(
            f"hub: revision of {repo} is {revision!r}, expected the 40 hex digits of a commit, because "
            "branches and tags can move; copy it from the repository's list of commits"
        )


def fingerprint(settings) -> dict[str, str]:
    """Empty: repository and commit, which are settings, name the files."""
    return {}


def shape(settings) -> dict:
    """Shape settings of the model where its config.json is in the cache; {} before it is downloaded."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(settings["repo"], "config.json", revision=settings["revision"])
    return shape_of(Path(found).parent) if isinstance(found, str) else {}


def obtain(settings, seed, folder, mixture) -> dict:
    """Download what the cache lacks, load it once and return the facts of `facts_of` and the commit.

    The other arguments are not used. Raises UserError, one line, when there is no network, the
    repository or revision is unknown or gated, or it has no loadable safetensors model.
    """
    check(settings)
    trusted = settings.get("trust_remote_code", False)
    path = _download(settings["repo"], settings["revision"], FILES + (["*.py"] if trusted else []))
    return {**facts_of(path, trusted), "repo": settings["repo"], "commit": path.name}


def _download(repo: str, revision: str, patterns: list[str]):
    """Folder in the Hugging Face cache with the files of `patterns`; its name is the commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = f"hub: {repo} at {revision}"
    try:
        path = Path(
            snapshot_download(repo, revision=revision, allow_patterns=patterns, ignore_patterns=OTHER_COPIES)
        )
    except GatedRepoError:
        raise UserError(f"{name}: gated; ask its owners for access, then run `hf auth login`") from None
    except RepositoryNotFoundError:
        raise UserError(f"{name}: no such public repository; expected owner/name of a model") from None
    except RevisionNotFoundError:
        raise UserError(
            f"{name}: no such commit in this repository; expected one of its list of commits"
        ) from None
    except (OSError, HfHubHTTPError) as error:
        raise UserError(
            f"{name}: not in the Hugging Face cache and not downloadable "
            f"({str(error).splitlines()[0]}); run this rule where there is a network"
        ) from None
    if not any(path.glob("*.safetensors")):
        raise UserError(
            f"{name}: offers no safetensors weights, and pickled ones are not downloaded; "
            "convert to safetensors, or name a commit that has them"
        )
    return path

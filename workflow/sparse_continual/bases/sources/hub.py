"""A model on the Hugging Face hub, by repository and commit.

The files go to the Hugging Face cache (HF_HOME) and are used there; files in the cache need no network
(`bases.download`). Only safetensors, JSON and tokenizer files are downloaded; code only with `trust_remote_code`, and
pickles, for conversion, only with `convert_pickles`. Whether the repository exists shows when the model is obtained:
the check at start reads only the settings.

Every block starts from this one model: results hold for this checkpoint. Gated models need the user's own login (`hf
auth login`, or HF_TOKEN). Limits: those of the `local` source.
"""

from pathlib import Path

from sparse_continual.bases import download
from sparse_continual.bases.facts import facts_of
from sparse_continual.bases.source import Source
from sparse_continual.models.shape import shape_of

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["repo", "revision"],
    "properties": {
        "repo": {"type": "string", "description": "Repository as owner/name."},
        "revision": {
            "type": "string",
            "description": "Commit hash in full, 40 hex digits. Branches and tags can move, so they are refused.",
        },
        "trust_remote_code": {
            "type": "boolean",
            "default": False,
            "description": "Run the model code of the repository.",
        },
        "convert_pickles": {
            "type": "boolean",
            "default": False,
            "description": "If there are only pickled weights, convert them, as plain tensors and in a separate "
            "process.",
        },
    },
}


def check(settings) -> None:
    """Raise UserError if the settings cannot be a repository and a whole commit hash; no network is used."""
    download.check_name(settings["repo"])
    download.check_commit(settings["repo"], settings["revision"])


def fingerprint(settings) -> dict[str, str]:
    """Empty: repository and commit, which are settings, identify the files."""
    return {}


def shape(settings, lengths=()) -> dict:
    """Shape settings of the model, counted on its config.json, with FLOPs of rows of these `lengths`; {} if that file
    is not in the cache."""
    from huggingface_hub import try_to_load_from_cache

    config_file = try_to_load_from_cache(settings["repo"], "config.json", revision=settings["revision"])
    trusted = settings.get("trust_remote_code", False)
    return shape_of(Path(config_file).parent, trusted, lengths) if isinstance(config_file, str) else {}


def downloads(settings) -> list[dict]:
    """The downloads of `obtain`, as `sources.published.downloads` describes them; here sizes are not declared."""
    unknown = dict.fromkeys(("bytes", "licence", "gated"))
    one = {"repo": settings["repo"], "revision": settings["revision"], "kind": "weights", **unknown}
    return [{**one, "written": None if settings["convert_pickles"] else 0, **download.planned(one)}]


def obtain(settings, seed, folder, mixture) -> dict:
    """Download missing files, load the model once and return the facts of `facts_of`, the commit, and bytes and SHA-256
    of every file.

    folder: for converted pickles. Raises UserError, one line, for everything that `download.fetch` refuses, and if the
    files are not a loadable model.
    """
    check(settings)
    trusted = settings.get("trust_remote_code", False)
    path = download.fetch(
        settings["repo"],
        settings["revision"],
        folder,
        convert_pickles=settings.get("convert_pickles", False),
        trust_remote_code=trusted,
    )
    return {
        **facts_of(path, trusted),
        "repo": settings["repo"],
        "commit": settings["revision"],
        "downloaded": download.record(path),
    }


SOURCE = Source(check=check, fingerprint=fingerprint, shape=shape, obtain=obtain, downloads=downloads)

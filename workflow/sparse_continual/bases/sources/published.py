"""A published checkpoint by its name in the registry (bases/published.yaml), downloaded and decoded.

    bases: {sparse_llama: {registry: Sparse-Llama-3.1-8B-2of4}, llama: {dense_of: sparse_llama}}

`dense_of` names the checkpoint that another base was pruned from. The files go to the Hugging Face cache and are used
there, in every storage format. The results hold only weights that must be made first: weights converted from pickles
(`convert_pickles`), and for an entry that is a set of masks its dense parent with the masks applied. The registry's
declarations of pattern and sparsity serve the plan and the report: existing weights are counted (method `counted`).

Every block starts from this one model: results hold for this checkpoint. Gated models need the user's own login (`hf
auth login`). Cost: the download, and reading the headers; the jobs that use the weights load them first. Limits: those
of the `local` source.
"""

import shutil
from pathlib import Path

from sparse_continual.bases.download import check_commit, check_name, fetch, planned, record
from sparse_continual.bases.facts import check_vocabulary
from sparse_continual.bases.published import entry
from sparse_continual.bases.source import Source
from sparse_continual.errors import UserError
from sparse_continual.models.checkpoint import check_checkpoint
from sparse_continual.models.load import load_tokenizer
from sparse_continual.models.shape import shape_of

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["registry"],
    "properties": {
        "registry": {"type": "string", "description": "Name of the entry in bases/published.yaml."},
        "revision": {
            "type": "string",
            "description": "Commit of the repository, 40 hex digits; required if the registry pins none.",
        },
        "dense_revision": {
            "type": "string",
            "description": "Commit of the dense parent of a set of masks.",
        },
        "convert_pickles": {
            "type": "boolean",
            "default": False,
            "description": "Convert weights that are offered only as pickles, in a separate process.",
        },
        "trust_remote_code": {
            "type": "boolean",
            "default": False,
            "description": "Run the model code of the repository.",
        },
    },
}
DECLARED = "repo licence pattern sparsity method tokens_of_recovery distillation".split()


def check(settings: dict) -> None:
    """Raise UserError for a name that is not in the registry, and for an unknown commit; no network is used."""
    model = entry(settings["registry"])
    if model["quantised"]:
        raise UserError(
            f"registry: the weights of {settings['registry']!r} are quantised, so they can be audited but not trained; "
            "expected an entry with plain floating-point weights"
        )
    if "dense_revision" in settings and model["kind"] != "masks":
        raise UserError(
            f"dense_revision: not used by {settings['registry']}, whose weights are published themselves; remove it"
        )
    for key, name, part, revision in _parts(settings):
        check_name(part["repo"])
        if revision is None:
            raise UserError(
                f"missing key {key!r}: the registry pins no commit of {name}; set it to the 40 hex digits of a commit "
                f"of {part['repo']}"
            )
        check_commit(part["repo"], revision)


def fingerprint(settings: dict) -> list[dict]:
    """Repository and commit of everything that is downloaded: they identify the files."""
    return [{"repo": part["repo"], "revision": revision} for _, _, part, revision in _parts(settings)]


def shape(settings: dict, lengths=()) -> dict:
    """Shape settings of the model, counted on its config.json, with FLOPs of rows of these `lengths`, if that file is
    in the cache; else from the registry; or {}."""
    from huggingface_hub import try_to_load_from_cache

    _, _, weights, revision = _parts(settings)[-1]
    config_file = try_to_load_from_cache(weights["repo"], "config.json", revision=revision)
    if isinstance(config_file, str):
        return shape_of(Path(config_file).parent, settings["trust_remote_code"], lengths)
    if weights["shape"] is None and weights["counterpart"] == "parent":
        weights = entry(weights["dense"])
    return weights["shape"] or {}


def downloads(settings: dict) -> list[dict]:
    """The downloads of `obtain`, from one or two repositories: {"repo", "revision", "written"}, and the facts of
    `download.planned`. `written`: bytes that are made from them in the results, None if not known."""
    parts, rows = _parts(settings), []
    for _, _, part, revision in parts:
        # once where pickles are converted, once where masks are applied
        copies = (part["files"] == "pickles") + (part["kind"] == "weights" and len(parts) > 1)
        written = 0 if not copies else part["bytes"] and copies * part["bytes"]
        one = {"repo": part["repo"], "revision": revision, "written": written}
        rows.append(one | planned({**part, "revision": revision}))
    return rows


def declared(settings: dict) -> dict:
    """The declarations of the checkpoint: registry, repo, revision, licence, pattern, sparsity, pruned_by,
    tokens_of_recovery, distillation (None: not known), and `unconfirmed`, those that were not seen in their source."""
    model = entry(settings["registry"])
    facts = {{"method": "pruned_by"}.get(key, key): model[key] for key in DECLARED}
    confirmed = {
        {"method": "pruned_by"}.get(key, key): source["confirmed"] for key, source in model["sources"].items()
    }
    unconfirmed = [key for key in facts if not confirmed.get(key, True)]
    revision = settings.get("revision") or model["revision"]
    return {"registry": settings["registry"], **facts, "revision": revision, "unconfirmed": unconfirmed}


def obtain(settings: dict, seed: int, folder, mixture) -> dict:
    """Download missing files, apply masks to their parent, and return the facts for the manifest: folder,
    trust_remote_code, shape, repo, commit, and `downloaded`, size and digest of every file.

    folder: for files that must be made first; seed and mixture are not used.

    Raises UserError, one line, for everything that prevents fetching or reading the model.
    """
    check(settings)
    folder, trusted = Path(folder), settings["trust_remote_code"]
    masks, (_, _, weights, revision) = _parts(settings)[:-1], _parts(settings)[-1]
    # converted weights of a parent are no result: their folder lies next to that of the result made from them
    target = folder.with_name("parent") if masks else folder
    path = fetch(weights["repo"], revision, target, settings["convert_pickles"], trusted)
    facts = {"repo": weights["repo"], "commit": revision, "downloaded": record(path)}
    for _, _, mask_entry, commit in masks:
        path, facts = _masked(path, mask_entry, commit, folder), {**facts, "masks": mask_entry["repo"]}
    check_checkpoint(path)
    size = shape_of(path, trusted)
    check_vocabulary(path, load_tokenizer(path, trusted), size["vocabulary"])
    return {"folder": str(path), "trust_remote_code": trusted, "shape": size, **facts}


def _masked(parent: Path, masks: dict, commit: str, folder: Path) -> Path:
    """A new `folder` with the checkpoint `parent` and the published masks applied."""
    from sparse_continual.bases.maskllm import apply_masks

    files = sorted(fetch(masks["repo"], commit, kind="masks").glob("*.npz"))
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise UserError(f"hub: {masks['repo']} at {commit}: found {names} of masks, expected one .npz file")
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier attempt
    apply_masks(parent, files[0], folder)
    return folder


def _parts(settings: dict) -> list[tuple[str, str, dict, str | None]]:
    """(key of its revision, name, entry, revision) of each download: masks first if the entry is a set of masks."""
    name = settings["registry"]
    model = entry(name)
    part = ("revision", name, model, settings.get("revision") or model["revision"])
    if model["kind"] != "masks":
        return [part]
    parent = entry(model["dense"])
    revision = settings.get("dense_revision") or parent["revision"]
    return [part, ("dense_revision", model["dense"], parent, revision)]


SOURCE = Source(
    check=check,
    fingerprint=fingerprint,
    shape=shape,
    obtain=obtain,
    downloads=downloads,
    declared=declared,
)

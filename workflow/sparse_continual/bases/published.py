"""The registry of published models (`published.yaml`): read, checked, looked up.

Every fact of an entry has a source and says whether it was confirmed. Nothing heavy is imported here, because the
config may name an entry and is checked at every start.
"""

import re
from copy import deepcopy
from functools import cache
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.registry import nearest
from sparse_continual.schema import check_schema, schema_named
from sparse_continual.yaml_text import read_yaml

REGISTRY = Path(__file__).with_name("published.yaml")
NOT_FACTS = ("sources", "remark", "also")
FORMS = (  # (key, form, in words)
    ("repo", "[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*", "owner/name"),
    ("revision", "[0-9a-f]{40}", "the 40 hex digits of a commit"),
    ("pattern", "dense|unstructured|[0-9]+:[0-9]+", "dense, unstructured or N:M"),
)
FILES = {"weights": ("safetensors", "pickles"), "masks": ("npz",)}


def names() -> list[str]:
    """Sorted names of the entries."""
    return sorted(_read(REGISTRY))


def entry(name: str) -> dict:
    """A copy of the entry `name`, with every key of the schema, its own `name`, and `sources` as
    {fact: {"text", "confirmed"}}.

    Raises UserError with the nearest name if there is none, or with the wrong file and key.
    """
    models = _read(REGISTRY)
    if name not in models:
        raise UserError(
            f"registry: no published model {name!r}{nearest(name, models)}; the names of all {len(models)} are the "
            f"keys in {REGISTRY}"
        )
    sources = {
        fact: {"text": source["text"], "confirmed": source["confirmed"]}
        for source in models[name]["sources"]
        for fact in source["facts"]
    }
    return {**deepcopy(models[name]), "name": name, "sources": sources}


@cache
def _read(path: Path) -> dict[str, dict]:
    """Name -> entry of a registry file, defaults filled in; UserError with its first mistake."""
    content = read_yaml(path)
    original = deepcopy(content)
    schema = schema_named("published")
    lines = check_schema("", content, schema) or _mistakes(content["models"], original["models"])
    if lines:
        raise UserError(f"{path}: {lines[0]}")
    return content["models"]


def _mistakes(models: dict[str, dict], originals: dict[str, dict]) -> list[str]:
    """Mistakes that the schema cannot see: facts without a source, or with two; names that refer to nothing."""
    lines = []
    for name, model in models.items():
        where = f"models.{name}"
        facts = [key for key in originals[name] if key not in NOT_FACTS]
        sourced = [fact for source in model["sources"] for fact in source["facts"]]
        for fact in dict.fromkeys(sourced):
            if fact not in facts:
                lines.append(
                    f"{where}.sources: found {fact!r}{nearest(fact, facts)}, expected a key of the entry"
                )
            elif sourced.count(fact) > 1:
                lines.append(f"{where}.sources: {fact} has {sourced.count(fact)} sources, expected one")
        lines += [
            f"{where}.{fact}: has no source; add it to sources" for fact in facts if fact not in sourced
        ]
        lines += [
            f"{where}.{key}: found {model[key]!r}, expected {words}" for key, words in _malformed(model)
        ]
        dense = model["dense"]
        if dense is not None and dense not in models:
            lines.append(
                f"{where}.dense: found {dense!r}{nearest(dense, models)}, expected the name of an entry"
            )
        if (dense is None) != (model["counterpart"] is None):
            lines.append(f"{where}.counterpart: needs dense; give both, or neither")
        if model["files"] not in FILES[model["kind"]]:
            expected = " or ".join(FILES[model["kind"]])
            lines.append(f"{where}.files: found {model['files']!r}, expected {expected} for {model['kind']}")
        if model["kind"] == "masks" and dense is None:
            lines.append(f"{where}.dense: missing; expected the entry of the model that the masks belong to")
    return lines


def _malformed(model: dict):
    """(key, expected form) of every malformed text."""
    for key, form, words in FORMS:
        if model[key] is not None and not re.fullmatch(form, model[key]):
            yield key, words

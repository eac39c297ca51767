"""The settings that name a result: those that differ from their defaults.

A result's folder is named by a digest of its settings. Keys that equal their default are excluded, so that a new option
with a default renames nothing. Jobs get the filled settings.
"""

from functools import cache

from sparse_continual import registry
from sparse_continual.schema import schema_named, without_defaults
from sparse_continual.study.config import VARIANTS


def naming(stage: str, settings: dict) -> dict:
    """`settings` of an entity of `stage` (study.Entity) without the keys that equal their default."""
    named = dict(settings)
    study = _schema()["properties"]["study"]["properties"]
    for key, value in settings.items():
        if key in ("stream", "topology") and isinstance(value, dict):
            named[key] = _entry("streams" if key == "stream" else "topologies", value)
        elif key == "mixture":
            named[key] = [_entry("streams", entry) for entry in value]
        elif key in ("recovery", "pretraining") and value:
            named[key] = _part(value, _schema()["$defs"]["training"])
        elif key == "training":
            named[key] = _part(value, study["training"])
        elif key == "arm":
            condition = _schema()["properties"]["conditions"]["additionalProperties"]
            arm = _part({k: v for k, v in value.items() if k != "mechanism"}, condition)
            named[key] = {**arm, "mechanism": _entry("mechanisms", value["mechanism"])}
    if stage == "models":
        return _entry("bases", named)
    if stage == "scores":
        secondary = study["secondary"]["properties"]
        members = {**study["scoring"]["properties"], "calibrated_options": secondary["calibrated_options"]}
        return _part(named, {"properties": members})
    return named


@cache
def _schema() -> dict:
    return schema_named("config")


def _part(value: dict, schema: dict) -> dict:
    return without_defaults(value, schema, _schema())


def _entry(section: str, entry: dict) -> dict:
    """The schema of an entry in a section of the config: keys of the section and of its variant."""
    return _part(entry, _entry_schema(section, entry[VARIANTS[section][1]]))


@cache
def _entry_schema(section: str, variant: str) -> dict:
    common = _schema()["properties"][section]["additionalProperties"]
    variant_schema = registry.schema(VARIANTS[section][0], variant)
    return {"properties": {**variant_schema.get("properties", {}), **common["properties"]}}

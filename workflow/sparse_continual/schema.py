"""JSON schemas: those of the package's own files, defaults filled in, and one line per mistake."""

from copy import deepcopy
from functools import cache
from pathlib import Path

import jsonschema
import yaml

from sparse_continual import registry
from sparse_continual.identity import canonical

FOLDER = Path(__file__).with_name("schemas")


def schema_named(name: str) -> dict:
    """The schema `schemas/<name>.schema.yaml`, a copy that the caller may change."""
    return deepcopy(_read(name))


@cache
def _read(name: str) -> dict:
    return yaml.safe_load((FOLDER / f"{name}.schema.yaml").read_text(encoding="utf-8"))


def check_schema(where: str, value, schema: dict) -> list[str]:
    """Fill defaults into `value`; return its mistakes against `schema`, each led by its dotted key."""
    _fill(value, schema, schema)
    errors = jsonschema.Draft202012Validator(schema).iter_errors(value)
    ordered = sorted(errors, key=lambda error: [str(part) for part in error.path])
    return list(dict.fromkeys(line for error in ordered for line in _lines(where, error)))


def _fill(value, schema: dict, root: dict) -> None:
    """Write the schema's defaults into `value`, in nested objects and arrays too."""
    schema = _resolved(schema, root)
    if isinstance(value, dict):
        for key, member in schema.get("properties", {}).items():
            if key not in value and "default" in member:
                value[key] = deepcopy(member["default"])
            if key in value:
                _fill(value[key], member, root)
        others = schema.get("additionalProperties")
        if isinstance(others, dict):
            for key in value.keys() - schema.get("properties", {}).keys():
                _fill(value[key], others, root)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for member in value:
            _fill(member, schema["items"], root)


def without_defaults(value, schema: dict, root: dict):
    """A copy of `value` without the keys that equal their default under `schema`, in nested objects and arrays too.

    root: the schema whose `$defs` a `$ref` names.
    """
    schema = _resolved(schema, root)
    if isinstance(value, dict):
        members, others = schema.get("properties", {}), schema.get("additionalProperties")
        kept = {}
        for key, item in value.items():
            member = members.get(key, others if isinstance(others, dict) else {})
            if "default" in member:
                default = {key: deepcopy(member["default"])}
                _fill(default, {"properties": {key: member}}, root)
                if canonical(default[key]) == canonical(item):
                    continue
            kept[key] = without_defaults(item, member, root)
        return kept
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [without_defaults(item, schema["items"], root) for item in value]
    return deepcopy(value)


def _resolved(schema: dict, root: dict) -> dict:
    """`schema`, or the target of its `$ref` among the `$defs` of `root`."""
    return root["$defs"][schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema


def _lines(where: str, error) -> list[str]:
    """Lines for a jsonschema error: the dotted key, the value found, the expectation."""
    key = ".".join([where, *(str(part) for part in error.absolute_path)]).strip(".") or "top level"
    value, rule = error.instance, error.validator_value
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        listed = ", ".join(known) or "none"
        return [
            f"{key}: unknown key {name!r}{registry.nearest(name, known)}; there are {listed}"
            for name in value
            if name not in known
        ]
    if error.validator == "required":
        return [f"{key}: missing key {name!r}; add it" for name in rule if name not in value]
    words = {
        "type": f"expected {rule}",
        "enum": f"expected one of {', '.join(map(str, rule)) if isinstance(rule, list) else rule}",
        "minimum": f"expected at least {rule}",
        "maximum": f"expected at most {rule}",
        "exclusiveMinimum": f"expected more than {rule}",
        "exclusiveMaximum": f"expected less than {rule}",
        "minItems": f"expected at least {rule} entries",
        "maxItems": f"expected at most {rule} entries",
        "uniqueItems": "expected no entry twice",
        "pattern": "expected letters, digits, _ and -, beginning with a letter or digit",
        "maxLength": f"expected at most {rule} characters",
    }
    hint = ""
    if error.validator == "enum":
        hint = registry.nearest(value, rule)
    elif error.validator == "type" and isinstance(value, str) and _is_number(value):
        hint = " (YAML reads numbers such as 1e-4 as text: write 1.0e-4)"
    elif error.validator == "type" and rule == "string" and isinstance(value, (bool, int, float)):
        hint = " (write it in quotes)"
    return [f"{key}: found {value!r}, {words.get(error.validator, error.message)}{hint}"]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

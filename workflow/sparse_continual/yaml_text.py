"""Read YAML written by people, without the rules of YAML 1.1 that silently change a value.

Snakemake's own reader takes the last of two equal keys, reads `seed: 010` as 8, and reads the keys `on` and `yes`
as one key, true. Here the first two are refused, and a key stays the written word.
"""

import json
import re

import yaml

from sparse_continual.errors import UserError
from sparse_continual.files import read_text

OCTAL = re.compile(r"[-+]?0[0-7_]+")
BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")


class _Refused(Exception):
    """The first refused value of a file: its line, and the fix."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads dates of YAML 1.1 as text, and refuses numbers that people read differently."""

    def construct_mapping(self, node, deep=False):
        first = {}
        for key, _ in node.value:
            # keep true: programs that rewrite YAML write it for the key `on`
            if key.tag == "tag:yaml.org,2002:bool" and key.value.lower() not in ("true", "false"):
                key.tag = "tag:yaml.org,2002:str"
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            if key.value in first:
                raise _Refused(
                    f"line {line}: key {key.value!r} occurs twice, first in line {first[key.value]}; remove one"
                )
            first[key.value] = line
        return super().construct_mapping(node, deep)

    def number(self, node):
        text, line = node.value, node.start_mark.line + 1
        integer = node.tag == "tag:yaml.org,2002:int"
        value = self.construct_yaml_int(node) if integer else self.construct_yaml_float(node)
        if BASE_60.fullmatch(text):
            raise _Refused(f"line {line}: YAML reads {text} as the number {value}; write it in quotes")
        if integer and OCTAL.fullmatch(text):
            raise _Refused(
                f"line {line}: YAML reads {text} as the octal number {value}; write {int(text)} or {value}"
            )
        return value


for _tag, _construct in (
    ("int", _Loader.number),
    ("float", _Loader.number),
    ("timestamp", _Loader.construct_yaml_str),
):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _construct)


def read_yaml(path):
    """The content of a YAML or JSON file, read as `read_text` does.

    Raises UserError naming the file, and the line if known, for a file that cannot be read or is neither, a key that
    occurs twice in one mapping, and an integer with a leading zero (octal) or with colons (base 60).
    """
    text = read_text(path, "YAML")
    try:
        if text.lstrip().startswith("{"):  # tabs may indent JSON, but not YAML
            try:
                return json.loads(text, object_pairs_hook=_unique)
            except ValueError:
                pass
        return yaml.load(text, _Loader)
    except _Refused as error:
        raise UserError(f"{path}: {error}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None


def _unique(pairs) -> dict:
    content = {}
    for key, value in pairs:
        if key in content:
            raise _Refused(f"key {key!r} occurs twice in one object; remove one")
        content[key] = value
    return content

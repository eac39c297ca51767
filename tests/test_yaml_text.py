"""Files that people write as YAML: refused where YAML 1.1 would read something else than what is written."""

import json

import pytest
import yaml

from sparse_continual.errors import UserError
from sparse_continual.study.config import checked, merged
from sparse_continual.yaml_text import read_yaml


@pytest.fixture
def reading(tmp_path):
    """A function: what is read of a file with this content."""

    def read(content):
        path = tmp_path / "a.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_yaml(path)

    return read


def test_what_no_reading_changes_is_read_as_everywhere(reading):
    text = """
    a: [1, 1_000, 0x1F, -5, 0, 1.0e-3, .5, true, off, null, ~, '010', "2:4", x]
    b: &b {c: 1}
    d: {<<: *b, c: 2}
    """
    assert reading(text) == yaml.safe_load(text)
    assert reading("\r\n".join(["study:", "  blocks: 7", ""])) == {"study": {"blocks": 7}}
    assert reading("") is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "study:\n  blocks: 6\n  seed: 1\n  blocks: 7\n",
            "line 4: key 'blocks' occurs twice, first in line 2",
        ),
        ("a: 1\nb: {c: {d: 1, d: 1}}\n", "line 2: key 'd' occurs twice"),
        ("on: 1\n'on': 2\n", "line 2: key 'on' occurs twice"),
        ("b: [{x: 1}, {x: 1, x: 2}]\n", "line 1: key 'x' occurs twice"),
        ('{"a": {"b": 1, "b": 2}}', "key 'b' occurs twice"),
        ("seed: 010\n", "line 1: YAML reads 010 as the octal number 8; write 10 or 8"),
        ("a: [1, -0_17]\n", "YAML reads -0_17 as the octal number -15; write -17 or -15"),
        ("pattern: 2:4\n", "line 1: YAML reads 2:4 as the number 124; write it in quotes"),
        ("a:\n- 16:32\n", "line 2: YAML reads 16:32 as the number 992"),
        ("a: 1:30.5\n", "YAML reads 1:30.5 as the number 90.5"),
        ("a: [\n", "not valid YAML"),
        ("a:\n\tb: 1\n", "not valid YAML"),
        (b"a: caf\xe9\n", "not UTF-8 text: byte 6 is 0xe9; if it is LATIN1, convert it: iconv"),
    ],
)
def test_refused_with_the_place(reading, text, line):
    with pytest.raises(UserError) as caught:
        reading(text)
    assert "a.yaml: " in str(caught.value) and line in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="none.yaml: no such file; expected a YAML file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="cannot be read .Is a directory"):
        read_yaml(tmp_path)


def test_a_byte_order_mark_is_no_part_of_a_key(reading):
    assert reading(b"\xef\xbb\xbfa: 1\n") == {"a": 1}
    assert reading(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


def test_keys_stay_words_and_dates_text(reading):
    """YAML 1.1 reads the keys as one, true, and the other value is gone."""
    assert reading("{on: 1, yes: 2, y: 3, off: 4}") == {"on": 1, "yes": 2, "y": 3, "off": 4}
    written = yaml.safe_dump(yaml.safe_load("{to: x, on: flops}"))  # by a program that does not know `on`
    assert reading(written) == {"to": "x", True: "flops"}
    assert reading("name: 2024-01-01") == {"name": "2024-01-01"}


def test_json_may_be_indented_by_tabs(reading):
    value = {"study": {"blocks": 9}}
    assert reading(json.dumps(value, indent="\t")) == value


def test_files_are_merged_in_their_order_and_overrides_last(tmp_path):
    for name, text in (("a", "s: {x: 1, y: [1, 2]}"), ("b", "s: {x: 2, y: [3]}"), ("c", "- 1")):
        (tmp_path / name).write_text(text)
    a, b, c = (tmp_path / name for name in "abc")
    assert merged([a, b]) == {"s": {"x": 2, "y": [3]}}
    assert merged([b, a], {"s": {"x": 5}}) == {"s": {"x": 5, "y": [1, 2]}}
    with pytest.raises(UserError, match="c: found no keys"):
        merged([a, c])


def test_a_condition_may_be_called_yes(tmp_path):
    (tmp_path / "o.yaml").write_text(
        "conditions:\n"
        "  on: {base: tiny, topology: dense, mechanism: finetune}\n"
        "  'yes': {base: tiny, topology: sparse_2of4, mechanism: finetune}\n"
        "study: {conditions: ['on', 'yes'], claims: null, contrasts: []}\n"
    )
    from sparse_continual.study.study import ROOT

    found = checked(merged([ROOT / "config.yaml", tmp_path / "o.yaml"]))
    assert {"on", "yes"} < found["conditions"].keys() and found["study"]["conditions"] == ["on", "yes"]
    assert found["conditions"]["matched_flops"]["match"]["on"] == "flops"

"""Errors, whole files, identities, variants by name, code digests and the frame of every script."""

import hashlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sparse_continual import code, files, integrity, registry
from sparse_continual.errors import UserError
from sparse_continual.identity import canonical, seed_of, sha256

ROOT = Path(__file__).resolve().parents[1]


def test_a_user_error_is_one_line():
    assert str(UserError("a  b\n  c")) == "a b c"


# files


def test_write_leaves_no_part(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file"
    files.write(path, "one")
    files.write(path, b"two")
    assert path.read_bytes() == b"two" and os.listdir(path.parent) == ["file"]

    def full(_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write(path, "three")
    assert path.read_bytes() == b"two" and os.listdir(path.parent) == ["file"]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    program = (
        "import os, sys\n"
        "from sparse_continual import files\n"
        "os.replace = lambda *_: os._exit(9)\n"
        "files.write(sys.argv[1], 'new' * 1000)\n"
    )
    path = tmp_path / "file"
    path.write_text("old")
    assert subprocess.run([sys.executable, "-c", program, str(path)]).returncode == 9
    assert path.read_text() == "old"
    assert list(integrity.digests(tmp_path)) == ["file"]  # the part that it left is not a file of the result


def test_json(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"b": 0.1, "a": [1, None]})
    assert path.read_text() == '{\n "a": [\n  1,\n  null\n ],\n "b": 0.1\n}\n'
    assert files.read_json(path) == {"a": [1, None], "b": 0.1}
    path.write_text('{\n"a": 1,\n}')
    with pytest.raises(UserError, match="a.json: line 3: not valid JSON"):
        files.read_json(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="a.json: not UTF-8 text: found UTF-16; convert it: iconv"):
        files.read_json(path)
    with pytest.raises(UserError, match="b.json: no such file"):
        files.read_json(tmp_path / "b.json")
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\); expected a JSON file"):
        files.read_json(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "line 1: not valid JSON: the file is empty"),
        (b'{"a": 1}\n{"a": 2}\n', "line 2: not valid JSON: a second value begins here.*jq -s"),
        (b"[1,\n2,\n]", "line [23]: not valid JSON: .*remove the comma before the closing bracket"),
        (b'{"a": 1,}', "not valid JSON: .*remove the comma before the closing bracket"),
        (b"{'a': 1}", "not valid JSON: .*use double quotes"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 5000, "not valid JSON here: .*digits"),
        ('"café"'.encode("latin-1"), "not UTF-8 text: byte 4 is 0xe9; if it is LATIN1, convert it: iconv"),
        ("\ufeff[]".encode("utf-16-be"), "found UTF-16"),
        ('"é"'.encode("utf-16-le"), "byte 2 is 0xe9; if it is UTF-16LE"),
        ('"a"'.encode("utf-32"), "found UTF-32"),
    ],
)
def test_json_that_cannot_be_read_says_how_to_fix_it(tmp_path, content, words):
    (tmp_path / "a b.json").write_bytes(content)
    with pytest.raises(UserError, match=f"a b.json: .*{words}"):
        files.read_json(tmp_path / "a b.json")


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbf[1]")
    assert files.read_json(tmp_path / "a") == [1]
    assert files.read_text(tmp_path / "a") == files.read_plain(tmp_path / "a") == "[1]"
    (tmp_path / "a").write_bytes("\ufeff\ufeffb".encode())  # one mark is the editor's, the second is text
    assert files.read_text(tmp_path / "a") == "\ufeffb"


def test_plain_text_has_no_nul(tmp_path):
    (tmp_path / "a").write_bytes("w1 w2".encode("utf-16-le"))
    with pytest.raises(UserError, match="a: byte 1 is a NUL character.*iconv -f UTF-16LE"):
        files.read_plain(tmp_path / "a")


def test_paths_of_users(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.given_path("~/a/b") == tmp_path / "a" / "b"
    for same in ("a/~b", "../a", "/a/~/b", "."):
        assert str(files.given_path(same)) == same
    with pytest.raises(UserError, match="~nobody-of-this-name/a: the home folder of this user is unknown"):
        files.given_path("~nobody-of-this-name/a")


def test_a_file_without_permission(monkeypatch):
    """By what the system says, because root may read every file."""

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    monkeypatch.setattr("builtins.open", denied)
    for read in (files.read_json, files.read_text, files.digest_of_given):
        with pytest.raises(UserError, match=r"a.txt: cannot be read \(Permission denied\)"):
            read("a.txt")


def test_digest_of_given(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert files.digest_of_given(tmp_path / "a") == known
    with pytest.raises(UserError, match="b: no such file"):
        files.digest_of_given(tmp_path / "b")
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        files.digest_of_given(tmp_path)


# identities


def test_canonical():
    one = {"b": [1, 2.0, (3,)], "a": {"y": None, "x": True}}
    assert canonical(one) == {"a": {"x": True, "y": None}, "b": [1, 2, [3]]}
    assert json.dumps(canonical(one)) == '{"a": {"x": true, "y": null}, "b": [1, 2, [3]]}'
    for value in ({1, 2}, object(), Path("a"), b"a"):
        with pytest.raises(TypeError, match="not plain data"):
            canonical({"a": value})


def test_digests_of_settings():
    assert sha256({"a": 1, "b": 2}) == sha256({"b": 2.0, "a": 1.0})
    assert len({sha256(v) for v in (1, "1", True, None, [1], {"1": 1}, 1.5, {"a": [1]}, {"a": 1})}) == 9


def test_seeds():
    seeds = {seed_of("what", number) for number in range(1000)}
    assert len(seeds) == 1000 and all(0 <= seed < 2**63 for seed in seeds) and max(seeds) > 2**62
    assert seed_of("order", 0, "1") == seed_of("order", 0.0, "1") != seed_of("order", 0, 1)
    assert seed_of("a") == int(hashlib.sha256(b'["a"]').hexdigest()[:16], 16) // 2


# variants


def test_variants():
    assert registry.names("runs.mechanisms") == ["ewc", "finetune", "lora", "replay"]
    assert registry.schema("runs.mechanisms", "replay")["required"] == ["buffer_items", "share"]
    with pytest.raises(UserError) as caught:
        registry.load("pruning.methods", "wandaa")
    assert "no variant 'wandaa' (did you mean 'wanda'?); there are counted, dense, gmp" in str(caught.value)
    for name in ("", "../code", "_draw", "mechanism"):
        with pytest.raises(UserError, match="no variant"):
            registry.load("runs.mechanisms", name)


@pytest.mark.parametrize(
    "package", ["bases.sources", "pruning.methods", "runs.mechanisms", "streams.sources", "figures"]
)
def test_schemas_read_without_running_are_those_of_the_modules(package):
    for name in registry.names(package):
        assert registry.schema(package, name) == registry.by_name(f"{package}.{name}").SCHEMA


def test_nearest():
    assert registry.nearest("lokced", ["locked", "writes"]) == " (did you mean 'locked'?)"
    assert registry.nearest("xyz", ["locked"]) == registry.nearest(3, []) == ""


# code digests


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of a few modules in the place of ours, and a function that edits one."""
    folder = tmp_path / "sparse_continual"
    texts = {
        "__init__.py": '__version__ = "1"\n',
        "a.py": '"""Doc."""\nfrom sparse_continual import b\n\n\ndef f():\n    """Doc."""\n    return b.g()\n',
        "b.py": "def g():\n    from sparse_continual.deep.c import h\n\n    return h()  # why\n",
        "deep/__init__.py": '"""Doc."""\n',
        "deep/c.py": "import sparse_continual.d as d\n\n\ndef h():\n    return d.VALUE\n",
        "d.py": "VALUE = 1\n",
        "unrelated.py": "from sparse_continual import a\n",
    }
    for name, text in texts.items():
        files.write(folder / name, text)
    monkeypatch.setattr(code, "PACKAGE", folder)

    def forget():
        code._read.cache_clear()
        code.digest.cache_clear()

    def edit(name, old, new):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))
        forget()

    forget()
    yield edit
    forget()


def names_of(*entries):
    return [path.relative_to(code.PACKAGE).as_posix() for path in code.closure(*entries)]


def test_the_closure_follows_imports_inside_functions(package):
    assert names_of("a") == ["a.py", "b.py", "d.py", "deep/__init__.py", "deep/c.py"]
    assert names_of("deep.c") == ["d.py", "deep/__init__.py", "deep/c.py"]
    assert names_of("deep") == ["deep/__init__.py"]


def test_a_digest_changes_with_code_alone(package):
    before = code.digest("a")
    for edit in (
        ("a.py", '"""Doc."""', '"""Another."""'),
        ("a.py", '    """Another."""\n', ""),
        ("b.py", "  # why", "  # because"),
        ("deep/__init__.py", '"""Doc."""\n', ""),
        ("d.py", "VALUE = 1", "# new\n\nVALUE = (\n    1\n)"),
        ("unrelated.py", "import a", "import b"),
        ("__init__.py", "1", "2"),
    ):
        package(*edit)
        assert code.digest("a") == before, edit
    package("d.py", "1", "2")
    assert code.digest("a") != before
    package("d.py", "2", "1")
    assert code.digest("a") == before != code.digest("a", "unrelated")


TEXTS = """
    import logging

    SCHEMA = {"properties": {"x": {"type": "integer", "description": "TEXT"}}}
    COLUMN = dict(meaning="TEXT", en="TEXT", zh="TEXT")

    def f(x):
        print(f"TEXT {x}")
        logging.warning("TEXT")
        if x:
            raise ValueError(f"{x}: TEXT" + "TEXT")
        return math.log(SCHEMA["other key"]), "word"
"""


def test_rewording_a_text_for_people_changes_no_digest(package, tmp_path):
    (code.PACKAGE / "texts.py").write_text(textwrap.dedent(TEXTS))
    before = code.digest("texts")
    package("texts.py", "TEXT", "other words")
    assert code.digest("texts") == before
    for old, new in (
        ('"word"', '"other"'),
        ("if x", "if not x"),
        ('"integer"', '"number"'),
        ("{x}: ", "{x + 1}: "),
    ):
        package("texts.py", old, new)
        assert code.digest("texts") != before, old
        before = code.digest("texts")


@pytest.mark.parametrize(
    "line",
    [
        "from sparse_continual.deep import nope",
        "from sparse_continual import lazy",
        "import sparse_continual.nope",
    ],
)
def test_an_import_of_ours_that_leads_to_no_file_would_go_unseen(package, line):
    (code.PACKAGE / "__init__.py").write_text(
        '__version__ = "1"\n\n\ndef __getattr__(name):\n    return name\n'
    )
    package("d.py", "VALUE", f"{line}\n\nVALUE")
    with pytest.raises(ValueError, match="d.py: line 1: import of sparse_continual.*no file of the package"):
        code.digest("a")


def test_a_script_is_part_of_its_closure(package, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("from sparse_continual.d import VALUE\n")
    assert code.closure(str(script)) == sorted([script, code.PACKAGE / "d.py"])


@pytest.mark.parametrize("entry", ["nope", "deep.nope", "deep.c.nope"])
def test_a_module_that_is_not_there(entry, package):
    with pytest.raises(ValueError, match="no module"):
        code.digest(entry)


def test_a_relative_import_would_go_unseen(package):
    package("d.py", "VALUE", "from . import b\n\nVALUE")
    with pytest.raises(ValueError, match="d.py: line 1: relative import"):
        code.digest("a")


def modules_of(script):
    found = code.closure(str(ROOT / "scripts" / script))
    return {p.relative_to(code.PACKAGE).as_posix() for p in found if p.is_relative_to(code.PACKAGE)}


def test_training_depends_on_no_scoring_mask_method_or_mechanism():
    """Else a change of those would train everything again."""
    for script in ("runs/train_condition.py", "runs/tune_condition.py"):
        found = modules_of(script)
        assert {"runs/stream.py", "training/trainables.py", "runs/mechanism.py"} <= found
        bad = [
            name
            for name in found
            if name.startswith(("scores/", "pruning/methods/", "statistics/", "figures/", "report/"))
            or (name.startswith("runs/mechanisms/") and name != "runs/mechanisms/__init__.py")
        ]
        assert not bad and "topologies/topology.py" not in found


def test_dense_models_depend_on_no_pruning():
    found = modules_of("pruning/make_topology.py")
    assert {"pruning/make.py", "training/trainables.py", "training/loop.py"} <= found
    assert not found & {"topologies/topology.py", "pruning/prune.py"}
    assert not [name for name in found if name.startswith(("scores/", "runs/", "pruning/methods/"))]


def test_obtaining_a_model_depends_on_no_source_topology_or_run():
    found = modules_of("bases/obtain_model.py")
    assert not [name for name in found if name.startswith(("scores/", "runs/"))]
    assert not [name for name in found if name.startswith("bases/sources/") and "__init__" not in name]


def test_a_change_of_provenance_or_of_the_warm_process_reruns_nothing():
    """They record and speed up jobs; results do not depend on them."""
    for script in (ROOT / "scripts").rglob("*.py"):
        found = modules_of(script.relative_to(ROOT / "scripts"))
        assert "integrity.py" in found and not {"provenance.py", "warm.py"} & {*found}, script


# scripts


def run_script(tmp_path, body):
    script = tmp_path / "script.py"
    start = """
        import sys
        from types import SimpleNamespace
        from sparse_continual.script import job
        with job(SimpleNamespace(log=[sys.argv[1]], input=[], output=[], params={}, resources={})):
    """
    script.write_text(textwrap.dedent(start) + textwrap.indent(textwrap.dedent(body), "    "))
    log = tmp_path / "log"
    ended = subprocess.run([sys.executable, script, log], capture_output=True, text=True)
    return ended, log.read_text()


def test_all_output_goes_to_the_log(tmp_path):
    ended, log = run_script(tmp_path, "import os\nprint('one')\nos.system('echo two; echo three >&2')\n")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert log.split() == ["one", "two", "three"]


def test_a_users_mistake_ends_as_one_line(tmp_path):
    body = "from sparse_continual.errors import UserError\nraise UserError('a.json: no such file')\n"
    ended, log = run_script(tmp_path, body)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "")
    assert log == "a.json: no such file\n"


def test_a_bug_keeps_its_traceback(tmp_path):
    ended, log = run_script(tmp_path, "{}['a']\n")
    assert ended.returncode == 1 and "Traceback" in log and "KeyError: 'a'" in log

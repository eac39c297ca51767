"""Manifests: what they record, and that whoever reads an artifact refuses one that is not as recorded."""

import json
import os
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from sparse_continual import files, integrity, provenance, script
from sparse_continual.errors import UserError
from sparse_continual.identity import sha256

SETTINGS = {"rows": 3, "kind": "magnitude"}


def test_digests(tmp_path):
    files.write(tmp_path / "b" / "x", "")
    files.write(tmp_path / "a", "abc")
    for unrecorded in (integrity.MANIFEST, integrity.PROVENANCE, ".snakemake_timestamp", f".y{files.PART}"):
        files.write(tmp_path / unrecorded, "{}")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert list(integrity.digests(tmp_path).items()) == [("a", abc), ("b/x", empty)]


def test_manifests_of_a_folder_below_move_with_it(tmp_path):
    files.write(tmp_path / "one" / "model" / "weights", "abc")
    integrity.write_manifest(tmp_path / "one" / "manifest.json", tmp_path / "one" / "model", steps=3)
    assert str(tmp_path) not in (tmp_path / "one" / "manifest.json").read_text()
    (tmp_path / "two").mkdir()
    moved = (tmp_path / "one").rename(tmp_path / "two" / "one")
    manifest = integrity.read_manifest(moved / "manifest.json")
    assert manifest["folder"] == moved / "model" and manifest["steps"] == 3
    assert set(manifest["files"]) == {"model/weights"}
    (moved / "model" / "weights").unlink()
    with pytest.raises(
        UserError, match="weights: listed in .*manifest.json, but missing; delete .*one and run"
    ):
        integrity.read_manifest(moved / "manifest.json")


def test_manifests_of_a_folder_elsewhere(tmp_path, monkeypatch):
    """A relative folder outside is relative to the working directory, even where results/ is a link."""
    monkeypatch.chdir(tmp_path)
    files.write(Path("checkpoints/base/weights"), "abc")
    Path("disk").mkdir()
    Path("results").symlink_to("disk")
    manifest = Path("results/store/models/base/manifest.json")
    integrity.write_manifest(manifest, Path("checkpoints/base"))
    assert integrity.read_manifest(manifest)["folder"] == Path("checkpoints/base")
    again = Path("results/store/topologies/base/manifest.json")
    integrity.write_manifest(again, integrity.read_manifest(manifest)["folder"])
    assert integrity.read_manifest(again)["folder"] == Path("checkpoints/base")
    integrity.write_manifest(manifest, tmp_path / "checkpoints" / "base")
    assert integrity.read_manifest(manifest)["folder"] == tmp_path / "checkpoints" / "base"
    files.write(Path("checkpoints/base/weights"), "abd")
    with pytest.raises(
        UserError, match=r"checkpoints/base/weights: its bytes differ from those that .*manifest"
    ):
        integrity.read_manifest(manifest)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Two artifacts and a study's table in the working directory, recorded."""
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        folder = Path("results/store/topologies") / name
        files.write(folder / "model" / "weights", f"weights of {name}")
        files.write(folder / "densities.csv", f"density\n0.{len(name)}1\n")
        files.write(folder / "weights" / "after_001", name)
        integrity.write_manifest(
            folder / "manifest.json", folder / "model", settings=SETTINGS, removable=["weights"]
        )
    files.write("results/tiny/people/tables/scores.csv", "score\n1\n2\n")
    files.write("results/tiny/people/tables/other.csv", "score\n1\n2\n")
    integrity.write_manifest(
        "results/tiny/people/manifests/collect_tables.json", files=["results/tiny/people/tables/scores.csv"]
    )
    return Path("results/store/topologies/one")


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _edit(path, **changed):
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


CORRUPTED = {  # (what happens to the artifact, what the line names)
    "bytes": (lambda one: _flip(one / "model" / "weights"), "one/model/weights: its bytes"),
    "truncated": (lambda one: (one / "densities.csv").write_text("den"), "one/densities.csv: its bytes"),
    "gone": (lambda one: (one / "densities.csv").unlink(), "one/densities.csv: listed in"),
    "added": (lambda one: (one / "model" / "more").write_text(""), "one/model/more: .* does not record"),
    "a fact": (lambda one: _edit(one / "manifest.json", below=False), "manifest.json: it was changed"),
    "no manifest": (lambda one: (one / "manifest.json").unlink(), "one/manifest.json: missing"),
    "half a manifest": (
        lambda one: (one / "manifest.json").write_text('{"files": {'),
        "manifest.json: line 1",
    ),
    "a list": (lambda one: (one / "manifest.json").write_text("[1]"), "found store_format 'none'"),
    "format": (lambda one: _edit(one / "manifest.json", store_format=0), "found store_format 0, expected 1"),
    "a sibling's": (
        lambda one: shutil.copy(one.parent / "two" / "manifest.json", one),
        "found the manifest of two",
    ),
    "a sibling's weights": (
        lambda one: shutil.copy(one.parent / "two" / "model" / "weights", one / "model"),
        "one/model/weights: its bytes",
    ),
    "weights of a run": (lambda one: _flip(one / "weights" / "after_001"), "after_001: its bytes"),
}


@pytest.mark.parametrize("kind", CORRUPTED)
def test_a_corrupted_artifact_is_refused_in_one_line(store, kind):
    corrupt, line = CORRUPTED[kind]
    integrity.verify_inputs([f"{store}/manifest.json"])
    corrupt(store)
    with pytest.raises(UserError, match=f"{line}.*(delete .* and run again)"):
        integrity.verify_inputs([f"{store}/manifest.json"])


def test_removable_files_may_be_gone(store):
    (store / "weights" / "after_001").unlink()
    integrity.verify_inputs([f"{store}/manifest.json"])


def test_other_settings_are_refused(store):
    path = [f"{store}/manifest.json"]
    integrity.verify_inputs(path, {str(store): sha256(SETTINGS)})
    with pytest.raises(
        UserError, match="one/manifest.json: made with other settings .* delete .*one and run"
    ):
        integrity.verify_inputs(path, {str(store): sha256(SETTINGS | {"rows": 4})})


def test_only_the_files_that_are_read_are_verified(store):
    _flip(store / "model" / "weights")
    integrity.verify_inputs([f"{store}/densities.csv"])
    _flip(store / "densities.csv")
    with pytest.raises(UserError, match="densities.csv: its bytes"):
        integrity.verify_inputs([f"{store}/densities.csv"])


def test_tables_of_a_study(store):
    tables = Path("results/tiny/people/tables")
    manifest = "results/tiny/people/manifests/collect_tables.json"
    integrity.verify_inputs([tables / "scores.csv", manifest])
    with pytest.raises(UserError, match="other.csv: no manifest beside it records this file"):
        integrity.verify_inputs([tables / "other.csv", manifest])
    other = Path(manifest).with_name("estimate.json")
    shutil.copy(manifest, other)
    with pytest.raises(
        UserError, match=f"{other}: found the manifest of collect_tables; delete {other} and run"
    ):
        integrity.verify_inputs([tables / "scores.csv", manifest, other])
    other.unlink()
    (tables / "scores.csv").write_text("score\n1\n")
    with pytest.raises(UserError, match=f"scores.csv: its bytes .*; delete {manifest} and run again"):
        integrity.verify_inputs([tables / "scores.csv", manifest])


def test_a_kept_time_stamp_hides_nothing(store, monkeypatch):
    """Also where the digest was cached on disk: the change time moves, whatever the modification time says."""
    monkeypatch.setattr(integrity, "LARGE", 1)
    monkeypatch.setattr(integrity, "TICK", 0)
    path = store / "densities.csv"
    before = path.stat()
    digest = integrity.digest_of(path)
    assert [json.loads(p.read_text())["sha256"] for p in integrity.CACHE.glob(f"*-{before.st_ino}.json")] == [
        digest
    ]
    time.sleep(0.02)
    _flip(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(UserError, match="densities.csv: its bytes"):
        integrity.verify_inputs([path])


def test_the_cache_saves_reading_and_its_damage_is_harmless(store, monkeypatch):
    monkeypatch.setattr(integrity, "LARGE", 1)
    monkeypatch.setattr(integrity, "TICK", 0)
    path = store / "densities.csv"
    digest = integrity.digest_of(path)
    (cached,) = integrity.CACHE.glob(f"*-{path.stat().st_ino}.json")
    read = []
    monkeypatch.setattr(integrity, "sha256_of", lambda path: read.append(path) or files.sha256_of(path))
    for content, times in ((cached.read_text(), 0), ("{", 1), ("[]", 2)):
        cached.write_text(content)
        monkeypatch.setattr(integrity, "_remembered", {})
        assert integrity.digest_of(path) == digest
        assert len(read) == times


def _forged(path, **changed):
    """Change entries of a manifest, and record its own digest as if it had been written so."""
    content = json.loads(path.read_text()) | changed
    content.pop("sha256")
    path.write_text(json.dumps(content | {"sha256": sha256(content)}))


@pytest.mark.parametrize(
    "changed",
    [
        {"files": 0},
        {"files": {"densities.csv": 1}},
        {"inputs": []},
        {"inputs": None},
        {"folder": 5},
        {"below": "no"},
        {"outside": 0},
        {"removable": 3},
        {"removable": [3]},
        {"name": 1},
    ],
    ids=str,
)
def test_entries_of_other_types_are_refused_in_one_line(store, changed):
    _forged(store / "manifest.json", **changed)
    (key,) = changed
    for given in (store / "manifest.json", store / "densities.csv"):
        with pytest.raises(UserError, match=f"manifest.json: {key}: found .*; delete .*one and run again"):
            integrity.verify_inputs([given])


@pytest.mark.parametrize("text", ['{"files": 0}', "[]", "5", "[" * 400 + "]" * 400, "{", '{"files": ["a"]}'])
def test_a_damaged_manifest_beside_tables_is_named(store, text):
    """Only where no other manifest records the table."""
    manifest = Path("results/tiny/people/manifests/aaa.json")
    manifest.write_text(text)
    tables = Path("results/tiny/people/tables")
    integrity.verify_inputs([tables / "scores.csv"])
    with pytest.raises(
        UserError, match=f"other.csv: no manifest .* and {manifest} is damaged; delete {manifest}"
    ):
        integrity.verify_inputs([tables / "other.csv"])


def test_a_manifest_nested_too_deeply(store):
    (store / "manifest.json").write_text('{"store_format": 1, "name": ' + "[" * 700 + "]" * 700 + "}")
    with pytest.raises(UserError, match="manifest.json: .*; delete .*one and run again"):
        integrity.verify_inputs([store / "manifest.json"])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            PermissionError(13, "Permission denied"),
            "Permission denied.*; correct its permissions, .* run again",
        ),
        (OSError(5, "Input/output error"), "Input/output error"),
        (FileNotFoundError(2, "No such file or directory"), "no such file; run again"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(store, monkeypatch, error, line):
    """By what the system says, because root may read every file, and a file can vanish at any moment."""

    def fail(*_):
        raise error

    for module, name in ((integrity, "sha256_of"), (os, "stat")):
        with monkeypatch.context() as patch:
            patch.setattr(integrity, "_remembered", {})
            patch.setattr(module, name, fail)
            with pytest.raises(UserError, match=f"densities.csv: .*{line}"):
                integrity.digest_of(store / "densities.csv")
    monkeypatch.setattr(integrity, "_remembered", {})
    monkeypatch.setattr(integrity, "sha256_of", fail)
    with pytest.raises(UserError, match=f"densities.csv: .*{line}"):
        integrity.verify_inputs([store / "densities.csv"])


@pytest.fixture
def cached(store, monkeypatch):
    """(a file whose digest is cached, its cache file, a list of what is read from now on, in a process of its own)."""
    monkeypatch.setattr(integrity, "LARGE", 1)
    monkeypatch.setattr(integrity, "TICK", 0)
    monkeypatch.setattr(integrity, "_remembered", {})
    path, read = store / "model" / "weights", []
    integrity.verify_inputs([store / "manifest.json"])
    monkeypatch.setattr(integrity, "_remembered", {})
    monkeypatch.setattr(integrity, "sha256_of", lambda path: read.append(path) or files.sha256_of(path))
    return path, integrity.CACHE / f"{path.stat().st_dev}-{path.stat().st_ino}.json", read


def test_a_model_folder_is_read_once_per_state(cached, store, monkeypatch):
    """A later process takes all digests from the cache, until a file changes; then it reads that file alone."""
    path, _, read = cached
    for _ in range(2):
        integrity.verify_inputs([store / "manifest.json"])
        monkeypatch.setattr(integrity, "_remembered", {})
    assert read == []
    time.sleep(0.02)
    os.utime(path)
    for _ in range(2):
        integrity.verify_inputs([store / "manifest.json"])
        monkeypatch.setattr(integrity, "_remembered", {})
    assert read == [path]


def test_a_damaged_digest_in_the_cache_neither_refuses_a_file_nor_is_recorded(cached, store, monkeypatch):
    path, entry, read = cached
    good = json.loads(entry.read_text())
    assert good["sha256"] == files.sha256_of(path)
    entry.write_text(json.dumps(good | {"sha256": "0" * 64}))
    assert integrity.digests(store)["model/weights"] == good["sha256"]
    assert json.loads(entry.read_text()) == good and read == [path]


def test_a_wrong_digest_in_the_cache_refuses_no_good_file(cached, store, monkeypatch):
    """Also one that is whole, as where a file system did not move the change time."""
    path, entry, read = cached
    good = json.loads(entry.read_text())
    wrong = {"state": good["state"], "sha256": "0" * 64, "entry": sha256([good["state"], "0" * 64])}
    entry.write_text(json.dumps(wrong))
    assert integrity.digest_of(path) == "0" * 64
    integrity.verify_inputs([store / "manifest.json"])
    assert json.loads(entry.read_text()) == good and read == [path]
    entry.write_text(json.dumps(wrong))
    monkeypatch.setattr(integrity, "_remembered", {})
    time.sleep(0.02)
    _flip(path)
    with pytest.raises(UserError, match="weights: its bytes"):
        integrity.verify_inputs([store / "manifest.json"])


# what is read together


@pytest.fixture
def run(store):
    """A run that was made from the topology `one`, and scores of that run."""
    base = str(store / "manifest.json")
    folder = Path("results/store/runs/run")
    files.write(folder / "run.json", "{}")
    inputs = {base: integrity.digest_of(base)}
    integrity.write_manifest(folder / "manifest.json", inputs=inputs)
    scores = Path("results/tiny/people/manifests/collect_tables.json")
    files.write("results/tiny/people/tables/scores.csv", "score\n3\n")
    inputs = {f"{folder}/run.json": integrity.digest_of(folder / "run.json")}
    integrity.write_manifest(scores, files=["results/tiny/people/tables/scores.csv"], inputs=inputs)
    return folder


@pytest.mark.parametrize("read", ["manifest.json", "densities.csv"])
def test_a_run_of_an_earlier_base_is_refused_beside_the_new_one(run, store, read):
    """Both are whole by themselves. Only the recorded digest of the base says that they do not fit."""
    together = [run / "manifest.json", store / read]
    integrity.verify_inputs(together)
    files.write(store / "densities.csv", "density\n0.7\n")
    integrity.write_manifest(store / "manifest.json", store / "model", settings=SETTINGS)
    for alone in together:
        integrity.verify_inputs([alone])
    for given in (together, together[::-1], [run / "run.json", store / read]):
        with pytest.raises(
            UserError,
            match=f"{run}/manifest.json: made from an earlier {store}/manifest.json.*; delete {run} and run",
        ):
            integrity.verify_inputs(given)


def test_tables_of_an_earlier_run_are_refused_beside_the_new_one(run):
    table, manifest = (
        "results/tiny/people/tables/scores.csv",
        "results/tiny/people/manifests/collect_tables.json",
    )
    inputs = json.loads((run / "manifest.json").read_text())["inputs"]
    integrity.verify_inputs([table, manifest, run / "run.json"])
    files.write(run / "run.json", '{"seconds": 3}')
    integrity.write_manifest(run / "manifest.json", inputs=inputs)
    integrity.verify_inputs([table, manifest])
    with pytest.raises(
        UserError, match=f"{manifest}: made from an earlier {run}/run.json.*; delete {manifest} and"
    ):
        integrity.verify_inputs([table, manifest, run / "run.json"])


# provenance


def test_provenance_is_beside_and_not_recorded(store):
    provenance.write_provenance(store, provenance.at_start())
    integrity.verify_inputs([f"{store}/manifest.json"])
    made = json.loads((store / "provenance.json").read_text())
    assert {"began", "seconds", "versions", "machine", "commit", "diff"} <= made.keys()


def test_a_job_records_what_it_read_and_not_what_came_later(store, tmp_path, monkeypatch):
    """A change of an input, of the commit or of the checkout while a job runs belongs to the next job."""
    state = {"commit": "one", "diff": "before"}
    monkeypatch.setattr(provenance, "_checkout", lambda: dict(state))
    monkeypatch.setattr(script.os, "dup2", lambda *_: None)
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    base = store / "manifest.json"
    before = files.sha256_of(base)
    run = Path("results/store/runs/run")
    snakemake = SimpleNamespace(
        log=["log"], input=[str(base)], output=[f"{run}/manifest.json"], params={}, resources={}
    )
    with script.job(snakemake):
        files.write(run / "run.json", "{}")
        state.update(commit="two", diff="after")
        files.write(store / "densities.csv", "density\n0.7\n")
        integrity.write_manifest(base, store / "model", settings=SETTINGS)
    assert json.loads((run / "manifest.json").read_text())["inputs"] == {str(base): before}
    noted = json.loads((run / "provenance.json").read_text())
    assert (noted["commit"], noted["diff"]) == ("one", "before")
    with pytest.raises(UserError, match="made from an earlier"):
        integrity.verify_inputs([run / "manifest.json", base])

"""Manifests: what they record, and that whoever reads an artifact refuses one that is not as recorded."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from sparse_continual import files, integrity
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
    with pytest.raises(UserError, match="weights: listed in .*manifest.json, but gone; delete .*one and run"):
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
    with pytest.raises(UserError, match=r"checkpoints/base/weights: its bytes are not those that .*manifest"):
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
    "no manifest": (lambda one: (one / "manifest.json").unlink(), "one/manifest.json: gone"),
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


def test_provenance_is_beside_and_not_recorded(store):
    integrity.write_provenance(store, time.time())
    integrity.verify_inputs([f"{store}/manifest.json"])
    made = json.loads((store / "provenance.json").read_text())
    assert {"began", "seconds", "versions", "machine", "commit", "diff"} <= made.keys()

"""Downloads from a hub on loopback: what is fetched, what is verified, and one line for whatever goes wrong."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import fake_hub
import pytest

from sparse_continual.bases import convert, download
from sparse_continual.errors import UserError

REPO = "owner/name"
WEIGHTS = os.urandom(300_000)
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "generation_config.json": b"{}",
    "tokenizer.json": b"{}",
    "model.safetensors": WEIGHTS,
    "README.md": b"read me",
    "modeling_odd.py": b"raise SystemExit",
    "consolidated.safetensors": b"the same again",
    "original/model.safetensors": b"the same again",
}
FETCHED = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A running hub, the only one that this process knows; its cache is tmp_path/home/hub."""
    from huggingface_hub import constants, file_download

    with fake_hub.FakeHub() as hub:
        hub.patch(monkeypatch, tmp_path / "home")
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)  # bytes that resuming starts from
        monkeypatch.setattr(file_download.time, "sleep", lambda seconds: None)  # between tries
        yield hub


def asked(hub, name, method="GET"):
    return [request for request in hub.requests if request.path.endswith(name) and request.method == method]


def refused(*words, repo=REPO, revision=None, **options) -> str:
    with pytest.raises(UserError) as caught:
        download.fetch(repo, revision, **options)
    line = str(caught.value)
    assert line.startswith(f"hub: {repo}") and "\n" not in line and len(line) < 500
    for word in words:
        assert word in line, line
    return line


def blob(path) -> Path:
    return Path(path).resolve()


# ---- what goes well


def test_a_model_is_fetched_once_and_used_where_it_is(hub, tmp_path):
    commit = hub.add(REPO, FILES)
    path = download.fetch(REPO, commit)
    assert path == tmp_path / "home" / "hub" / "models--owner--name" / "snapshots" / commit
    assert sorted(file.name for file in path.iterdir()) == FETCHED
    assert all((path / name).read_bytes() == FILES[name] for name in FETCHED)
    assert len(asked(hub, "tree/" + commit)) > 2  # the listing comes in pages
    before = len(hub.requests)
    assert download.fetch(REPO, commit) == path
    assert {request.path.split("/")[1] for request in hub.requests[before:]} == {"api"}


def test_branches_lead_to_commits(hub):
    old = hub.add(REPO, FILES | {"tokenizer.json": b"old"}, branch="old")
    new = hub.add(REPO, FILES)
    assert download.fetch(REPO, None).name == new
    assert download.fetch(REPO, "old").name == old


def test_sizes_and_digests_are_recorded(hub):
    path = download.fetch(REPO, hub.add(REPO, FILES))
    assert download.record(path) == {
        name: {"bytes": len(FILES[name]), "sha256": hashlib.sha256(FILES[name]).hexdigest()}
        for name in FETCHED
    }


def test_masks_are_fetched_without_a_model(hub):
    hub.add(REPO, {"README.md": b"masks", "mask_compressed.npz": b"PK"})
    assert [file.name for file in download.fetch(REPO, None, kind="masks").iterdir()] == [
        "mask_compressed.npz"
    ]
    hub.add("owner/other", FILES)
    refused("offers no masks (*.npz)", "README.md", repo="owner/other", kind="masks")


def test_a_config_is_fetched_without_the_weights(hub, monkeypatch, tmp_path):
    """A model of many gigabytes, and of code of its own, judged from what fits into a message."""
    files = FILES | {
        "config.json": b'{"model_type": "odd", "auto_map": {}}',
        "model.safetensors.index.json": b"{}",
    }
    monkeypatch.setattr(download, "_free", lambda place: 1000)  # bytes; the weights are more
    commit = hub.add(REPO, files)
    assert download.cached(REPO, commit, "config") is None
    path = download.fetch(REPO, None, kind="config")
    assert sorted(file.name for file in path.iterdir()) == ["config.json", "generation_config.json"]
    assert not asked(hub, "model.safetensors") and not asked(hub, "model.safetensors", "HEAD")
    assert download.cached(REPO, commit, "config") == path and download.cached(REPO, commit) is None
    hub.patch(monkeypatch, tmp_path / "home", offline=True)
    assert download.fetch(REPO, commit, kind="config") == path
    refused("not in the Hugging Face cache", revision=commit)


def test_a_config_that_is_not_there(hub):
    hub.add(REPO, {"README.md": b"masks", "generation_config.json": b"{}"})
    refused("offers no config.json; found README.md", "a commit that has config.json", kind="config")


def test_a_truncated_config(hub):
    hub.add(REPO, FILES, served={"config.json": b"{"})
    refused("config.json", kind="config")


def test_the_token_goes_to_the_hub_and_not_to_its_storage(hub, monkeypatch):
    hub.add(REPO, FILES, gated=True, admitted={"good-token"})
    monkeypatch.setenv("HF_TOKEN", "good-token")
    download.fetch(REPO, None)
    assert {request.token for request in hub.requests if request.host == "127.0.0.1"} == {"good-token"}
    assert {request.token for request in hub.requests if request.host == "localhost"} == {None}


def test_another_process_finds_the_hub_by_its_environment(tmp_path):
    """As the rules do it: HF_ENDPOINT, then offline from the cache, which needs no hub."""
    code = (
        "import sys; from sparse_continual.bases import download\n"
        "print(download.fetch('owner/name', sys.argv[1], to_load=False))"
    )

    def run(commit, **options):
        environment = hub.environment(tmp_path / "home", **options) | {
            "PYTHONPATH": os.pathsep.join(sys.path)
        }
        done = subprocess.run(
            [sys.executable, "-c", code, commit], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return Path(done.stdout.strip())

    with fake_hub.FakeHub() as hub:
        commit = hub.add(REPO, FILES)
        path = run(commit)
        assert (path / "model.safetensors").read_bytes() == WEIGHTS
        assert path.is_relative_to(tmp_path / "home")
    assert run(commit, offline=True) == path


# ---- the cache


def test_offline_everything_comes_from_the_cache(hub, monkeypatch, tmp_path):
    commit = hub.add(REPO, FILES)
    path = download.fetch(REPO, None)
    hub.patch(monkeypatch, tmp_path / "home", offline=True)
    hub.requests.clear()
    assert download.fetch(REPO, commit) == path
    assert download.fetch(REPO, None) == path
    assert hub.requests == []


def test_offline_without_the_files(hub, monkeypatch, tmp_path):
    commit = hub.add(REPO, FILES)
    hub.patch(monkeypatch, tmp_path / "home", offline=True)
    refused(f"at {commit}", "not in the Hugging Face cache", "offline", "network", revision=commit)
    refused("not in the Hugging Face cache", "offline", "network")


def test_offline_with_a_shard_missing(hub, monkeypatch, tmp_path):
    commit = hub.add(REPO, FILES)
    path = download.fetch(REPO, commit)
    (path / "model.safetensors").unlink()
    hub.patch(monkeypatch, tmp_path / "home", offline=True)
    assert download.cached(REPO, commit) is None
    refused("not in the Hugging Face cache", revision=commit)


def test_a_cache_that_another_program_filled_serves_too(hub, monkeypatch, tmp_path):
    """transformers fetches file by file and leaves no listing."""
    from huggingface_hub import hf_hub_download

    commit = hub.add(REPO, FILES)
    for name in FETCHED:
        path = Path(hf_hub_download(REPO, name, revision=commit)).parent
    assert not (path.parent.parent / "trees").exists()
    hub.patch(monkeypatch, tmp_path / "home", offline=True)
    assert download.fetch(REPO, commit) == path


def test_a_hub_that_is_down_is_as_good_as_offline(hub):
    commit = hub.add(REPO, FILES)
    path = download.fetch(REPO, commit)
    hub.repositories[REPO].status = 503
    assert download.fetch(REPO, commit) == path
    hub.add("owner/other", FILES, status=500)
    refused("not downloadable", "500", repo="owner/other")


def test_a_hub_out_of_reach(hub, monkeypatch, tmp_path):
    commit = hub.add(REPO, FILES)
    path = download.fetch(REPO, commit)
    hub.stop()
    assert download.fetch(REPO, commit) == path
    refused("not downloadable", "network", repo="owner/other")


def test_what_is_planned_needs_no_request(hub, monkeypatch, tmp_path):
    commit = hub.add(REPO, FILES)
    entry = {"repo": REPO, "revision": commit, "kind": "weights", "bytes": 7, "licence": "mit", "gated": True}
    hub.requests.clear()
    plan = download.planned(entry)
    assert plan | {"free": 0} == {
        "bytes": 7, "licence": "mit", "gated": True, "token": False, "cached": False, "free": 0
    }  # fmt: skip
    assert plan["free"] == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    assert hub.requests == []
    download.fetch(REPO, commit)
    monkeypatch.setenv("HF_TOKEN", "good-token")
    plan = download.planned(entry)
    assert plan["cached"] and plan["token"]


# ---- who is let in


def test_gated(hub, monkeypatch):
    hub.add(REPO, FILES, gated=True, admitted={"good-token"})
    refused("gated, and you have no token", f"{hub.url}/{REPO}", "HF_TOKEN", "hf auth login")
    monkeypatch.setenv("HF_TOKEN", "stranger-token")
    refused("gated, and your token is not admitted", f"{hub.url}/{REPO}")
    assert not asked(hub, "model.safetensors") and not asked(hub, "model.safetensors", "HEAD")
    monkeypatch.setenv("HF_TOKEN", "good-token")
    download.fetch(REPO, None)


def test_a_token_that_is_not_valid(hub, monkeypatch):
    hub.add(REPO, FILES)
    monkeypatch.setenv("HF_TOKEN", "mistyped")
    refused("your token is not valid", "HF_TOKEN")


def test_missing(hub, monkeypatch):
    refused("no such public repository", "HF_TOKEN")
    monkeypatch.setenv("HF_TOKEN", "good-token")
    assert "HF_TOKEN" not in refused("no such public repository")


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (401, "no such public repository"),
        (403, "access is refused"),
        (404, "no such public"),
        (429, "wait a few minutes"),
    ],
)
def test_refusals_that_carry_a_status_alone(hub, status, word):
    hub.add(REPO, FILES, status=status)
    refused(word)


@pytest.mark.parametrize(
    ("status", "word"),
    [(403, "access is refused"), (404, "no such public"), (500, "the hub answers 500")],
)
def test_refusals_of_files_alone(hub, status, word):
    """A fine-grained token may list a repository and not read it."""
    hub.add(REPO, FILES, file_status=status)
    refused(word)


def test_a_wrong_revision(hub):
    hub.add(REPO, FILES)
    refused("at " + "f" * 40, "no such commit", revision="f" * 40)
    refused("at absent", "no such commit", revision="absent")


@pytest.mark.parametrize("repo", ["name", "a/b/c", "https://x.y/a", "../up", "a/b..c", ""])
def test_odd_names(repo):
    with pytest.raises(UserError, match="owner/name"):
        download.fetch(repo, None)


# ---- what breaks on the way


def test_a_cut_connection_is_taken_up_where_it_broke(hub):
    hub.add(REPO, FILES, cut={"model.safetensors": [125_000, 50_000]})
    path = download.fetch(REPO, None)
    assert (path / "model.safetensors").read_bytes() == WEIGHTS
    ranges = [request.range for request in asked(hub, "model.safetensors")]
    assert ranges == [None, "bytes=120000-", "bytes=170000-"]


def test_a_connection_that_breaks_for_good(hub):
    shards = {f"model-0000{n}-of-00002.safetensors": bytes([n]) * 50_000 for n in (1, 2)}
    files = {name: FILES[name] for name in FETCHED if name != "model.safetensors"} | shards
    commit = hub.add(REPO, files, cut={"model-00002-of-00002.safetensors": [0] * 20})
    refused("the download stopped", "run this again")
    hub.repositories[REPO].cut.clear()
    hub.requests.clear()
    path = download.fetch(REPO, commit)
    assert all((path / name).read_bytes() == data for name, data in files.items())
    assert not asked(hub, "config.json")  # whole files stayed


def test_a_truncated_file(hub):
    commit = hub.add(REPO, FILES, served={"model.safetensors": WEIGHTS[:-1]})
    refused("the download stopped", "300000", "299999", revision=commit)
    hub.repositories[REPO].served.clear()
    assert (download.fetch(REPO, commit) / "model.safetensors").read_bytes() == WEIGHTS


def test_a_small_file_that_differs_from_the_listing(hub):
    commit = hub.add(REPO, FILES | {"tokenizer.json": b"{ }"}, served={"tokenizer.json": b"{"})
    refused("tokenizer.json has 1 bytes, but the hub lists 3", revision=commit)
    hub.repositories[REPO].served.clear()
    assert (download.fetch(REPO, commit) / "tokenizer.json").read_bytes() == b"{ }"


def test_a_digest_that_differs(hub):
    wrong = bytes(1) + WEIGHTS[1:] if WEIGHTS[0] else b"\1" + WEIGHTS[1:]
    commit = hub.add(REPO, FILES, served={"model.safetensors": wrong})
    line = refused(
        "model.safetensors has SHA-256", "removed from the cache", "run this again", revision=commit
    )
    assert hashlib.sha256(wrong).hexdigest() in line and hashlib.sha256(WEIGHTS).hexdigest() in line
    assert download.cached(REPO, commit) is None
    hub.repositories[REPO].served.clear()
    assert (download.fetch(REPO, commit) / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("offline", [False, True])
def test_a_file_that_rotted_in_the_cache(hub, monkeypatch, tmp_path, offline):
    commit = hub.add(REPO, FILES)
    path = download.fetch(REPO, commit)
    rotten = bytearray(WEIGHTS)
    rotten[5] ^= 1
    blob(path / "model.safetensors").write_bytes(rotten)
    hub.patch(monkeypatch, tmp_path / "home", offline=offline)
    refused("model.safetensors has SHA-256", revision=commit)
    hub.patch(monkeypatch, tmp_path / "home")
    assert (download.fetch(REPO, commit) / "model.safetensors").read_bytes() == WEIGHTS


Usage = namedtuple("Usage", "total used free")


def test_no_room_on_the_disk(hub, monkeypatch, tmp_path):
    hub.add(REPO, FILES)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda place: Usage(1, 1, 299_999))
    refused("needs 300000 bytes", "299999 bytes are free", str(tmp_path / "home" / "hub"), "HF_HOME")
    assert not asked(hub, "model.safetensors")
    monkeypatch.setattr(download.shutil, "disk_usage", lambda place: Usage(1, 1, 300_000))
    path = download.fetch(REPO, None)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda place: Usage(1, 1, 0))
    assert download.fetch(REPO, None) == path  # what is there needs no room


def test_room_for_converted_pickles_is_asked_for_before(hub, monkeypatch, tmp_path):
    pickle = os.urandom(20_000_000)
    hub.add(REPO, {"config.json": FILES["config.json"], "pytorch_model.bin": pickle})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda place: Usage(1, 1, 39_000_000))
    refused("needs 0.04 GB", "where 0.04 GB are free", folder=tmp_path / "made", convert_pickles=True)
    assert not asked(hub, "pytorch_model.bin")


def test_a_disk_that_fills_up_on_the_way(hub, monkeypatch):
    import huggingface_hub

    def full(*_, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    hub.add(REPO, FILES)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    refused("is full", "free", "HF_HOME")


def test_a_cache_that_cannot_be_written(hub, tmp_path):
    hub.add(REPO, FILES)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "hub").write_text("a file where the cache should be")
    refused("the cache cannot be written", "HF_HOME")


# ---- what a repository offers


def test_a_repository_without_weights(hub):
    hub.add(REPO, {"config.json": b"{}", "model.gguf": b"GGUF", "adapter.pt": b"x"})
    refused("offers no safetensors weights", "adapter.pt", "model.gguf")


def test_a_repository_without_a_config(hub):
    hub.add(REPO, {"model.safetensors": WEIGHTS})
    refused("offers no config.json")
    assert not asked(hub, "model.safetensors")


ODD = b'{"model_type": "odd", "auto_map": {"AutoModelForCausalLM": "modeling_odd.OddForCausalLM"}}'


def test_custom_code_is_refused_before_the_weights_are_fetched(hub):
    hub.add(REPO, FILES | {"config.json": ODD})
    refused("(odd)", "own code", "trust_remote_code: true")
    assert not asked(hub, "model.safetensors") and not asked(hub, "modeling_odd.py")
    path = download.fetch(REPO, None, to_load=False)
    assert (path / "model.safetensors").exists() and not (path / "modeling_odd.py").exists()
    assert (download.fetch(REPO, None, trust_remote_code=True) / "modeling_odd.py").exists()


def test_code_beside_a_model_that_transformers_knows_is_left_there(hub):
    hub.add(REPO, FILES | {"config.json": ODD.replace(b'"odd"', b'"mpt"')})
    assert not (download.fetch(REPO, None) / "modeling_odd.py").exists()


def test_an_architecture_that_nobody_knows(hub):
    hub.add(REPO, FILES | {"config.json": b'{"model_type": "odd"}'})
    refused("model_type 'odd'", "does not know")
    refused("model_type 'odd'", trust_remote_code=True)


# ---- pickles


def pickled(value) -> bytes:
    import io

    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def tensors():
    import torch

    embedding = torch.randn(6, 4)
    return {
        "model.embed.weight": embedding,
        "lm_head.weight": embedding,  # tied: one storage, two names
        "model.a.weight": torch.randn(4, 6).t(),  # not contiguous
        "model.b.weight": torch.randn(3, 5).bfloat16(),
        "model.c.weight": -torch.zeros(2, 2),
    }


def read(folder) -> dict:
    from safetensors.torch import load_file

    return {
        name: t for file in sorted(Path(folder).glob("*.safetensors")) for name, t in load_file(file).items()
    }


def same(found, expected) -> None:
    import torch

    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name
    assert torch.signbit(found["model.c.weight"]).all()


def test_pickles_are_refused_unless_allowed(hub, tensors):
    hub.add(REPO, {"config.json": FILES["config.json"], "pytorch_model.bin": pickled(tensors)})
    refused("pickled weights (pytorch_model.bin)", "can run code", "convert_pickles: true")
    assert not asked(hub, "pytorch_model.bin")


def test_pickles_are_converted_where_allowed(hub, tensors, tmp_path):
    hub.add(
        REPO,
        {
            "config.json": FILES["config.json"],
            "tokenizer.json": b"{}",
            "pytorch_model.bin": pickled(tensors),
            "README.md": b"",
        },
    )
    made = tmp_path / "store" / "model"
    made.mkdir(parents=True)
    (made / "old").touch()  # it is replaced
    assert download.fetch(REPO, None, made, convert_pickles=True) == made
    assert sorted(p.name for p in made.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert [p.name for p in made.parent.iterdir()] == ["model"]
    same(read(made), tensors)


def test_pickled_shards_become_shards_with_an_index(tensors, tmp_path):
    from sparse_continual.models.checkpoint import check_checkpoint, weight_files

    names = list(tensors)
    shards = [{name: tensors[name] for name in part} for part in (names[:2], names[2:])]
    files = {f"pytorch_model-0000{n}-of-00002.bin": pickled(shard) for n, shard in enumerate(shards, 1)}
    index = {"weight_map": {name: file for file, shard in zip(files, shards, strict=True) for name in shard}}
    small = {"config.json": FILES["config.json"], "tokenizer.json": b"{}"}
    (tmp_path / "from").mkdir()
    for name, data in (small | files | {"pytorch_model.bin.index.json": json.dumps(index).encode()}).items():
        (tmp_path / "from" / name).write_bytes(data)
    made = tmp_path / "made"
    convert.convert(tmp_path / "from", made)
    check_checkpoint(made)
    assert [p.name for p in weight_files(made)] == [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    assert not list(made.glob("*bin*"))
    same(read(made), tensors)


def test_safetensors_are_preferred(hub, tensors, tmp_path):
    hub.add(REPO, FILES | {"pytorch_model.bin": pickled(tensors)})
    path = download.fetch(REPO, None, tmp_path / "made", convert_pickles=True)
    assert not (path / "pytorch_model.bin").exists() and not (tmp_path / "made").exists()


class Attack:
    """A pickle that writes a file when it is read carelessly."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_a_pickle_that_runs_code_is_refused(hub, tmp_path):
    import torch

    mark = tmp_path / "ran"
    data = pickled({"model.a.weight": torch.zeros(2), "x": Attack(mark)})
    hub.add(REPO, {"config.json": FILES["config.json"], "pytorch_model.bin": data})
    refused("pytorch_model.bin: not a pickle of tensors only", folder=tmp_path / "made", convert_pickles=True)
    assert not mark.exists() and not (tmp_path / "made").exists()
    (tmp_path / "file.bin").write_bytes(data)
    torch.load(tmp_path / "file.bin", weights_only=False)
    assert mark.exists()  # the attack is one


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: data[: len(data) // 2], "cut off"),
        (lambda data: b"not a pickle", "not a pickle"),
        (lambda data: pickled({"epoch": 3}), "'epoch' is a int, expected named tensors"),
        (lambda data: pickled([1, 2]), "is a list, expected named tensors"),
        (lambda data: pickled({"state": {"a": 1}}), "'state' is a dict, expected named tensors"),
    ],
)
def test_pickles_that_are_no_weights(tensors, tmp_path, spoil, words):
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "pytorch_model.bin").write_bytes(spoil(pickled(tensors)))
    with pytest.raises(UserError, match="pytorch_model.bin") as caught:
        convert.convert(tmp_path / "from", tmp_path / "made")
    assert words in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["from"]


def test_a_conversion_that_breaks_leaves_what_was_there(tensors, tmp_path):
    (tmp_path / "from").mkdir()
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "old").touch()
    (tmp_path / "from" / "pytorch_model-00001-of-00002.bin").write_bytes(pickled(tensors))
    (tmp_path / "from" / "pytorch_model-00002-of-00002.bin").write_bytes(b"cut")
    with pytest.raises(UserError, match="00002-of-00002.bin"):
        convert.convert(tmp_path / "from", tmp_path / "made")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["from", "made"]
    assert [p.name for p in (tmp_path / "made").iterdir()] == ["old"]


def test_a_disk_that_fills_up_while_converting(tensors, tmp_path, monkeypatch):
    import safetensors.torch

    def full(*_, **options):
        raise safetensors.SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "pytorch_model.bin").write_bytes(pickled(tensors))
    with pytest.raises(UserError, match="model.safetensors: cannot be written .*No space left"):
        convert.convert(tmp_path / "from", tmp_path / "made")
    assert [p.name for p in tmp_path.iterdir()] == ["from"]


def test_pickles_of_old_torch_are_read_too(tensors, tmp_path):
    import torch

    (tmp_path / "from").mkdir()
    torch.save(tensors, tmp_path / "from" / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    convert.convert(tmp_path / "from", tmp_path / "made")
    same(read(tmp_path / "made"), tensors)


def test_the_process_that_opens_pickles_is_another_and_has_no_token(hub, tensors, tmp_path, monkeypatch):
    seen = {}

    def run(command, env, **options):
        seen.update(command=command, env=env)
        return subprocess.CompletedProcess(command, -9, "", "")

    monkeypatch.setenv("HF_TOKEN", "good-token")
    hub.add(REPO, {"config.json": FILES["config.json"], "pytorch_model.bin": pickled(tensors)})
    monkeypatch.setattr(download.subprocess, "run", run)
    refused("killed by signal 9", "memory", folder=tmp_path / "made", convert_pickles=True)
    assert seen["command"][0] == sys.executable and "HF_TOKEN" not in seen["env"]


# ---- as a base


def test_a_base_of_the_hub(hub, tmp_path):
    """The hub source: downloaded, loaded, and told what it is; pickles of the same model give the same weights."""
    import torch
    from safetensors.torch import load_file

    from sparse_continual.bases.sources import hub as source
    from sparse_continual.models.load import load_model, save_model
    from sparse_continual.streams.lexicon import tokenizer

    model = _tiny_llama()
    save_model(model, tokenizer(), tmp_path / "saved")
    files = fake_hub.files_of(tmp_path / "saved")
    commit = hub.add(REPO, files)
    settings = {"repo": REPO, "revision": commit}
    assert source.shape(settings) == {}
    facts = source.obtain(settings, 0, tmp_path / "model", [])
    assert (facts["repo"], facts["commit"], facts["model_type"]) == (REPO, commit, "llama")
    assert facts["parameters"] == sum(p.numel() for p in model.parameters())
    assert (
        facts["downloaded"]["model.safetensors"]["sha256"]
        == hashlib.sha256(files["model.safetensors"]).hexdigest()
    )
    assert source.shape(settings)["hidden_size"] == 16 and not (tmp_path / "model").exists()
    weights = load_file(tmp_path / "saved" / "model.safetensors")
    pickles = {name: data for name, data in files.items() if name != "model.safetensors"}
    commit = hub.add("owner/pickles", pickles | {"pytorch_model.bin": pickled(weights)})
    settings = {"repo": "owner/pickles", "revision": commit, "convert_pickles": True}
    facts = source.obtain(settings, 0, tmp_path / "model", [])
    assert facts["folder"] == str(tmp_path / "model")
    for (name, one), two in zip(
        model.named_parameters(), load_model(facts["folder"]).parameters(), strict=True
    ):
        assert torch.equal(one, two), name


def _tiny_llama():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from sparse_continual.streams.lexicon import vocabulary

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary()),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=32,
            tie_word_embeddings=True,
        )
    )

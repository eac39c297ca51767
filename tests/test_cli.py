"""The command: one line per mistake and no traceback; what it writes and says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sparse_continual import cli
from sparse_continual.verdicts import registration

ROOT = Path(__file__).resolve().parents[1]
NOBODY = 65534  # the number of a user without rights

from fake_hub import FakeHub, files_of  # noqa: E402


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def overlay(path, **study):
    path.write_text(yaml.safe_dump({"study": study}))
    return str(path)


def test_register_writes_once_and_says_what_n_can_detect(here, capsys):
    file = overlay(here / "a.yaml", name="trial", phase="confirmatory", blocks=8)
    more = overlay(here / "b.yaml", blocks=10)
    assert cli.main(["register", "--configfile", file, more]) == 0
    out = capsys.readouterr().out
    path = here / "studies" / "trial.preregistration.yaml"
    made = registration.read(path)
    assert len(made["design"]["blocks"]) == 10  # the later file wins, as with snakemake
    assert made["sha256"] in out and "n = 10 blocks; 6 separate confirmatory claims" in out
    assert out.rstrip().endswith("Commit studies/trial.preregistration.yaml before the first run.")
    before = path.read_bytes()
    assert cli.main(["register", "--configfile", file]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "never overwritten" in captured.err
    assert path.read_bytes() == before


def test_runs_that_are_there_already_are_said(here, capsys):
    from sparse_continual.study.study import Study

    file = overlay(here / "a.yaml", name="trial", phase="confirmatory")
    run = Path(Study(cli.checked_config([file])).runs("people")[0].run.manifest)
    run.parent.mkdir(parents=True)
    run.write_text("{}")
    assert cli.main(["register", "--configfile", file]) == 0
    assert "1 runs of this design exist already" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text, line",
    [
        ("study: {phase: demonstration}", "study.phase: found demonstration, expected confirmatory"),
        ("study: {phase: confirmatory, claims: null}", "study.claims: found no confirmatory claim"),
        ("study: {phase: confirmed}", "config: study.phase: found 'confirmed'"),
        ("study: {blocks: 0}", "config: study.blocks: found 0"),
        ("study: [", "a.yaml: not valid YAML"),
        ("- study", "a.yaml: found no keys"),
        (None, "a.yaml: no such file; expected a YAML file"),
    ],
)
def test_mistakes(here, capsys, text, line):
    if text is not None:
        (here / "a.yaml").write_text(text)
    assert cli.main(["register", "--configfile", "a.yaml"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith(line) and captured.err.count("\n") == 1
    assert not (here / "studies").exists()


def test_reanalyse(here, capsys):
    assert cli.main(["reanalyse", str(ROOT / "studies" / "reanalysis.yaml")]) == 0
    assert "intervals" in capsys.readouterr().out
    assert cli.main(["reanalyse", "none.yaml"]) == 1
    assert capsys.readouterr().err.startswith("none.yaml: no such file")


@pytest.fixture
def checkpoints(here):
    """Folders `dense` and `sparse` (2:4) of one tiny Llama, and `config`, without weights, of a mixture."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=32, **sizes))
    model.save_pretrained("dense")
    with torch.no_grad():
        for name, weight in model.model.layers.named_parameters():
            if "proj" in name:
                weight.mul_(torch.tensor([1, 0, 1, 0]).repeat(weight.shape[1] // 4))
    model.save_pretrained("sparse")
    (here / "config").mkdir()
    (here / "config" / "config.json").write_text('{"model_type": "mixtral"}')


def test_audit_on_the_terminal(checkpoints, capsys):
    assert cli.main(["audit", "dense", "sparse", "config"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line and line[0].isdigit()] == [
        "1. dense: dense",
        "2. sparse: fixed-topology",
        "3. config: activation-sparse",
    ]
    assert "2 within 1" in lines[-1] and max(map(len, lines)) <= 120


def test_audit_without_a_count_has_its_own_status(checkpoints, here, capsys):
    """A mistake in another checkpoint outweighs it; one that counts does not hide it."""
    (here / "llama").mkdir()
    (here / "llama" / "config.json").write_text('{"model_type": "llama"}')
    assert cli.main(["audit", "llama", "dense"]) == 3
    assert "1. llama: not-counted" in capsys.readouterr().out
    assert cli.main(["audit", "dense", "--config-only"]) == 3
    assert cli.main(["audit", "llama", "nowhere"]) == 1
    assert cli.main(["audit", "config", "--config-only"]) == 0, (
        "experts are in the config: nothing is left open"
    )


@pytest.mark.parametrize(
    "arguments",
    [["sparse", "config", "--json"], ["--json", "sparse", "config"], ["sparse", "config", "--json", "-"]],
)
def test_audit_as_json(checkpoints, capsys, arguments):
    assert cli.main(["audit", *arguments]) == 0
    sparse, config = json.loads(capsys.readouterr().out)
    assert (sparse["path"], sparse["verdict"], sparse["pattern"]) == ("sparse", "fixed-topology", "2:4")
    assert sparse["density"] == 0.5 and sparse["declared"] is None and sparse["moe"] is None
    assert len(sparse["matrices"]) == 9 and sparse["reason"].startswith("fixed topology (2:4)")
    assert config["verdict"] == "activation-sparse" and config["matrices"] == []
    assert sparse["compared"] == []
    assert (config["moe"]["experts"], config["moe"]["active_experts"]) == (8, 2)
    assert config["moe"]["total_parameters"] == 46702792704


def test_audit_to_files(checkpoints, here, capsys):
    files = ["--json", "a.json", "--csv", "a.csv", "--figure", "a.svg"]
    assert cli.main(["audit", "sparse", *files]) == 0
    assert capsys.readouterr().out.startswith("sparse: fixed-topology")
    (report,) = json.loads((here / "a.json").read_text())
    assert len((here / "a.csv").read_text().splitlines()) == 1 + len(report["matrices"])
    assert "<svg" in (here / "a.svg").read_text()


@pytest.mark.parametrize(
    "arguments, line",
    [
        ([], "audit: found no checkpoint"),
        (["nowhere"], "nowhere: no such folder"),
        (["file"], "file: is a file, expected a folder; give its folder, .\n"),
        (
            ["dense/model.safetensors"],
            "dense/model.safetensors: is a file, expected a folder; give its folder, dense\n",
        ),
        (["."], ".: no config.json"),
        (["dense", "--csv", "new.csv", "--figure", "a.gif"], "a.gif: found .gif, expected .png"),
        (["dense", "--csv", "new.csv", "--figure", "a"], "a: found no ending, expected .png"),
        (["config", "--csv", "new.csv", "--figure", "a.svg"], "a.svg: no block matrix was counted"),
        (["dense", "--csv", "new.csv", "--json", "file/a.json"], "file/a.json: "),
        (["dense", "--json", "new.csv", "--csv", "dense"], "dense: is a folder, expected the name of a file"),
        (["dense", "--csv", "/proc/self/a.csv"], "/proc/self/a.csv: cannot be written"),
    ],
)
def test_audit_mistakes(checkpoints, here, capsys, arguments, line):
    (here / "file").touch()
    assert cli.main(["audit", *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith(line) and captured.err.count("\n") == 1
    assert not (here / "new.csv").exists()


@pytest.fixture
def someone(here):
    """A function (path, rights) that sets them, after which nobody calls the command who has a right to everything."""

    def limited(path, rights):
        for file in (here, *here.rglob("*")):
            file.chmod(0o755)
        path.chmod(rights)
        if not os.geteuid():
            os.seteuid(NOBODY)
            try:
                os.listdir(ROOT / "workflow" / "sparse_continual")
            except PermissionError:
                pytest.skip(
                    f"{ROOT} may be read by its owner alone: no other user can run the command from there"
                )

    before = os.geteuid()
    yield limited
    os.seteuid(before)


@pytest.mark.parametrize(
    "path, rights, line",
    [
        ("dense", 0o000, "dense/config.json: cannot be read (Permission denied); expected a checkpoint"),
        ("dense", 0o111, "dense: cannot be read (Permission denied); expected a checkpoint"),
        (
            "dense/config.json",
            0o000,
            "dense/config.json: cannot be read (Permission denied); expected a JSON",
        ),
        (
            "dense/model.safetensors",
            0o000,
            "dense/model.safetensors: cannot be read (Permission denied); expected a safetensors file",
        ),
    ],
)
def test_what_may_not_be_read_is_named(checkpoints, here, someone, capsys, path, rights, line):
    if rights == 0o111:  # the folder may be entered, but what it holds is not listed
        (here / "dense" / "model.safetensors").unlink()
    cli.main(["audit", "config"])  # what it imports may be root's
    capsys.readouterr()
    someone(here / path, rights)
    assert cli.main(["audit", "dense", "config"]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("config: ") and captured.err.startswith(line)
    assert captured.err.count("\n") == 1


def test_a_full_disk_is_reported(checkpoints, monkeypatch, capsys):
    from sparse_continual import files

    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    for option in ("--csv", "--json"):
        assert cli.main(["audit", "dense", option, "a.txt"]) == 1
        captured = capsys.readouterr()
        assert captured.err == "a.txt: cannot be written (No space left on device)\n"


def test_one_broken_checkpoint_leaves_the_others_their_reports(checkpoints, here, capsys):
    (here / "broken").mkdir()
    (here / "broken" / "config.json").write_text("{")
    assert cli.main(["audit", "dense", "broken", "nowhere", "sparse", "--csv", "a.csv"]) == 1
    captured = capsys.readouterr()
    first, second = captured.err.splitlines()
    assert first.startswith("broken/config.json: line 1") and second.startswith("nowhere: no such folder")
    assert captured.out.startswith("1. dense: dense\n") and "\n2. sparse: fixed-topology\n" in captured.out
    assert "2 within 1" in captured.out and {
        line.split(",")[0] for line in (here / "a.csv").read_text().splitlines()[1:]
    } == {"dense", "sparse"}
    assert cli.main(["audit", "broken", "config", "--json"]) == 1
    (report,) = json.loads(capsys.readouterr().out)
    assert report["path"] == "config" and report["revision"] is None


def test_audit_of_repositories(checkpoints, here, monkeypatch, capsys):
    """A published name is held against its entry in the registry; pickles are read once they may be converted."""
    import torch
    from safetensors.torch import load_file

    files = files_of("sparse")
    pickled = {"config.json": files["config.json"]}
    torch.save(load_file("sparse/model.safetensors"), "weights.bin")
    pickled["pytorch_model.bin"] = (here / "weights.bin").read_bytes()
    with FakeHub() as hub:
        commit = hub.add("RedHatAI/Sparse-Llama-3.1-8B-2of4", files)
        other = hub.add("someone/pickles", pickled)
        hub.add("someone/closed", files, gated=True)
        hub.patch(monkeypatch, here / "cache")
        words = ["Sparse-Llama-3.1-8B-2of4", "someone/pickles", "--convert-pickles", "converted"]
        assert cli.main(["audit", *words, "--json"]) == 0
        published, converted = json.loads(capsys.readouterr().out)
        assert published["declared"]["source"] == "registry" and published["declared"]["contradictions"] == []
        assert published["density"] == converted["density"] == 0.5 and converted["declared"] is None
        assert (here / "converted" / "someone--pickles" / "config.json").is_file()
        assert (published["revision"], converted["revision"]) == (commit, other)
        for more, status in (([], 0), (["--config-only"], 3)):
            assert cli.main(["audit", words[0], *more]) == status
            assert f"Read at commit {commit}." in capsys.readouterr().out
        for repo, line in (
            ("someone/pickles", "pickled weights"),
            ("someone/closed", "gated"),
            ("no/one", "no such"),
        ):
            assert cli.main(["audit", repo]) == 1
            captured = capsys.readouterr()
            last = captured.err.splitlines()[-1]  # after the bar of the download
            assert captured.out == "" and last.startswith(f"hub: {repo}") and line in last


def test_audit_of_a_repository_by_its_config_alone(checkpoints, here, monkeypatch, capsys):
    """Weights of such a model would not fit on the disk; in a folder, they are left alone."""
    files = files_of("config") | {"model-00001-of-00900.safetensors": b"a terabyte"}
    with FakeHub() as hub:
        hub.add("someone/giant", files | {"model.safetensors.index.json": b"{}"})
        hub.patch(monkeypatch, here / "cache")
        assert cli.main(["audit", "someone/giant", "sparse", "--config-only", "--json"]) == 3
        giant, sparse = json.loads(capsys.readouterr().out)
        assert (giant["verdict"], giant["moe"]["experts"], giant["matrices"]) == ("activation-sparse", 8, [])
        assert "no weight was counted" in giant["reason"] and "no weight was counted" in sparse["reason"]
        assert not any("safetensors" in request.path for request in hub.requests)
        assert cli.main(["audit", "no/one", "--config-only"]) == 1
        assert capsys.readouterr().err.splitlines()[-1].startswith("hub: no/one")


@pytest.mark.parametrize(
    "arguments",
    [
        ["audit", "config"],
        ["audit", "config", "--json"],
        ["reanalyse", str(ROOT / "studies" / "reanalysis.yaml")],
        ["register", "--configfile", "a.yaml"],
        ["audit", "--help"],
    ],
)
def test_a_reader_that_goes_away_is_no_error(here, monkeypatch, capsys, arguments):
    """As `| head` does once it has read enough."""
    overlay(here / "a.yaml", name="trial", phase="confirmatory")
    (here / "config").mkdir()
    (here / "config" / "config.json").write_text('{"model_type": "mixtral"}')
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "stdout", os.fdopen(writer, "w"))
    assert cli.main(arguments) == 141
    sys.stdout.close()  # as at exit: nothing is left over that fails
    assert capsys.readouterr().err == ""


def test_output_that_cannot_be_written_ends_as_one_line(here, monkeypatch, capsys):
    (here / "config").mkdir()
    (here / "config" / "config.json").write_text('{"model_type": "mixtral"}')
    monkeypatch.setattr(sys, "stdout", open("/dev/full", "w"))
    assert cli.main(["audit", "config"]) == 1
    sys.stdout.close()
    assert capsys.readouterr().err == "standard output: cannot be written (No space left on device)\n"


@pytest.fixture
def odd_logs(here):
    """reanalysis.yaml with letters beyond ASCII, and half a letter, in its names and in those of its tasks."""
    tasks = ["dbpédia", "yah\udcff"]
    for name, score in (("a", 70.0), ("b", 60.0)):
        for k, task in enumerate(tasks, 1):
            folder = os.fsencode(here / name) + f"/{k}-{task}".encode("utf-8", "surrogateescape")
            os.makedirs(folder)
            found = {f"predict_exact_match_for_{each}": score + k for each in tasks[:k]}
            Path(os.fsdecode(folder), "all_results.json").write_text(json.dumps(found))
    sides = [
        {
            "method": "Größe",
            "importer": "o_lora",
            "logs": [log],
            "source": "\u201cTable 1\u201d",
            "confirmed": True,
        }
        for log in ("a", "b")
    ]
    entry = {
        "name": "Ä - B \ud800",
        "blocks": ["ö"],
        "plus": sides[0],
        "minus": sides[1],
        "note": "\U0001f600",
    }
    (here / "reanalysis.yaml").write_text(json.dumps({"comparisons": [entry]}))
    (here / "wrong.yaml").write_text(json.dumps({"comparisons": [{**entry, "blocks": ["ö", "ü"]}]}))
    return here


ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
ENVIRONMENTS = [ASCII, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": "C.UTF-8"}]


def program(environment, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "sparse_continual.cli", *arguments],
        capture_output=True,
        env={"PYTHONPATH": str(ROOT / "workflow"), **environment},
    )


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_reanalyse_on_any_terminal(odd_logs, environment):
    found = program(environment, "reanalyse", "reanalysis.yaml")
    assert (found.returncode, found.stderr) == (0, b"")
    said = found.stdout.decode()
    utf8 = "UTF-8" in environment["LC_ALL"]
    assert ("| ö | 72.00 | 62.00 | +10.00 |" if utf8 else "| \\xf6 | 72.00 | 62.00 | +10.00 |") in said
    assert "B \\ud800" in said and ("Größe" if utf8 else "Gr\\xf6\\xdfe") in said
    found = program(environment, "reanalyse", "wrong.yaml")
    assert found.returncode == 1 and found.stdout == b""
    assert b"1 values or logs for 2 blocks" in found.stderr and b"Traceback" not in found.stderr


def test_audit_of_a_folder_whose_name_is_no_text(checkpoints, here):
    name = "dänse".encode() + b"half\xff"  # a letter beyond ASCII, and half a letter
    (here / "dense").rename(here / os.fsdecode(name))
    found = program(ASCII, "audit", name, "--csv", "a.csv", "--figure", "a.svg")
    assert (found.returncode, found.stderr) == (0, b""), found.stderr
    shown = name.decode("utf-8", "backslashreplace")
    assert found.stdout.decode().startswith(shown.encode("ascii", "backslashreplace").decode())
    assert (here / "a.csv").read_text(encoding="utf-8").splitlines()[1].startswith(f"{shown},")


def test_register_on_an_ascii_terminal(here):
    overlay(here / "ü.yaml", name="trial", phase="confirmatory")
    found = program(ASCII, "register", "--configfile", "ü.yaml", "--pilot", "ö")
    assert found.returncode == 1 and found.stdout == b"" and found.stderr.count(b"\n") == 1
    found = program(ASCII, "register", "--configfile", "ü.yaml")
    assert (found.returncode, found.stderr) == (0, b"") and b"registered" in found.stdout


@pytest.mark.parametrize(
    ("importer", "path", "rights", "line"),
    [
        ("o_lora", "a", 0o000, "a: no outputs of O-LoRA (Permission denied); expected folders"),
        ("o_lora", "a", 0o444, "a/1-dbpédia: cannot be read (Permission denied); expected a log"),
        ("o_lora", "a/1-dbpédia", 0o000, "a/1-dbpédia: no results of O-LoRA (Permission denied)"),
        ("o_lora", "a/1-dbpédia/all_results.json", 0o000, "json: cannot be read (Permission denied)"),
        ("trace", "a", 0o000, "a: no results of TRACE (Permission denied); expected files results-"),
        ("mammoth", "log", 0o000, "log: cannot be read (Permission denied); expected a file"),
        ("avalanche", "log", 0o000, "log: cannot be read (Permission denied); expected a file"),
        ("avalanche", "a", 0o755, "a: cannot be read (Is a directory); expected a file"),
        ("mammoth", "a", 0o755, "a: cannot be read (Is a directory); expected a file"),
        ("trace", "log", 0o755, "log: no results of TRACE (Not a directory); expected files results-"),
        ("o_lora", "log", 0o755, "log: no outputs of O-LoRA (Not a directory); expected folders"),
    ],
)
def test_logs_that_may_not_be_read(odd_logs, someone, capsys, importer, path, rights, line):
    content = yaml.safe_load((odd_logs / "reanalysis.yaml").read_text())
    log = path.split("/")[0]
    (odd_logs / "log").write_text("text")
    for key in ("plus", "minus"):
        content["comparisons"][0][key] |= {"importer": importer, "logs": [log]}
    (odd_logs / "reanalysis.yaml").write_text(json.dumps(content))
    someone(odd_logs / path, rights)
    assert cli.main(["reanalyse", "reanalysis.yaml"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and line in captured.err


def test_as_a_program():
    command = [sys.executable, "-m", "sparse_continual.cli"]
    found = subprocess.run(
        [*command, "--help"], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT / "workflow")}
    )
    assert found.returncode == 0 and "register" in found.stdout and "reanalyse" in found.stdout
    assert "audit" in found.stdout
    assert (
        subprocess.run(command, capture_output=True, env={"PYTHONPATH": str(ROOT / "workflow")}).returncode
        == 2
    )


# store


def test_the_store_lists_and_deletes_what_no_study_needs(tmp_path, monkeypatch, capsys):
    from sparse_continual.files import write
    from sparse_continual.study.config import checked, merged
    from sparse_continual.study.study import Study

    tiny = ROOT / "tests" / "workflow" / "tiny.yaml"
    named = ["--configfile", str(tiny), "--replace-workflow-config"]
    monkeypatch.chdir(tmp_path)
    assert cli.main(["store", *named]) == 1
    assert "results/store: no such folder here" in capsys.readouterr().err
    entities = Study(checked(merged([tiny]))).entities()
    for entity in entities:
        write(entity.manifest, "{}")
    assert cli.main(["store", *named, "--delete"]) == 0
    assert capsys.readouterr().out == "results/store: every entry is needed\n"
    old = Path("results/store/runs/dense-00000000")
    write(old / "weights" / "after_001.safetensors", bytes(2_500_000))
    write("results/store/logs/train_condition/dense-00000000.log", "")
    checkpoint = Path("results/store/.resume/runs/dense-00000000")
    write(checkpoint / "state.json", "{}")
    write(
        "results/store/.resume/runs/" + next(e.name for e in entities if e.stage == "runs") + "/state.json",
        "{}",
    )
    kept = {path for path in Path("results").rglob("*") if path.is_file()}
    assert cli.main(["store", *named]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed[0].split() == ["0.0", "MB", str(checkpoint)]
    assert listed[1].split() == ["2.5", "MB", str(old)]
    assert listed[2:] == ["2 entries, 2.5 MB: needed by no study; --delete removes them"]
    assert old.is_dir()
    assert cli.main(["store", *named, "--delete"]) == 0 and not old.exists()
    assert capsys.readouterr().out.endswith("2 entries, 2.5 MB: deleted\n")
    assert {path for path in Path("results").rglob("*") if path.is_file()} == {
        path for path in kept if not {old, checkpoint} & {*path.parents}
    }


def test_the_store_keeps_what_studies_that_are_not_named_rest_on(tmp_path, monkeypatch, capsys):
    """Artifacts that tables of a finished study were made from; nothing is deleted beside an unfinished study."""
    from sparse_continual.files import write, write_json

    monkeypatch.chdir(tmp_path)
    tiny = ROOT / "tests" / "workflow" / "tiny.yaml"
    store = ["store", "--configfile", str(tiny), "--replace-workflow-config"]
    made_from = {"scores/dense-1": ["runs/dense-1"], "runs/dense-1": ["models/base-1"], "models/base-1": []}
    for artifact, inputs in (*made_from.items(), ("runs/dense-2", [])):
        inputs = {f"results/store/{other}/manifest.json": "" for other in inputs}
        write_json(f"results/store/{artifact}/manifest.json", {"inputs": inputs})
    table = Path("results/other/stream/manifests/collect_tables.json")
    write_json(table, {"inputs": {"results/store/scores/dense-1/manifest.json": "", "claims.yaml": ""}})
    write_json("results/other/manifests/write_index.json", {"inputs": {}})

    assert cli.main([*store, "--delete"]) == 1
    assert "results/other: found a study without a report" in capsys.readouterr().err
    assert cli.main(store) == 0
    assert "results/other: a study without a report; it may need" in capsys.readouterr().out
    write("results/other/report/report.html", "")
    write(".snakemake/locks/0.input.lock", "")
    assert cli.main([*store, "--delete"]) == 1
    assert ".snakemake/locks: found a lock" in capsys.readouterr().err
    Path(".snakemake/locks/0.input.lock").unlink()
    whole = table.read_text()
    table.write_text("[]")
    assert cli.main([*store, "--delete"]) == 1
    assert f"{table}: damaged, so the artifacts behind" in capsys.readouterr().err
    table.write_text(whole)
    assert cli.main([*store, "--delete"]) == 0
    left = {
        f"{path.parent.parent.name}/{path.parent.name}"
        for path in Path("results/store").rglob("manifest.json")
    }
    assert left == {*made_from}

"""The command: one line per mistake and no traceback; what it writes and says."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sparse_continual import cli
from sparse_continual.statistics import registration

ROOT = Path(__file__).resolve().parents[1]


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
    from sparse_continual.study import Study

    file = overlay(here / "a.yaml", name="trial", phase="confirmatory")
    run = Path(Study(cli.checked_config([file])).runs("people")[0].run.manifest)
    run.parent.mkdir(parents=True)
    run.write_text("{}")
    assert cli.main(["register", "--configfile", file]) == 0
    assert "1 runs of this design are there already" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text, line",
    [
        ("study: {phase: demonstration}", "study.phase: found demonstration, expected confirmatory"),
        ("study: {phase: confirmatory, claims: null}", "study.claims: found no confirmatory claim"),
        ("study: {phase: confirmed}", "config: study.phase: found 'confirmed'"),
        ("study: {blocks: 0}", "config: study.blocks: found 0"),
        ("study: [", "a.yaml: not valid YAML"),
        ("- study", "a.yaml: found no keys"),
        (None, "a.yaml: cannot be read (No such file or directory)"),
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
    assert capsys.readouterr().err.startswith("none.yaml: cannot be read")


def test_as_a_program():
    command = [sys.executable, "-m", "sparse_continual.cli"]
    found = subprocess.run(
        [*command, "--help"], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT / "workflow")}
    )
    assert found.returncode == 0 and "register" in found.stdout and "reanalyse" in found.stdout
    assert (
        subprocess.run(command, capture_output=True, env={"PYTHONPATH": str(ROOT / "workflow")}).returncode
        == 2
    )

"""Snakemake on copies: of a small study that is run once, and of a wide one of which only the plan is looked at."""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TINY = Path(__file__).with_name("tiny.yaml")


def command(checkout, folder, *arguments):
    """(argument list, environment) of snakemake with the files of `checkout`, in the working directory `folder`."""
    line = [sys.executable, "-m", "snakemake", *arguments, "--snakefile", checkout / "Snakefile"]
    line += ["--directory", folder, "--cores", "2"]
    return [str(word) for word in line], {**os.environ, "PYTHONPATH": str(checkout / "workflow")}


def snakemake(folder, *arguments, checkout=ROOT):
    """Run snakemake in `folder` to its end. Returns the CompletedProcess."""
    line, environment = command(checkout, folder, *arguments)
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300)


def tiny(*arguments):
    """Arguments for the tiny study, which replaces the default one."""
    return [*arguments, "--configfile", TINY, "--replace-workflow-config"]


def copied(source, target):
    """A copy that keeps time stamps, as `cp -a` makes it."""
    return Path(shutil.copytree(source, target, symlinks=True))


def planned(done) -> set:
    """{(rule, wildcard, ...)} of a dry run, without `all`."""
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = set()
    for block in re.split(r"\n(?=\S)", done.stdout):
        named = re.match(r"(?:local)?rule (\w+):", block)
        if named and named[1] != "all":
            wildcards = re.search(r"^ +wildcards: (.*)$", block, re.MULTILINE)
            values = [pair.split("=")[1] for pair in wildcards[1].split(", ")] if wildcards else []
            jobs.add((named[1], *values))
    return jobs


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The working directory of the tiny study, run from nothing to its report."""
    folder = tmp_path_factory.mktemp("finished")
    done = snakemake(folder, *tiny())
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def again(finished, tmp_path):
    """A copy of the finished study to change."""
    return copied(finished, tmp_path / "again")


# The wide study: the default one with Wanda's arms beside it. Nothing of it is ever made. Its results are
# empty files that snakemake takes over with --touch, which records parameters and code as a run would.

WIDE = {
    "topologies": {"wanda_2of4": {"method": "wanda", "pattern": "2:4", "calibration": {"sequences": 8}}},
    "conditions": {"wanda": {"base": "tiny", "topology": "wanda_2of4", "mechanism": "finetune"}},
    "study": {
        "name": "wide",
        "blocks": 2,
        "conditions": ["dense", "sparse", "unlocked", "masked_writes", "matched_flops", "wanda"],
        "contrasts": [{"name": "same_shape", "plus": ["sparse"], "minus": ["dense"], "family": "primary"}],
    },
}


class Wide:
    """A checkout and a working directory of the wide study; edits to them, and what is planned then."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.checkout, self.results = self.folder / "checkout", self.folder / "results_folder"

    def plan(self, *arguments):
        """The dry run."""
        overlay = self.folder / "wide.yaml"
        return snakemake(self.results, "-n", *arguments, "--configfile", overlay, checkout=self.checkout)

    def overlay(self, change):
        """Apply `change` to the study's config."""
        path = self.folder / "wide.yaml"
        config = yaml.safe_load(path.read_text())
        change(config)
        path.write_text(yaml.safe_dump(config, sort_keys=False))

    def append(self, path, text="\nEDITED = 1\n"):
        """Add code to a file of the library."""
        with open(self.checkout / "workflow" / "sparse_continual" / path, "a") as handle:
            handle.write(text)


@pytest.fixture(scope="session")
def wide(tmp_path_factory):
    """The wide study, complete and up to date."""
    study = Wide(tmp_path_factory.mktemp("wide"))
    study.checkout.mkdir()
    study.results.mkdir()
    for name in ("workflow", "scripts", "profiles"):
        shutil.copytree(ROOT / name, study.checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, study.checkout / name)
    (study.folder / "wide.yaml").write_text(yaml.safe_dump(WIDE, sort_keys=False))
    listed = study.plan()
    assert listed.returncode == 0, listed.stdout + listed.stderr
    for outputs in re.findall(r"^ +output: (.*)$", listed.stdout, re.MULTILINE):
        for output in outputs.split(", "):
            path = study.results / output
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    touched = snakemake(
        study.results, "--touch", "--configfile", study.folder / "wide.yaml", checkout=study.checkout
    )
    assert touched.returncode == 0, touched.stderr
    return study


@pytest.fixture(scope="session")
def replanned(wide, tmp_path_factory):
    """A function (name) -> jobs planned after that edit of `test_caches.EDITS`; two edits are tried at a time."""
    from test_caches import EDITS

    def attempt(item):
        name, edit = item
        study = Wide(copied(wide.folder, tmp_path_factory.mktemp("edits") / name.replace(" ", "_")))
        edit(study)
        return study.plan()

    with ThreadPoolExecutor(2) as pool:
        done = dict(zip(EDITS, pool.map(attempt, EDITS.items()), strict=True))
    return lambda name: planned(done[name])

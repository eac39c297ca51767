"""Snakemake as a user calls it, in working directories of its own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "workflow" / "tiny.yaml"


def checked_out(target):
    """A copy of what runs, as a checkout of its own: edits in it, or beside it, touch nothing else."""
    for name in ("workflow", "scripts", "profiles", "envs"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "config.yaml", "claims.yaml"):
        shutil.copy(ROOT / name, target / name)
    claims = TINY.with_suffix(".claims.yaml").relative_to(ROOT)
    (target / claims).parent.mkdir(parents=True)
    shutil.copy(ROOT / claims, target / claims)
    return target


def command(checkout, folder, *arguments):
    """(argument list, environment) of snakemake with the files of `checkout`, in the working directory `folder`."""
    line = [sys.executable, "-m", "snakemake", *arguments, "--snakefile", checkout / "Snakefile"]
    line += ["--directory", folder, "--cores", "2"]
    return [str(word) for word in line], {**os.environ, "PYTHONPATH": str(checkout / "workflow")}


def snakemake(checkout, folder, *arguments, through=()):
    """Run snakemake with the files of `checkout` in `folder` to its end. Returns the CompletedProcess.

    through: a command that runs it.
    """
    line, environment = command(checkout, folder, *arguments)
    return subprocess.run([*through, *line], env=environment, capture_output=True, text=True, timeout=300)


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

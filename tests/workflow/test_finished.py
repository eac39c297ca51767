"""The tiny study, run from nothing to its report, and what happens to it afterwards."""

import csv
import os
import re
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from driver import TINY, command, copied, planned, snakemake, tiny

from sparse_continual.runs.state import weights_path
from sparse_continual.study.config import checked
from sparse_continual.study.study import Study

RESULTS, STREAM = "results/tiny", "people"
STUDY = Study(checked(yaml.safe_load(TINY.read_text())))
RUN = STUDY.run(STREAM, "sparse_lora", "1")
SCORE = STUDY.score(STREAM, "sparse_lora", "1")


def rows(path):
    with open(path, newline="") as handle:
        return list(csv.DictReader(handle))


def contents(folder, *patterns):
    """{relative path: bytes} of the files that the patterns match, without costs.csv: it holds seconds."""
    found = [path for pattern in patterns for path in sorted(folder.glob(pattern)) if path.is_file()]
    found = [path for path in found if path.name != "costs.csv"]
    assert found
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


TABLES = (f"{RESULTS}/*.csv", f"{RESULTS}/*/*.csv", f"{RESULTS}/*/*/*.csv")


@dataclass
class Interrupted:
    """The making of a block, killed and begun again."""

    made: list  # what was deleted before
    folder: Path
    killed_in_time: bool
    written: int  # when the first task's weights were
    resumed: subprocess.CompletedProcess


def interrupt(checkout, folder):
    """Delete everything of a block and of an arm's tuning; kill their making while the run trains; begin again."""
    base = RUN.inputs["base"]
    made = [RUN, SCORE, base, base.inputs["model"], base.inputs["mixture"]]
    made += [RUN.inputs["stream"], RUN.inputs["tuning"]]
    for path in [RESULTS, *(entity.path for entity in made)]:
        shutil.rmtree(folder / path)
    line, environment = command(checkout, folder, *tiny(RUN.manifest))
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    killed = subprocess.Popen(line, env=environment, start_new_session=True, **quiet)
    first = weights_path(folder / RUN.path, 1)
    state = folder / "results" / "store" / ".resume" / "runs" / RUN.name / "state.json"
    while not (first.exists() and state.exists()) and killed.poll() is None:
        time.sleep(0.001)
    os.killpg(killed.pid, signal.SIGKILL)  # snakemake and the job, as when the machine goes down
    killed.wait()
    in_time = state.exists() and not (folder / RUN.manifest).exists()
    written = first.stat().st_mtime_ns
    assert snakemake(checkout, folder, *tiny("--unlock")).returncode == 0
    wanted = [f"{RESULTS}/index.csv", f"{RESULTS}/budget.csv", f"{RESULTS}/{STREAM}/orders.csv"]
    wanted += [f"{RESULTS}/{STREAM}/tables/perplexities.csv"]  # and the other tables of what was measured
    judged = [f"{RESULTS}/{STREAM}/statistics/summary.csv", f"{RESULTS}/statistics/claims.csv"]
    cold = folder / "cold.yaml"  # jobs in processes of their own, unlike those that made `finished`
    cold.write_text("warm: false\n")
    resumed = snakemake(
        checkout, folder, *wanted, *judged, "--configfile", TINY, cold, "--replace-workflow-config"
    )
    return Interrupted(made, folder, in_time, written, resumed)


@pytest.fixture(scope="module", autouse=True)
def interrupted(checkout, finished, tmp_path_factory):
    """The future of an `Interrupted`: it waits for most of its time, so other tests run beside it."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(
            interrupt, checkout, copied(finished, tmp_path_factory.mktemp("interrupted") / "again")
        )


def test_every_cell_of_the_design_is_scored(finished):
    found = rows(finished / RESULTS / STREAM / "tables" / "scores.csv")
    cells = {(row["condition"], row["block"], int(row["after"])) for row in found}
    assert cells == {(c, b, after) for c in STUDY.conditions for b in STUDY.blocks for after in range(3)}
    assert {row["task"] for row in found} == {"base", *STUDY.tasks(STREAM)}
    index = rows(finished / RESULTS / "index.csv")
    assert all((finished / row["run"]).is_dir() and (finished / row["scores"]).is_dir() for row in index)


def test_what_is_measured_reaches_the_tables(finished):
    names = ("perplexities", "layer_errors", "costs")
    perplexities, errors, costs = (
        rows(finished / RESULTS / STREAM / "tables" / f"{name}.csv") for name in names
    )
    assert [(row["topology"], row["block"], row["stage"]) for row in perplexities] == [
        (topology, block, stage)
        for topology, stages in (("dense", ("base", "recovered")), ("wanda", ("base", "pruned", "recovered")))
        for block in "12"
        for stage in stages
    ]
    before = {(row["block"], row["perplexity"]) for row in perplexities if row["stage"] == "base"}
    assert len(before) == 2  # one base per block, and both topologies are made from it
    assert {row["topology"] for row in errors} == {"wanda"} and len(errors) == 2 * 2 * 7
    assert all(0 < float(row["error"]) < 1 for row in errors)
    assert [row["stage"] for row in costs] == ["recovered"] * 2 + ["pruned", "recovered"] * 2


class Page(HTMLParser):
    """Tags, words and links of a page; every tag that is opened is closed."""

    SINGLE = {"meta", "img", "br", "hr", "link", "input", "col", "source", "wbr"}

    def __init__(self, text):
        super().__init__()
        self.words, self.links, self.open, self.seen = "", [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.seen.add(tag)
        self.links += [value for name, value in attributes if name in ("href", "src") and value]
        if tag not in self.SINGLE:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def test_the_report_parses_and_names_every_condition(finished):
    folder = finished / RESULTS / "report"
    page = Page((folder / "report.html").read_text())
    assert not page.open and {"html", "table", "h1"} <= page.seen
    assert all(condition in page.words for condition in STUDY.conditions)
    assert "descriptive" in page.words  # fewer than six blocks
    for link in page.links:  # it opens offline, and what it links is there
        local = not re.match(r"(https?:|data:|#|mailto:)", link)
        assert not local or (folder / link).resolve().exists(), link


def test_a_second_run_has_nothing_to_do(checkout, again):
    """Even where manifests were touched: what is equal is no reason."""
    for path in [
        *again.glob("results/store/*/*/manifest.json"),
        *again.glob("results/tiny/**/manifests/*.json"),
    ]:
        os.utime(path)
    assert planned(snakemake(checkout, again, *tiny("-n"))) == set()


def test_the_engines_own_report(checkout, again):
    done = snakemake(checkout, again, *tiny("--report", "engine.html"))
    assert done.returncode == 0, done.stderr
    assert (again / "engine.html").stat().st_size > 1e6


def test_slurm_profile(checkout, tmp_path):
    pytest.importorskip("snakemake_executor_plugin_slurm")
    done = snakemake(checkout, tmp_path, *tiny("-n", "--workflow-profile", checkout / "profiles" / "slurm"))
    jobs = [job[0] for job in planned(done)]
    assert (
        jobs.count("train_condition") == 7 and jobs.count("tune_condition") == 2
    )  # with 2 references, 1 repeat


def test_scoring_again_needs_the_weights(checkout, again):
    """With weights it costs no training; without them it fails with the price, and loses nothing."""
    config = yaml.safe_load(TINY.read_text())
    config["study"]["scoring"] = {"batch_size": 5}
    config["study"]["keep_weights"] = "none"
    (again / "rescored.yaml").write_text(yaml.safe_dump(config))
    score = Study(checked(config)).score(STREAM, "sparse_lora", "1")
    rescored = [score.manifest, "--configfile", again / "rescored.yaml", "--replace-workflow-config"]
    assert planned(snakemake(checkout, again, "-n", *rescored)) == {("score_run", score.name)}
    shutil.rmtree(again / RUN.path / "weights")
    before = contents(again, f"{RUN.path}/*")
    failed = snakemake(checkout, again, *rescored)
    assert failed.returncode != 0 and "Traceback" not in failed.stderr
    (line,) = {line.strip() for line in failed.stderr.splitlines() if "keep_weights" in line}
    assert re.search(r"after_001.safetensors: missing .*train the run again: 80 steps, \d+ s", line)
    assert contents(again, f"{RUN.path}/*") == before


def test_a_corrupted_result_stops_its_readers(checkout, again):
    """A digit and a dropped row, with old time stamps; `benchmarks/faults.py` tries every kind of file."""
    cut = again / RESULTS / STREAM / "tables" / "scores.csv"
    changed = again / RUN.path / "run.json"
    for path, text in (
        (cut, "".join(cut.read_text().splitlines(keepends=True)[:-1])),
        (changed, changed.read_text().replace('"steps": 40', '"steps": 41')),
    ):
        before = path.stat()
        assert text != path.read_text()
        path.write_text(text)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    forced = ["--forcerun", "check_instrument", "list_deviations", "--keep-going"]
    checks = f"{RESULTS}/{STREAM}/statistics/instrument.csv"
    done = snakemake(checkout, again, *tiny(checks, f"{RESULTS}/statistics/deviations.csv", *forced))
    assert done.returncode != 0 and "Traceback" not in done.stderr
    logs = again / RESULTS / "logs"
    (line,) = (logs / "check_instrument" / f"{STREAM}.log").read_text().splitlines()
    record = f"{RESULTS}/{STREAM}/manifests/collect_tables.json"
    assert line == (
        f"{cut.relative_to(again)}: its bytes differ from those that {record} records; delete {record} and run again"
    )
    (line,) = (logs / "list_deviations.log").read_text().splitlines()
    assert "its bytes differ from those that" in line and "delete " in line
    assert not (again / checks).exists()


def test_a_block_remade_and_killed_ends_in_the_same_bytes(finished, interrupted):
    done = interrupted.result()
    assert done.killed_in_time
    assert done.resumed.returncode == 0, done.resumed.stderr
    assert weights_path(done.folder / RUN.path, 1).stat().st_mtime_ns == done.written  # it went on from there
    files = [f"{entity.path}/**/*.{ending}" for entity in done.made for ending in ("csv", "safetensors")]
    for patterns in (files, TABLES):
        assert contents(done.folder, *patterns) == contents(finished, *patterns)

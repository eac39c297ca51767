"""What is planned again after an edit: neither more than the edit changes, nor less.

The study is the default one with Wanda's arms beside it, and nothing of it is ever made: its results are
empty files that snakemake takes over with --touch, which records parameters and code as a run would.
"""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from driver import ROOT, checked_out, copied, planned, snakemake

from sparse_continual.study.config import checked
from sparse_continual.study.study import Study

SHORTER = {  # than the default study; the rest is as there
    "topologies": {"wanda_2of4": {"method": "wanda", "pattern": "2:4", "calibration": {"sequences": 8}}},
    "conditions": {"wanda": {"base": "tiny", "topology": "wanda_2of4", "mechanism": "finetune"}},
    "study": {
        "name": "wide",
        "blocks": 2,
        "conditions": ["dense", "sparse", "unlocked", "masked_writes", "matched_flops", "wanda"],
        "claims": None,
        "contrasts": [
            {"name": "same_shape", "plus": ["sparse"], "minus": ["dense"], "estimand": "same_shape"}
        ],
    },
}
STREAM = "people"
DENSE, SPARSE, WANDA = {"dense", "matched_flops"}, {"sparse", "unlocked", "masked_writes"}, {"wanda"}
FIGURES = set(yaml.safe_load((ROOT / "config.yaml").read_text())["figures"])
REPORT = {("write_report",)}
JUDGED = {("judge_claims",), *(("draw_figure", STREAM, figure) for figure in FIGURES), *REPORT}
STATISTICS = {("estimate", STREAM), ("check_instrument", STREAM), *JUDGED}
TABLES = {("collect_tables", STREAM), ("list_deviations",), *STATISTICS}
CHEAP = {("compute_budgets",), ("draw_orders", STREAM), ("write_index",)}  # of no weight: they may run again


class Wide:
    """A checkout and a working directory of the wide study; edits to them, and what is planned then."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.checkout, self.results = self.folder / "checkout", self.folder / "run"
        self.overlay = self.folder / "wide.yaml"

    def snakemake(self, *arguments):
        return snakemake(self.checkout, self.results, *arguments, "--configfile", self.overlay)

    def configure(self, change):
        """Apply `change` to the study's overlay."""
        config = yaml.safe_load(self.overlay.read_text())
        change(config)
        self.overlay.write_text(yaml.safe_dump(config, sort_keys=False))

    def append(self, path, text="\nEDITED = 1\n"):
        """Add code to a file of the library."""
        with open(self.checkout / "workflow" / "sparse_continual" / path, "a") as handle:
            handle.write(text)

    def study(self) -> Study:
        """The resolved study, for the names of its results."""
        config = yaml.safe_load((self.checkout / "config.yaml").read_text())
        return Study(checked(_laid_over(config, yaml.safe_load(self.overlay.read_text()))))


def _laid_over(config, overlay):
    if not (isinstance(config, dict) and isinstance(overlay, dict)):
        return overlay
    return config | {key: _laid_over(config.get(key), value) for key, value in overlay.items()}


def _say_the_same(study):
    """Comments and docstrings everywhere, another order of keys, numbers written otherwise, equal overlays."""
    for path in [*study.checkout.rglob("*.py"), *study.checkout.rglob("*.smk"), study.checkout / "Snakefile"]:
        text = re.sub(r'^( *)"""(?=\w)', r'\1"""Said otherwise. ', path.read_text(), flags=re.MULTILINE)
        path.write_text(f"# a comment\n{text}\n\n# another\n")
    config = yaml.safe_load((study.checkout / "config.yaml").read_text())
    batch = config["study"]["training"]["batch_size"]
    (study.checkout / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=True))
    study.configure(
        lambda config: config["study"].update(
            training={"batch_size": float(batch)}, scoring={"batch_size": 256}
        )
    )


def _change_a_figure(study):
    study.configure(lambda config: config.update(figures={"density": {"title": "Another title"}}))


def _change_a_metric(study):
    study.append("statistics/metrics.py")


def _change_the_pruning_of_one(study):
    study.append("pruning/methods/wanda.py")


def _change_masks(study):
    study.append("topologies/topology.py")


def _change_the_scorer(study):
    study.append("scores/evaluate.py")


def _change_scoring_and_keeping(study):
    study.configure(lambda config: config["study"].update(scoring={"batch_size": 16}, keep_weights="last"))


def _add_a_block(study):
    study.configure(lambda config: config["study"].update(blocks=3))


def _add_a_condition(study):
    def change(config):
        config["topologies"]["half"] = {"method": "magnitude", "pattern": "unstructured", "sparsity": 0.5}
        config["conditions"]["half"] = {"base": "tiny", "topology": "half", "mechanism": "replay"}
        config["study"]["conditions"].append("half")

    study.configure(change)


def _remove_a_condition_and_a_block(study):
    def change(config):
        config["study"].update(blocks=1, conditions=config["study"]["conditions"][:-1])

    study.configure(change)


def _name_a_second_study(study):
    study.configure(lambda config: config["study"].update(name="second"))


EDITS = [value for name, value in list(globals().items()) if re.match("_(say|change|add|remove|name)_", name)]


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """The wide study, complete and up to date."""
    study = Wide(tmp_path_factory.mktemp("wide"))
    study.results.mkdir()
    checked_out(study.checkout)
    study.overlay.write_text(yaml.safe_dump(SHORTER))
    listed = study.snakemake("-n")
    assert listed.returncode == 0, listed.stdout + listed.stderr
    for outputs in re.findall(r"^ +output: (.*)$", listed.stdout, re.MULTILINE):
        for output in outputs.split(", "):
            (study.results / output).parent.mkdir(parents=True, exist_ok=True)
            (study.results / output).touch()
    touched = study.snakemake("--touch", "--forceall")
    assert touched.returncode == 0, touched.stderr
    return study


@pytest.fixture(scope="module")
def after(wide, tmp_path_factory):
    """A function (edit) -> (jobs planned after it, the edited study); two edits are tried at a time."""
    folder = tmp_path_factory.mktemp("edits")

    def attempt(edit):
        study = Wide(copied(wide.folder, folder / edit.__name__))
        edit(study)
        return study.snakemake("-n"), study

    with ThreadPoolExecutor(2) as pool:
        done = dict(zip(EDITS, pool.map(attempt, EDITS), strict=True))
    return lambda edit: (planned(done[edit][0]), done[edit][1])


def written_by(study, conditions, stages=("tune_condition", "train_condition", "score_run"), blocks=None):
    """The jobs that tune, train and score `conditions`."""
    resolved, jobs = study.study(), set()
    for condition in conditions:
        jobs.add(("tune_condition", resolved.tuning(STREAM, condition).name))
        for block in blocks or resolved.blocks:
            jobs.add(("train_condition", resolved.run(STREAM, condition, block).name))
            jobs.add(("score_run", resolved.score(STREAM, condition, block).name))
    return {job for job in jobs if job[0] in stages}


def made_with(study, topology, base="dense", blocks=None):
    """The jobs that make `topology` on the base of the condition `base`."""
    resolved = study.study()
    blocks = blocks or resolved.blocks + resolved.tuning_blocks
    return {("make_topology", resolved.topology(base, block, topology).name) for block in blocks}


def test_what_says_the_same_plans_nothing(after):
    jobs, _ = after(_say_the_same)
    assert jobs == set()


def test_a_figure(after):
    jobs, _ = after(_change_a_figure)
    assert jobs == {("draw_figure", STREAM, "density"), *REPORT}


def test_a_metric(after):
    jobs, _ = after(_change_a_metric)
    # a metric is part of the analysis that registrations freeze, so what deviates is looked at again too
    assert {("estimate", STREAM), *REPORT} <= jobs <= STATISTICS | {("list_deviations",)}


def test_one_pruning_method(after):
    jobs, study = after(_change_the_pruning_of_one)
    made = made_with(study, "wanda_2of4") | written_by(study, WANDA)
    assert made <= jobs <= made | TABLES | CHEAP


def test_masks_are_no_matter_of_dense_models(after):
    jobs, study = after(_change_masks)
    made = (
        made_with(study, "wanda_2of4") | made_with(study, "sparse_2of4") | written_by(study, SPARSE | WANDA)
    )
    assert made <= jobs <= made | TABLES | CHEAP


@pytest.mark.parametrize("edit", [_change_the_scorer, _change_scoring_and_keeping])
def test_scoring_never_trains(after, edit):
    jobs, study = after(edit)
    scored = written_by(study, DENSE | SPARSE | WANDA, ["score_run"])
    assert scored <= jobs <= scored | TABLES | CHEAP


def test_a_block(after):
    jobs, study = after(_add_a_block)
    resolved, new = study.study(), ["3"]
    made = written_by(study, DENSE | SPARSE | WANDA, ["train_condition", "score_run"], new)
    for base in ("dense", "matched_flops"):
        made.add(("obtain_model", resolved.model(base, "3").name))
        made |= made_with(study, "dense", base, new)
    made |= made_with(study, "sparse_2of4", blocks=new) | made_with(study, "wanda_2of4", blocks=new)
    made |= {("build_stream", resolved.stream(STREAM, "dense", "3").name)}
    made |= {("build_stream", resolved.mixture("dense", "3").name)}
    assert made <= jobs <= made | TABLES | CHEAP


def test_a_condition(after):
    jobs, study = after(_add_a_condition)
    made = made_with(study, "half") | written_by(study, {"half"})
    assert made <= jobs <= made | TABLES | CHEAP


def test_removal(after):
    jobs, _ = after(_remove_a_condition_and_a_block)
    assert REPORT <= jobs <= TABLES | CHEAP


def test_a_second_study_of_the_same_parts(after):
    jobs, _ = after(_name_a_second_study)
    assert jobs == TABLES | CHEAP


def test_text_files_count_by_content(tmp_path):
    """A stream's name holds digests of the files that it reads: a time stamp is none of them."""
    files = [tmp_path / "one.txt", tmp_path / "two.txt"]
    for file in files:
        file.write_text("A cat sat on a mat. " * 400)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["study"]["claims"] = None
    config["streams"]["people"] = {"source": "text", "files": [str(file) for file in files]}
    config["study"]["tuning"]["tasks"] = 2
    config["study"]["conditions"], config["study"]["contrasts"] = ["dense"], []

    def name():
        return Study(checked(config)).run(STREAM, "dense", "1").name

    before = name()
    os.utime(files[0])
    assert name() == before
    files[0].write_text("A dog sat on a mat. " * 400)
    assert name() != before


def test_a_start_imports_nothing_heavy(wide):
    """Every start and every dry run resolves the study: torch alone would take it seconds."""
    code = (
        "import sys, yaml; from sparse_continual.budgets.demand import priced; "
        "from sparse_continual.study.config import checked; from sparse_continual.study.study import Study; "
        "study = Study(checked(yaml.safe_load(open('config.yaml')))); study.runs('people'); "
        "priced(study, 'people'); print({'torch', 'transformers', 'pandas', 'scipy'} & set(sys.modules))"
    )
    environment = {"PYTHONPATH": str(wide.checkout / "workflow")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=wide.checkout, env=environment, capture_output=True, text=True
    )
    assert done.stdout == "set()\n", done.stdout + done.stderr

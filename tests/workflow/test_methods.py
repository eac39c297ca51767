"""The study of methods: that every method is one of its arms, and that what is measured reaches its tables."""

import csv

import pytest
import yaml
from driver import ROOT, TINY, planned, snakemake

from sparse_continual import registry

STUDY = ROOT / "studies" / "sparsity-methods.yaml"
METHODS = (
    "dense random shuffled magnitude wanda wandapp sparsegpt obc snip gmp movement l0 imp maskllm llm_pruner"
    " loraprune"
).split()


def table(path):
    with open(path, encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_every_method_is_an_arm_at_the_same_share_of_absent_weights(tmp_path):
    config = yaml.safe_load(STUDY.read_text())
    topologies, study = config["topologies"], config["study"]
    arms = {config["conditions"][name].get("topology", "dense") for name in study["conditions"]}
    assert arms == {"dense", *topologies}
    named = {"dense", *(own["method"] for own in topologies.values())}
    assert named == set(METHODS)
    if named - set(registry.names("pruning.methods")):
        pytest.skip("a method's file was deleted: the study cannot be planned")
    for own in topologies.values():
        assert own.get("sparsity") == 0.5 or own["pattern"] == "2:4"
    jobs = planned(snakemake(ROOT, tmp_path, "--configfile", STUDY, "--dry-run"))
    made = {job[1].rpartition("-")[0] for job in jobs if job[0] == "make_topology"}
    assert made == arms
    assert ("collect_measures", study["streams"][0]) in jobs


def test_what_is_measured_reaches_the_tables(tmp_path):
    overlay = tmp_path / "measured.yaml"
    overlay.write_text(yaml.safe_dump({"study": {"measure_topologies": True}}))
    names = ("perplexities", "layer_errors", "costs")
    targets = [f"results/tiny/people/tables/{name}.csv" for name in names]
    files = ("--configfile", TINY, overlay, "--replace-workflow-config")
    done = snakemake(ROOT, tmp_path, *targets, *files)
    assert done.returncode == 0, done.stdout + done.stderr
    perplexities, errors, costs = (table(tmp_path / target) for target in targets)
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
    again = snakemake(ROOT, tmp_path, *targets, *files, "--forceall", "--until", "make_topology")
    assert again.returncode == 0, again.stdout + again.stderr
    assert [table(tmp_path / target) for target in targets[:2]] == [perplexities, errors]

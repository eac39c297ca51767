"""The study of methods: every method is one of its arms."""

import pytest
import yaml
from driver import ROOT, planned, snakemake

from sparse_continual import registry

STUDY = ROOT / "studies" / "sparsity-methods.yaml"
METHODS = (
    "dense random shuffled magnitude wanda wandapp sparsegpt obc snip gmp movement l0 imp maskllm llm_pruner"
    " loraprune"
).split()


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

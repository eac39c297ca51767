"""A study on published checkpoints to its report, on stand-ins from a hub on loopback."""

import pytest
import torch
import yaml
from stand_ins import LINEAR, World, revisions_of_stories, small

from sparse_continual.study.config import checked, merged
from sparse_continual.study.study import Study


@pytest.fixture(scope="module")
def stories(served, shipped, tmp_path_factory):
    """The unstructured 110M checkpoint on stand-ins, locked and free, to the report; jobs ran without the hub.

    The other bases are downloaded and counted in test_downloads.py.
    """
    world = World(served, shipped, tmp_path_factory.mktemp("stories"))
    shown = yaml.safe_load((shipped / "studies" / "stories110m.yaml").read_text())["study"]
    claims = yaml.safe_load((shipped / shown["claims"]).read_text())["claims"]
    kept = world.folder / "kept.claims.yaml"
    kept.write_text(yaml.safe_dump({"claims": [one for one in claims if one["contrast"] == "lock_50"]}))
    study = {"conditions": ["sparse50", "unlocked50"], "claims": str(kept)}
    study["contrasts"] = [one for one in shown["contrasts"] if one["name"] == "lock_50"]
    streams = {"few_people": {"tasks": 2, "people": 4, "employers": 8}}
    world.overlays = [revisions_of_stories(world.commits), small(streams=streams, study=study)]
    fetched = world.run("download", study="stories110m", overlays=world.overlays)
    assert fetched.returncode == 0, fetched.stdout + fetched.stderr
    world.asked = len(world.hub.requests)
    for repository in world.hub.repositories.values():
        repository.status = 503
    try:
        done = world.run(study="stories110m", overlays=world.overlays)
    finally:
        for repository in world.hub.repositories.values():
            repository.status = None
    assert done.returncode == 0, done.stdout + done.stderr
    return world


def test_jobs_ask_the_hub_for_nothing(stories):
    assert not stories.requests


def test_zeros_are_counted_and_kept(stories):
    from sparse_continual.topologies.topology import Topology

    counted = {
        row["topology"]: row["pattern"]
        for row in stories.rows("results/stories110m/few_people/tables/densities.csv")
    }
    assert counted == {"as_published": "unstructured"}
    budget = {row["condition"]: row for row in stories.rows("results/stories110m/budget.csv")}
    model = dict(stories.models["llama2.c-stories110M-pruned50"].named_parameters())
    exists = {name: weight != 0 for name, weight in model.items() if name.endswith(LINEAR)}
    for condition in ("sparse50", "unlocked50"):
        assert int(budget[condition]["nonzeros"]) == sum(int(mask.sum()) for mask in exists.values())
    assert budget["sparse50"]["pattern"] == "unstructured" and float(budget["sparse50"]["density"]) < 0.31
    (path,) = stories.folder.glob("results/store/topologies/as_*/topology.safetensors")
    masks = Topology.load(path).masks
    assert masks.keys() == exists.keys() and all(torch.equal(masks[name], exists[name]) for name in masks)


def test_the_report_shows_what_was_published_and_what_was_counted(stories):
    page = (stories.folder / "results/stories110m/report/report.html").read_text()
    assert "RedHatAI/llama2.c-stories110M-pruned50" in page and "as published" in page
    assert stories.commits["llama2.c-stories110M-pruned50"] in page
    assert "Of <code>pruned50</code> the registry declares unstructured, 0.5" in page
    (claim,) = stories.rows("results/stories110m/statistics/claims.csv")
    assert (claim["claim"], claim["verdict"]) == ("lock_on_unstructured", "descriptive")


def test_topologies_that_two_bases_share_are_named_with_their_base(served, shipped):
    _, commits, _ = served
    files = [shipped / "config.yaml", shipped / "studies" / "stories110m.yaml"]
    study = Study(checked(merged(files, revisions_of_stories(commits))))
    found = {name for name, _, _ in study.topologies("few_people")}
    assert found == {"dense", "as_published of pruned50", "as_published of pruned24"}


def test_what_is_done_is_done(stories):
    again = stories.run("-n", study="stories110m", overlays=stories.overlays)
    assert "Nothing to be done" in again.stdout, again.stdout
    plan = stories.run("plan", study="stories110m", overlays=stories.overlays)
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert plan.stdout.count("  in the cache\n") == 1 and "declared" not in plan.stdout
    assert "Disk: 0B to download" in plan.stdout and "to be made" not in plan.stdout

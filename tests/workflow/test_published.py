"""A study on published checkpoints to its report, on stand-ins from a hub on loopback."""

import pytest
import torch
from stand_ins import LINEAR, World, revisions_of_stories, small


@pytest.fixture(scope="module")
def stories(served, shipped, tmp_path_factory):
    """The study of the 110M checkpoints on stand-ins, to its report; jobs ran while the hub was out of reach."""
    world = World(served, shipped, tmp_path_factory.mktemp("stories"))
    streams = {"few_people": {"tasks": 2, "people": 4, "employers": 8}}
    world.overlays = [revisions_of_stories(world.commits), small(streams=streams)]
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
    assert counted == {
        "dense": "dense",
        "as_published of pruned50": "unstructured",
        "as_published of pruned24": "2:4",
    }
    budget = {row["condition"]: row for row in stories.rows("results/stories110m/budget.csv")}
    for condition, name in (("sparse50", "pruned50"), ("sparse24", "pruned2.4"), ("unlocked24", "pruned2.4")):
        model = stories.models[f"llama2.c-stories110M-{name}"]
        nonzeros = sum(int((p != 0).sum()) for n, p in model.named_parameters() if n.endswith(LINEAR))
        assert int(budget[condition]["nonzeros"]) == nonzeros
    assert budget["sparse24"]["pattern"] == "2:4" and float(budget["sparse24"]["density"]) == 0.5
    assert budget["sparse50"]["pattern"] == "unstructured" and float(budget["sparse50"]["density"]) < 0.31
    for name, pattern in (("pruned50", "unstructured"), ("pruned2.4", "2:4")):
        model = dict(stories.models[f"llama2.c-stories110M-{name}"].named_parameters())
        found = [
            Topology.load(path)
            for path in stories.folder.glob("results/store/topologies/as_*/topology.safetensors")
        ]
        (own,) = [topology for topology in found if topology.pattern == pattern]
        assert all(torch.equal(mask, model[matrix] != 0) for matrix, mask in own.masks.items())
        assert len(own.masks) == sum(matrix.endswith(LINEAR) for matrix in model)


def test_the_report_tells_what_was_published_and_what_was_counted(stories):
    page = (stories.folder / "results/stories110m/report/report.html").read_text()
    assert "RedHatAI/llama2.c-stories110M-pruned2.4" in page and "as published" in page
    assert stories.commits["llama2.c-stories110M-pruned50"] in page
    assert "Of <code>pruned50</code> the registry declares unstructured, 0.5" in page
    assert "Of <code>pruned24</code> the registry declares" not in page
    claims = {row["claim"]: row for row in stories.rows("results/stories110m/statistics/claims.csv")}
    assert claims["published_unstructured"]["verdict"] == "exploratory"
    assert claims["lock_on_2of4"]["verdict"] == "descriptive"


def test_what_is_done_is_done(stories):
    again = stories.run("-n", study="stories110m", overlays=stories.overlays)
    assert "Nothing to be done" in again.stdout, again.stdout
    plan = stories.run("plan", study="stories110m", overlays=stories.overlays)
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert plan.stdout.count("  in the cache\n") == 3 and "declared" not in plan.stdout
    assert "Disk: 0B to download" in plan.stdout and "to be made" not in plan.stdout

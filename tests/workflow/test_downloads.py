"""Plans, downloads and bases of published checkpoints, on stand-ins from a hub on loopback."""

import pytest
import torch
from driver import planned
from stand_ins import LINEAR, TOKEN, revisions_of_llama, revisions_of_stories, small

SHIPPED = {"stories110m": (revisions_of_stories, 3), "llama-8b-2of4": (revisions_of_llama, 3)}


@pytest.mark.parametrize("study", SHIPPED)
def test_a_dry_run_asks_the_hub_for_nothing(world, study):
    revisions, count = SHIPPED[study]
    jobs = planned(world.run("-n", study=study, overlays=[revisions(world.commits)]))
    assert len([job for job in jobs if job[0] == "download_model"]) == count
    assert not [job for job in jobs if job[0] == "obtain_model"]
    assert len([job for job in jobs if job[0] == "make_topology"]) == count
    assert not world.requests and not (world.folder / "hf").exists()


def test_without_a_commit_nothing_starts(world):
    done = world.run("-n", study="stories110m")
    said = [line for line in (done.stdout + done.stderr).splitlines() if "revision" in line]
    assert done.returncode != 0 and len(said) == 1 and "Traceback" not in done.stderr
    assert said[0].startswith("bases.") and "missing key 'revision'" in said[0]
    assert "40 hex digits" in said[0]


def test_the_plan_prices_before_anything_is_downloaded(world):
    done = world.run("plan", study="llama-8b-2of4", overlays=[revisions_of_llama(world.commits)])
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {line.split()[1]: line for line in done.stdout.splitlines() if "to be downloaded" in line}
    parent = lines["meta-llama/Llama-3.1-8B"].split()
    assert parent[2:6] == [world.commits["Llama-3.1-8B"][:8], "16.1GB", "llama3.1", "yes"]
    assert "591MB" in lines["Vinnnf/LLaMA-3.1-8B-MaskLLM-C4"]
    assert "not known" in lines["Vinnnf/LLaMA-3.1-8B-MaskLLM-C4"]
    # sparse and dense 16.07 + 16.06 GB, masks .59 GB; the parent with masks applied is written a second time
    assert "Disk: 32.7GB to download into the cache, where " in done.stdout
    assert "16.1GB to be made of it in results/store" in done.stdout
    assert "Token: none, and gated repositories need one" in done.stdout
    priced = {line.split()[0]: line.split() for line in done.stdout.splitlines() if "4096x14336" in line}
    # 8,030,261,248 parameters, 6,979,321,856 in block linears, half of them kept
    assert priced["dense"][1:] == ["dense", "4096x14336", "L32", "32/8", "8.03G", "6.98G", "6.98G", "1.000"]
    assert priced["masked"][1:] == ["2:4", "declared", *priced["dense"][2:-2], "3.49G", "0.500"]
    assert not world.requests and not (world.folder / "results" / "store").exists()
    with_token = world.run(
        "plan", study="llama-8b-2of4", overlays=[revisions_of_llama(world.commits)], token=TOKEN
    )
    assert "Token: there." in with_token.stdout


def test_a_refused_download_is_one_line(world):
    done = world.run("download", study="llama-8b-2of4", overlays=[revisions_of_llama(world.commits)])
    assert done.returncode != 0
    logs = "".join(path.read_text() for path in world.folder.glob("results/store/logs/download_model/*.log"))
    (line,) = {line for line in logs.splitlines() if "meta-llama" in line}
    assert "gated, and you have no token" in line and "Traceback" not in logs


def test_bases_and_topologies_of_the_8b_study_on_stand_ins(world):
    from sparse_continual.integrity import read_manifest
    from sparse_continual.models.load import load_model
    from sparse_continual.topologies.topology import Topology

    streams = {"people": {"tasks": 2, "people": 4, "employers": 8}}
    # the arms whose absent weights are free differ from these in nothing that is downloaded
    arms = {"conditions": ["dense", "sparse", "masked"], "claims": None, "contrasts": []}
    overlays = [revisions_of_llama(world.commits), small(streams=streams, study=arms)]
    # training on published checkpoints is shown in test_published.py
    done = world.run("--until", "make_topology", study="llama-8b-2of4", overlays=overlays, token=TOKEN)
    assert done.returncode == 0, done.stdout + done.stderr
    priced = ["results/llama-8b-2of4/budget.csv"]
    done = world.run(*priced, study="llama-8b-2of4", overlays=overlays, token=TOKEN)
    assert done.returncode == 0, done.stdout + done.stderr
    (manifest,) = world.folder.glob("results/store/models/mask_llama-*/manifest.json")
    masked = load_model(world.folder / read_manifest(manifest)["folder"])
    parent = dict(world.models["Llama-3.1-8B"].named_parameters())
    for name, weight in masked.named_parameters():
        mask = world.models["masks"].get(name, torch.ones_like(weight, dtype=bool))
        assert torch.equal(weight, parent[name].detach().float() * mask)
    patterns = {}
    for path in world.folder.glob("results/store/topologies/as_published-*/topology.safetensors"):
        topology = Topology.load(path)
        patterns[topology.sha256] = topology.pattern
    assert list(patterns.values()) == ["2:4", "2:4"]
    budget = {row["condition"]: row for row in world.rows("results/llama-8b-2of4/budget.csv")}
    assert {row["density"] for name, row in budget.items() if name != "dense"} == {"0.5"}


BITMASK = {
    "bases": {"stories": {"registry": "llama2.c-stories110M-pruned50-compressed-tensors"}},
    "topologies": {"as_published": {"method": "counted"}},
    "streams": {"people": {"tasks": 2, "people": 4, "employers": 8}},
    "conditions": {
        "sparse": {"base": "stories", "topology": "as_published"},
        "dense": {"base": "stories", "topology": "dense"},
    },
}


def bitmask_study(commits, conditions):
    base = {"stories": {"revision": commits["llama2.c-stories110M-pruned50-compressed-tensors"]}}
    study = {"name": "bitmask", "conditions": conditions, "claims": None, "contrasts": []}
    return [BITMASK, {"bases": base}, small(study=study)]


def test_a_compressed_checkpoint_is_a_base_where_it_lies(world):
    overlays = bitmask_study(world.commits, ["sparse"])
    done = world.run("results/bitmask/index.csv", "results/bitmask/budget.csv", overlays=overlays)
    assert done.returncode == 0, done.stdout + done.stderr
    model = world.models["llama2.c-stories110M-pruned50-compressed-tensors"]
    nonzeros = sum(int((p != 0).sum()) for n, p in model.named_parameters() if n.endswith(LINEAR))
    (row,) = world.rows("results/bitmask/budget.csv")
    assert int(row["nonzeros"]) == nonzeros and row["pattern"] == "unstructured"
    assert not list(world.folder.glob("results/store/*/*/model"))  # nothing was copied


def test_a_sparse_checkpoint_is_no_dense_base(world):
    done = world.run("results/bitmask/index.csv", overlays=bitmask_study(world.commits, ["dense"]))
    assert done.returncode != 0
    logs = [path.read_text() for path in world.folder.glob("results/store/logs/make_topology/*.log")]
    assert any("the checkpoint is sparse itself" in log and "`method: counted`" in log for log in logs)
    assert "Traceback" not in "".join(logs)

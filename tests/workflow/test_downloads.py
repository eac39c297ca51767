"""Plans, downloads and bases of published checkpoints, on stand-ins from a hub on loopback."""

from pathlib import Path

import pytest
import torch
from driver import planned
from stand_ins import LINEAR, TOKEN, revisions_of_llama, revisions_of_stories, small

from sparse_continual.budgets.plan import plan_text
from sparse_continual.errors import UserError
from sparse_continual.study.config import checked, merged
from sparse_continual.study.study import Study

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


def test_the_plan_prices_before_anything_is_downloaded(world, monkeypatch):
    done = world.run("plan", study="llama-8b-2of4", overlays=[revisions_of_llama(world.commits)])
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {line.split()[1]: line for line in done.stdout.splitlines() if "to be downloaded" in line}
    parent = lines["meta-llama/Llama-3.1-8B"].split()
    assert parent[2:6] == [world.commits["Llama-3.1-8B"][:8], "16.1GB", "llama3.1", "yes"]
    assert "591MB" in lines["Vinnnf/LLaMA-3.1-8B-MaskLLM-C4"]
    assert "not known" in lines["Vinnnf/LLaMA-3.1-8B-MaskLLM-C4"]
    # sparse and dense 16.07 + 16.06 GB, masks .59 GB; the parent with masks applied is written a second time
    assert "Disk: 32.7GB to download into the cache, where " in done.stdout
    assert "16.1GB to write into results/store" in done.stdout
    assert "Token: none, but gated repositories need one" in done.stdout
    priced = {line.split()[0]: line.split() for line in done.stdout.splitlines() if "4096x14336" in line}
    # 8,030,261,248 parameters, 6,979,321,856 in block linears, half of them kept
    assert priced["dense"][1:] == ["dense", "4096x14336", "L32", "32/8", "8.03G", "6.98G", "6.98G", "1.000"]
    assert priced["masked"][1:] == ["2:4", "declared", *priced["dense"][2:-2], "3.49G", "0.500"]
    assert not world.requests and not (world.folder / "results" / "store").exists()
    monkeypatch.chdir(world.folder)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    files = [world.checkout / "config.yaml", world.checkout / "studies" / "llama-8b-2of4.yaml"]
    study = Study(checked(merged(files, revisions_of_llama(world.commits))))
    assert "Token: found." in plan_text(study)


def test_a_refused_download_is_one_line(world):
    study = {"conditions": ["dense"], "claims": None, "contrasts": []}
    overlays = [revisions_of_llama(world.commits), small(study=study)]
    done = world.run("download", study="llama-8b-2of4", overlays=overlays)
    assert done.returncode != 0
    logs = "".join(path.read_text() for path in world.folder.glob("results/store/logs/download_model/*.log"))
    (line,) = {line for line in logs.splitlines() if "meta-llama" in line}
    assert "gated, and you have no token" in line and "Traceback" not in logs


def test_bases_and_topologies_of_the_8b_study_on_stand_ins(world, tmp_path):
    from sparse_continual.integrity import read_manifest
    from sparse_continual.models.load import load_model
    from sparse_continual.pruning.make import make_topology
    from sparse_continual.topologies.topology import Topology

    # the arms whose absent weights are free differ from these in nothing that is downloaded; the dense parent is
    # downloaded for its masks
    arms = {"conditions": ["sparse", "masked"], "claims": None, "contrasts": []}
    overlays = [revisions_of_llama(world.commits), small(study=arms)]
    # training on published checkpoints is shown in test_published.py
    done = world.run(
        "results/llama-8b-2of4/budget.csv", study="llama-8b-2of4", overlays=overlays, token=TOKEN
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (manifest,) = world.folder.glob("results/store/models/mask_llama-*/manifest.json")
    masked = load_model(world.folder / read_manifest(manifest)["folder"])
    parent = dict(world.models["Llama-3.1-8B"].named_parameters())
    masks = world.models["masks"]
    for name, weight in masked.named_parameters():
        mask = masks.get(name, torch.ones_like(weight, dtype=bool))
        assert torch.equal(weight, parent[name].detach().float() * mask)
    sparse = world.models["Sparse-Llama-3.1-8B-2of4"].named_parameters()
    exists = [{name: weight != 0 for name, weight in sparse if name.endswith(LINEAR)}, masks]
    counted = [
        Topology.load(path)
        for path in world.folder.glob("results/store/topologies/as_published-*/topology.safetensors")
    ]
    assert [topology.pattern for topology in counted] == ["2:4", "2:4"]
    for expected in exists:
        equal = [_equal(topology.masks, expected) for topology in counted]
        assert sum(equal) == 1
    budget = world.rows("results/llama-8b-2of4/budget.csv")
    nonzeros = [sum(int(mask.sum()) for mask in expected.values()) for expected in exists]
    assert [(row["condition"], row["pattern"], row["density"]) for row in budget] == [
        ("sparse", "2:4", "0.5"),
        ("masked", "2:4", "0.5"),
    ]
    assert [int(row["nonzeros"]) for row in budget] == nonzeros

    # what the job of the dense arm calls
    files = [world.checkout / "config.yaml", world.checkout / "studies" / "llama-8b-2of4.yaml"]
    dense = Study(checked(merged(files, revisions_of_llama(world.commits)))).topology("dense", "1").settings
    (snapshot,) = world.folder.glob("hf/hub/models--meta-llama--Llama-3.1-8B/snapshots/*")
    facts, densities = make_topology(dense, snapshot, [], tmp_path / "made", dense["seed"])
    assert Path(facts["folder"]) == snapshot  # nothing is copied
    assert {row["pattern"] for row in densities} == {"dense"}
    assert all(row["nonzeros"] == row["weights"] == parent[row["matrix"]].numel() for row in densities)


def _equal(masks, others):
    return masks.keys() == others.keys() and all(torch.equal(masks[name], others[name]) for name in masks)


COMPRESSED = "llama2.c-stories110M-pruned50-compressed-tensors"
BITMASK = {
    "bases": {"stories": {"registry": COMPRESSED}},
    "topologies": {"as_published": {"method": "counted"}},
    "streams": {"people": {"tasks": 2, "people": 4, "employers": 8}},
    "conditions": {
        "sparse": {"base": "stories", "topology": "as_published"},
        "dense": {"base": "stories", "topology": "dense"},
    },
}


def bitmask_study(commits, arm):
    """Overlays of a study of one arm on the compressed checkpoint."""
    study = {"name": "bitmask", "conditions": [arm], "claims": None, "contrasts": []}
    return [BITMASK, {"bases": {"stories": {"revision": commits[COMPRESSED]}}}, small(study=study)]


def test_a_compressed_checkpoint_is_a_base_where_it_lies_and_no_dense_one(world, monkeypatch, tmp_path):
    from sparse_continual.integrity import read_manifest
    from sparse_continual.pruning.make import make_topology
    from sparse_continual.runs.attach import start
    from sparse_continual.topologies.topology import Topology

    done = world.run("results/bitmask/budget.csv", overlays=bitmask_study(world.commits, "sparse"))
    assert done.returncode == 0, done.stdout + done.stderr
    model = dict(world.models[COMPRESSED].named_parameters())
    exists = {name: weight != 0 for name, weight in model.items() if name.endswith(LINEAR)}
    (row,) = world.rows("results/bitmask/budget.csv")
    assert int(row["nonzeros"]) == sum(int(mask.sum()) for mask in exists.values())
    assert row["pattern"] == "unstructured"
    assert not list(world.folder.glob("results/store/*/*/model"))  # nothing was copied
    (made,) = world.folder.glob("results/store/topologies/as_published-*/manifest.json")
    assert _equal(Topology.load(made.parent / "topology.safetensors").masks, exists)
    monkeypatch.chdir(world.folder)  # as a run's job reads it
    facts = read_manifest(made.relative_to(world.folder))
    job = {"topology": made.parent, "like": None, "seed": 1, "trust_remote_code": facts["trust_remote_code"]}
    arm = {
        "mechanism": {"kind": "finetune"},
        "sparse": True,
        "locked": True,
        "writes": "all",
        "ends": "frozen",
    }
    mechanism = start(arm, job | {"model": facts["folder"]})
    assert sum(values.numel() for values in mechanism.parameters()) == int(row["nonzeros"])
    for name, weight in mechanism.weights().items():
        assert torch.equal(weight, model[name].detach().float())

    # what the job of the other arm calls
    *overlays, arms = bitmask_study(world.commits, "dense")
    files = [world.folder / f"overlay{number}.yaml" for number in range(len(overlays))]
    config = merged([world.checkout / "config.yaml", *files], arms)
    dense = Study(checked(config)).topology("dense", "1").settings
    with pytest.raises(UserError) as refused:
        make_topology(dense, facts["folder"], [], tmp_path / "made", dense["seed"])
    message = str(refused.value)
    assert (
        "the checkpoint is sparse itself" in message
        and "`method: counted`" in message
        and "\n" not in message
    )

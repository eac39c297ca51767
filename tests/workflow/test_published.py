"""Studies on published checkpoints, with a hub on loopback that serves tiny stand-ins of the same layout."""

import csv
import io
import shutil
import subprocess

import numpy as np
import pytest
import torch
import yaml
from driver import ROOT, checked_out, command, planned
from encoded import bitmask, encode, shard  # noqa: E402
from fake_hub import FakeHub, files_of  # noqa: E402

from sparse_continual.bases.published import entry  # noqa: E402

TOKEN = "good-token"
FIGURES = yaml.safe_load((ROOT / "config.yaml").read_text())["figures"]
LINEAR = "_proj.weight"


def small(**more):
    """An overlay that leaves of a study what shows that the line holds."""
    study = {
        "blocks": 1,
        "training": {"batch_size": 4, "stop": {"steps": 3}},
        "tuning": {"learning_rates": [1e-3], "blocks": 2, "tasks": 1},
    }
    figures = {name: None for name in FIGURES if name not in ("forest", "density")}
    return {"study": {**study, **more.pop("study", {})}, "figures": figures, **more}


def llama(seed, dtype=torch.float32):
    from transformers import LlamaConfig, LlamaForCausalLM

    from sparse_continual.streams.lexicon import tokenizer

    words = tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).to(dtype), words


def zeroed(model, kept):
    """`model`, with zeros, some of them -0.0, where kept(matrix name, |weight|) says False."""
    for name, weight in model.named_parameters():
        if name.endswith(LINEAR):
            weight.data *= kept(name, weight.detach().float().abs())  # a negative weight leaves -0.0
    return model


def two_of_four(name, size):
    groups = size.view(-1, 4)
    return torch.zeros_like(groups, dtype=bool).scatter_(1, groups.topk(2).indices, True).view_as(size)


def half(name, size):
    return size >= size.median()


def pickled(folder, model, words):
    """A checkpoint as older repositories have it: pickled weights."""
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(hub, {registry name: commit}, {name: model}): stand-ins of what the shipped studies name."""
    root, hub, commits, models = tmp_path_factory.mktemp("stand-ins"), FakeHub(), {}, {}

    def serve(name, folder, **faults):
        commits[name] = hub.add(entry(name)["repo"], folder, **faults)

    for seed, (name, kept) in enumerate(
        {
            "llama2.c-stories110M": lambda name, size: torch.ones_like(size, dtype=bool),
            "llama2.c-stories110M-pruned50": lambda name, size: size >= size.quantile(0.7),  # not as declared
            "llama2.c-stories110M-pruned2.4": two_of_four,
        }.items()
    ):
        model, words = llama(seed)
        models[name] = zeroed(model, kept)
        serve(name, pickled(root / name, models[name], words))
    dense, words = llama(7, torch.bfloat16)
    for name, model in (
        ("Llama-3.1-8B", dense),
        ("Sparse-Llama-3.1-8B-2of4", zeroed(llama(8, torch.bfloat16)[0], two_of_four)),
    ):
        model.save_pretrained(root / name)
        words.save_pretrained(root / name)
        shard(root / name)
        models[name] = model
        serve(
            name, root / name, **({"gated": True, "admitted": frozenset({TOKEN})} if model is dense else {})
        )
    masks = {
        name.removesuffix(".weight") + ".weight.mask": two_of_four(name, weight.detach().float().abs())
        for name, weight in dense.named_parameters()
        if name.endswith(LINEAR)
    }
    packed = io.BytesIO()
    np.savez_compressed(packed, **{name: np.packbits(mask.numpy()) for name, mask in masks.items()})
    models["masks"] = {name.removesuffix(".mask"): mask for name, mask in masks.items()}
    serve("LLaMA-3.1-8B-MaskLLM-C4", {"mask_compressed.npz": packed.getvalue(), "README.md": b"masks"})

    name = "llama2.c-stories110M-pruned50-compressed-tensors"
    model, words = llama(9)
    models[name] = zeroed(model, half)
    model.save_pretrained(root / name)
    words.save_pretrained(root / name)
    block = {"quant_method": "compressed-tensors", "sparsity_config": {"format": "sparse-bitmask"}}
    encode(root / name, bitmask, lambda name: name.endswith(LINEAR), block={"quantization_config": block})
    serve(name, files_of(root / name))
    with hub:
        yield hub, commits, models


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    target = checked_out(tmp_path_factory.mktemp("checkout"))
    shutil.copytree(ROOT / "studies", target / "studies")
    return target


class World:
    """A working directory of a reader who knows the fake hub alone."""

    def __init__(self, served, checkout, folder):
        self.hub, self.commits, self.models = served
        self.checkout, self.folder = checkout, folder
        self.folder.mkdir(exist_ok=True)
        self.asked = len(self.hub.requests)

    def run(self, *arguments, overlays=(), study=None, token=None, offline=False):
        """The finished process of snakemake with a shipped study, by name, and overlays."""
        files = [self.checkout / "studies" / f"{study}.yaml"] if study else []
        for number, overlay in enumerate(overlays):
            files.append(self.folder / f"overlay{number}.yaml")
            files[-1].write_text(yaml.safe_dump(overlay))
        line, _ = command(self.checkout, self.folder, *arguments, "--configfile", *files)
        environment = self.hub.environment(self.folder / "hf", token, offline)
        environment |= {"PYTHONPATH": str(self.checkout / "workflow"), "OMP_NUM_THREADS": "1"}
        return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=1500)

    @property
    def requests(self):
        return self.hub.requests[self.asked :]

    def rows(self, path):
        with open(self.folder / path, newline="") as handle:
            return list(csv.DictReader(handle))


@pytest.fixture
def world(served, shipped, tmp_path):
    return World(served, shipped, tmp_path / "work")


def revisions_of_stories(commits):
    return {
        "bases": {
            "stories": {"revision": commits["llama2.c-stories110M"]},
            "pruned50": {"revision": commits["llama2.c-stories110M-pruned50"]},
            "pruned24": {"revision": commits["llama2.c-stories110M-pruned2.4"]},
        }
    }


def revisions_of_llama(commits):
    dense = commits["Llama-3.1-8B"]
    return {
        "bases": {
            "sparse_llama": {"revision": commits["Sparse-Llama-3.1-8B-2of4"]},
            "llama": {"revision": dense},
            "mask_llama": {"revision": commits["LLaMA-3.1-8B-MaskLLM-C4"], "dense_revision": dense},
        }
    }


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


def test_the_8b_study_runs_on_stand_ins(world):
    from sparse_continual.files import read_manifest
    from sparse_continual.models.load import load_model
    from sparse_continual.topologies.topology import Topology

    streams = {"people": {"tasks": 2, "people": 4, "employers": 8}}
    # the arms whose absent weights are free differ from these in nothing that is downloaded
    arms = {"conditions": ["dense", "sparse", "masked"], "claims": None, "contrasts": []}
    overlays = [revisions_of_llama(world.commits), small(streams=streams, study=arms)]
    done = world.run(
        "results/llama-8b-2of4/index.csv",
        "results/llama-8b-2of4/budget.csv",
        study="llama-8b-2of4",
        overlays=overlays,
        token=TOKEN,
    )
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

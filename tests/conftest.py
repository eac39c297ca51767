"""A tiny world on disk for the stages that train: a Llama, its 2:4 topology, a stream and a mixture."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:  # as many workers as cores: one thread for each
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def pytest_collection_modifyitems(items):
    """Start with the whole workflows, the longest file first, so that both workers end at about the same time."""
    longest = [
        "test_downloads.py",
        "test_published.py",
        "test_caches.py",
        "test_finished.py",
        "test_counted_bases.py",
    ]
    place = {f"tests/workflow/{name}": number for number, name in enumerate(longest)}
    items.sort(
        key=lambda item: place.get(item.nodeid.split("::")[0], 8 if "tests/workflow/" in item.nodeid else 9)
    )


WORDS = 40  # tokens that the toy rows are made of


@pytest.fixture(scope="session", autouse=True)
def counts_are_kept_apart(tmp_path_factory):
    """What is counted in tests is kept in a folder of theirs, and not in that of the working directory."""
    from sparse_continual.models import shape

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shape, "FOLDER", str(tmp_path_factory.mktemp("architectures")))
        yield


def toy_task(name: str, seed: int, train=24, held_out=8):
    """A Task of random rows of 5 to 8 tokens whose last two are predicted, in two parts."""
    from sparse_continual.streams.tasks import Task, make_split

    rng = np.random.default_rng(seed)

    def split(count):
        rows = [rng.integers(4, WORDS, size=length) for length in rng.integers(5, 9, size=count)]
        return make_split(rows, [len(row) - 2 for row in rows], parts=np.arange(count) % 2)

    parts = [{"name": "odd", "chance": 0.1, "ceiling": 1.0}, {"name": "even", "chance": 0.3, "ceiling": 0.9}]
    return Task(name, "exact", split(train), split(held_out), split(held_out), parts)


def tiny_llama(seed=0):
    """A Llama of width 16 with two blocks and a tied head, on the generated vocabulary."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from sparse_continual.streams.lexicon import vocabulary

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary()),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Manifests `dense`, `sparse` (bases), `stream` (tasks a, b, c), `mixture`; `masks` of the sparse one."""
    from sparse_continual.integrity import write_manifest
    from sparse_continual.models.load import save_model
    from sparse_continual.pruning.make import make_topology
    from sparse_continual.streams.lexicon import tokenizer
    from sparse_continual.streams.tasks import save_tasks
    from sparse_continual.topologies.topology import Topology

    root = tmp_path_factory.mktemp("world")
    save_model(tiny_llama(), tokenizer(), root / "model")
    tasks = [toy_task(name, seed) for seed, name in enumerate("abc", 1)]
    mixture = toy_task("base", 9, train=64)
    save_tasks(root / "stream" / "tasks", tasks)
    save_tasks(root / "mixture" / "tasks", [mixture])
    made = {}
    for name in ("stream", "mixture"):
        made[name] = str(root / name / "manifest.json")
        write_manifest(made[name], root / name / "tasks")
    for name, topology in (
        ("dense", {"method": "dense"}),
        ("sparse", {"method": "magnitude", "pattern": "2:4"}),
    ):
        recovery = {"steps": 3, "batch_size": 8, "learning_rate": 1e-3, "warmup": 1}
        settings = {"topology": topology, "recovery": recovery}
        facts, _ = make_topology(settings, root / "model", [(1, mixture.train)], root / name, 5)
        made[name] = str(root / name / "manifest.json")
        write_manifest(made[name], facts.pop("folder"), **facts)
    masks = Topology.load(root / "sparse" / "topology.safetensors").masks
    return SimpleNamespace(**made, masks=masks, root=root)


FINETUNE = {"kind": "finetune"}
EWC = {"kind": "ewc", "lambda": 30.0, "gamma": 0.9, "fisher": "sample", "normalise": True}
ARMS = {
    "dense": {"topology": "dense"},
    "sparse": {},
    "unlocked": {"locked": False},
    "masked writes": {"topology": "dense", "writes": "masked"},
    "random writes": {"topology": "dense", "writes": "random"},
    "trained ends": {"ends": "trained"},
    "masked lora": {"mechanism": {"kind": "lora", "rank": 2, "alpha": 8, "form": "masked"}},
    "dense lora": {
        "topology": "dense",
        "mechanism": {"kind": "lora", "rank": 2, "alpha": 8, "form": "masked"},
    },
    "side lora": {"mechanism": {"kind": "lora", "rank": 2, "alpha": 8, "form": "side"}, "ends": "trained"},
    "replay": {"mechanism": {"kind": "replay", "buffer_items": 6, "share": 0.25}},
    "ewc": {"mechanism": EWC},
    "unlocked ewc": {"mechanism": EWC, "locked": False, "ends": "trained"},
}


@pytest.fixture
def job_of(world, tmp_path):
    """A function (arm name, **changes) -> the job of a run of that arm on tasks a, b, c."""
    from sparse_continual.runs.inputs import located

    def make(name, **changes):
        arm = {"mechanism": FINETUNE, "locked": True, "writes": "all", "ends": "frozen", **ARMS[name]}
        topology = arm.pop("topology", "sparse")
        like = world.sparse if arm["writes"] != "all" else None
        job = {
            **located(getattr(world, topology), world.stream, like),
            "folder": tmp_path / "run",
            "resume": tmp_path / "resume",
            "identity": "0123456789abcdef",
            "arm": {**arm, "sparse": topology == "sparse"},
            "order": ["a", "b", "c"],
            "training": {"batch_size": 8, "stop": {"steps": 5}},
            "learning_rate": 3e-3,
            "seed": 11,
        }
        return job | changes

    return make


@pytest.fixture
def started(job_of):
    """A function (arm name) -> the mechanism attached to its model."""
    from sparse_continual.runs.attach import start

    def make(name, **changes):
        job = job_of(name, **changes)
        return start(job["arm"], job)

    return make


SHAPE = {"hidden_size": 32, "intermediate_size": 48, "layers": 2, "heads": 4, "kv_heads": 2}
VOCABULARY = 64


def build_llama(**changes):
    from transformers import LlamaConfig, LlamaForCausalLM

    settings = {
        "hidden_size": SHAPE["hidden_size"],
        "intermediate_size": SHAPE["intermediate_size"],
        "num_hidden_layers": SHAPE["layers"],
        "num_attention_heads": SHAPE["heads"],
        "num_key_value_heads": SHAPE["kv_heads"],
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
        "initializer_range": 0.2,
    }
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**(settings | changes))).eval()


@pytest.fixture
def llama():
    """Maker of tiny Llamas with equal weights; keyword arguments change the config."""
    return build_llama


@pytest.fixture
def shape():
    return dict(SHAPE)


@pytest.fixture
def rows():
    """int64[24, 20] token ids."""
    return torch.randint(4, VOCABULARY, (24, 20), generator=torch.Generator().manual_seed(1))

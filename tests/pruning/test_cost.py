"""What methods are planned to have pass, against what passes a tiny Llama's blocks while they run."""

import pytest
from torch.utils.flop_counter import FlopCounterMode

from sparse_continual import prune, registry
from sparse_continual.budgets.pruning import making
from sparse_continual.code import PACKAGE, closure
from sparse_continual.pruning.check import needs_text
from sparse_continual.streams.calibration import rows_of_model
from sparse_continual.training.arithmetic import Shape

ROWS, TOKENS = 12, 10
FEW = {"steps": 5, "batch_size": 3, "warmup": 0}
HALF = {"unstructured": 0.5, "structured": 0.5, "2:4": None}
OTHERWISE = [  # settings under which a method reads more or less than by its defaults
    {"method": "sparsegpt", "pattern": "2:4", "true_sequential": True},
    {"method": "obc", "pattern": "2:4", "one_pass": True},
    {"method": "wandapp", "pattern": "2:4", "rounds": 0},
    {"method": "wandapp", "pattern": "2:4", "rounds": 2, "samples": 5, "sequential": False},
    {"method": "imp", "pattern": "unstructured", "sparsity": 0.8, "rate": 0.3, "rewind": 0.5, **FEW},
    {"method": "maskllm", "pattern": "2:4", "prior": "wanda", **FEW},
    {"method": "maskllm", "pattern": "2:4", "prior": "none", **FEW},
    {"method": "llm_pruner", "pattern": "structured", "sparsity": 0.5, "importance": "l2"},
    {"method": "shuffled", "pattern": "2:4", "of": "wanda"},
    {"method": "shuffled", "pattern": "2:4", "of": "magnitude"},
    {
        "method": "shuffled",
        "pattern": "unstructured",
        "sparsity": 0.5,
        "of": "magnitude",
        "allocation": "owl",
    },
    {"method": "magnitude", "pattern": "unstructured", "sparsity": 0.5, "allocation": "owl"},
    {"method": "wanda", "pattern": "unstructured", "sparsity": 0.5, "allocation": "owl"},
]


def plain(name):
    """Settings of a method by its own defaults, and few steps where it trains."""
    found = registry.load("pruning.methods", name)
    pattern = found.patterns[0] if found.patterns[0] in HALF else "2:4"
    few = FEW if "steps" in registry.schema("pruning.methods", name)["properties"] else {}
    return {"method": name, "pattern": pattern, "sparsity": HALF[pattern], **few}


MADE = [
    name
    for name in registry.names("pruning.methods")
    if name not in ("dense", "counted", "shuffled")  # which make nothing, or nothing by themselves
]


class Counter:
    """Tokens that enter the decoder blocks of `model`, and whose gradients come back, over the number of blocks."""

    def __init__(self, model):
        self.forward = self.backward = 0
        self.blocks = len(model.model.layers)
        for block in model.model.layers:
            block.input_layernorm.register_forward_pre_hook(self._entered)  # what a block does first
            block.register_forward_hook(self._passed)

    def _entered(self, module, args):
        self.forward += args[0][..., 0].numel() / self.blocks

    def _passed(self, module, args, out):
        out = out[0] if isinstance(out, tuple) else out
        if out.requires_grad:
            out.register_hook(self._returned)

    def _returned(self, gradient):
        self.backward += gradient[..., 0].numel() / self.blocks


def test_what_prices_a_method_makes_no_topology_again():
    script = PACKAGE.parents[1] / "scripts" / "pruning" / "make_topology.py"
    for name in registry.names("pruning.methods"):
        read = closure(script, f"pruning.methods.{name}")
        assert PACKAGE / "topologies" / "passes.py" not in read, name


def text_of(settings, rows):
    if not needs_text(settings):
        return None
    return {"sequences": len(rows), "tokens": rows.shape[1], "written": False}


def ran(model, settings, rows):
    """`model` after it was pruned as a study would."""
    options = {key: value for key, value in settings.items() if key not in ("method", "pattern", "sparsity")}
    calibration = rows if needs_text(settings) else None
    prune(model, settings["method"], settings["pattern"], settings.get("sparsity"), calibration, **options)


@pytest.mark.parametrize("settings", [*map(plain, MADE), *OTHERWISE], ids=lambda found: found["method"])
def test_planned_is_what_passes(llama, shape, rows, settings):
    model, rows = llama(), rows[:ROWS, :TOKENS]
    counter = Counter(model)
    ran(model, settings, rows)
    found = making(settings, Shape(**shape, vocabulary=64), text_of(settings, rows))
    assert found["method_forward_tokens"] == pytest.approx(counter.forward, rel=1e-12)
    assert found["method_backward_tokens"] == pytest.approx(counter.backward, rel=1e-12)
    assert (found["method_flops"] > 0) == (counter.forward > 0)


def counted_flops(model, settings, rows):
    """FLOPs of all matrix products while a method runs, without the rotary tables'."""
    calls = []
    model.model.rotary_emb.register_forward_pre_hook(lambda module, args: calls.append(1))
    with FlopCounterMode(display=False) as counter:
        ran(model, settings, rows)
    return counter.get_total_flops() - len(calls) * rows.shape[1] * 8  # heads of 8


@pytest.mark.parametrize("name", ["gmp", "imp", "l0", "llm_pruner", "movement", "snip"])
def test_flops_are_those_of_the_counter(llama, shape, rows, name):
    """Of methods whose only matrix products are the model's own."""
    rows, settings = rows[:ROWS, :TOKENS], plain(name)
    if settings["pattern"] == "structured":
        settings["export"] = "masked"  # as in a study: the compact model that is tried out has fewer
    found = making(settings, Shape(**shape, vocabulary=64), text_of(settings, rows))
    assert found["method_flops"] == counted_flops(llama(attn_implementation="eager"), settings, rows)


def test_flops_of_passes_through_single_blocks(llama, shape, rows):
    """The counter lacks what follows the last input that is asked for: down_proj, but in the first row."""
    rows = rows[:ROWS, :TOKENS]
    settings = {"method": "wandapp", "pattern": "2:4", "rounds": 0, "sequential": False}
    found = making(settings, Shape(**shape, vocabulary=64), text_of(settings, rows))
    down = 2 * 32 * 48 * TOKENS * (ROWS - 1) * shape["layers"]
    assert found["method_flops"] == counted_flops(llama(attn_implementation="eager"), settings, rows) + down


def test_text_that_the_model_writes_itself(llama, shape):
    """Every token but the last is read, once."""
    model = llama(bos_token_id=1)
    counter = Counter(model)
    rows_of_model(model, 3, 7, seed=0)
    settings = {"method": "magnitude", "pattern": "unstructured", "sparsity": 0.5, "allocation": "owl"}
    text = {"sequences": 3, "tokens": 7}
    own, read = (
        making(settings, Shape(**shape, vocabulary=64), text | {"written": written})
        for written in (True, False)
    )
    assert own["method_forward_tokens"] - read["method_forward_tokens"] == counter.forward == 3 * 6

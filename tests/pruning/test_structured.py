"""Heads and channels: masked and compact models agree, queries go with their keys, lines are gates."""

import pytest
import torch
from layers import functions, job_of

from sparse_continual import Topology, prune
from sparse_continual.errors import UserError
from sparse_continual.models.load import load_model, prunable, save_model
from sparse_continual.pruning import structured
from sparse_continual.training import gradual

OPTIONS = {
    "llm_pruner": {},
    "loraprune": {"steps": 12, "every": 2, "batch_size": 4, "warmup": 0, "learning_rate": 1e-2},
}
KINDS = ["param_first", "param_second", "param_mix", "vectorize", "l1", "l2"]


@pytest.fixture
def wide(llama):
    """Maker of Llamas with 4 key-value heads, two queries each, and biases."""
    return lambda **changes: llama(
        **{"num_attention_heads": 8, "num_key_value_heads": 4, "attention_bias": True, "mlp_bias": True}
        | changes
    )


def pruned(model, name, rows, **options):
    return prune(model, name, "structured", 0.5, rows, **OPTIONS[name] | options)


@pytest.mark.parametrize("name", OPTIONS)
def test_masked_and_compact_are_one_model(wide, rows, name, tmp_path):
    masked, compact = wide(), wide()
    whole = sum(module.weight.numel() for module in prunable(masked).values())
    ones = pruned(masked, name, rows, export="masked")
    small = pruned(compact, name, rows)
    torch.testing.assert_close(masked(rows).logits, compact(rows).logits, rtol=0, atol=1e-5)
    ones.check(masked), small.check(compact)
    assert small.density == 1 and ones.density == pytest.approx(0.5, abs=0.01)
    assert sum(m.numel() for m in small.masks.values()) == sum(int(m.sum()) for m in ones.masks.values())
    config = compact.config
    assert (config.num_attention_heads, config.num_key_value_heads) == (4, 2)
    assert (config.head_dim, config.intermediate_size) == (4, 24)
    small.save(tmp_path / "topology.safetensors")
    told = Topology.load(tmp_path / "topology.safetensors")
    assert told.record["structured"] == "compact" and told.record["dense_weights"] == whole
    assert told.pattern == "structured"


def test_a_compact_model_is_saved_and_loaded(wide, rows, tmp_path):
    from sparse_continual.streams.lexicon import tokenizer

    model = wide()
    pruned(model, "llm_pruner", rows)
    save_model(model, tokenizer(), tmp_path / "model")
    assert torch.equal(load_model(tmp_path / "model")(rows).logits, model(rows).logits)


@pytest.mark.parametrize("name", OPTIONS)
def test_queries_go_with_the_keys_that_they_read(wide, rows, name):
    masks = pruned(wide(), name, rows, export="masked").masks
    for block in range(2):
        part = {p: masks[f"model.layers.{block}.{m}.{p}.weight"] for p, m in parts()}
        keys = part["k_proj"].all(1).view(4, 4).all(1)  # head groups of 4 rows
        assert int(keys.sum()) == 2
        assert torch.equal(part["k_proj"], keys.repeat_interleave(4)[:, None].expand(16, 32))
        assert torch.equal(part["v_proj"], part["k_proj"])
        queries = keys.repeat_interleave(8)
        assert torch.equal(part["q_proj"], queries[:, None].expand(32, 32))
        assert torch.equal(part["o_proj"], queries[None].expand(32, 32))
        channels = part["gate_proj"].all(1)
        assert int(channels.sum()) == 24
        assert torch.equal(part["up_proj"], part["gate_proj"])
        assert torch.equal(part["down_proj"], channels[None].expand(32, 48))


def parts():
    return [(p, "self_attn") for p in structured.ATTENTION] + [(p, "mlp") for p in structured.MLP]


@pytest.mark.parametrize("kind", KINDS)
def test_lines_that_are_nothing_go_first(wide, rows, kind):
    """Heads 1 and 3 and half of the channels zeroed: pruning takes these and changes no logit."""
    model = wide(attention_bias=False, mlp_bias=False)
    for block in model.model.layers:
        for head in (1, 3):
            for module, lines in (
                (block.self_attn.k_proj, 4),
                (block.self_attn.v_proj, 4),
                (block.self_attn.q_proj, 8),
            ):
                module.weight.data[head * lines : (head + 1) * lines] = 0
            block.self_attn.o_proj.weight.data[:, head * 8 : (head + 1) * 8] = 0
        for module in (block.mlp.gate_proj, block.mlp.up_proj):
            module.weight.data[::2] = 0
        block.mlp.down_proj.weight.data[:, ::2] = 0
    before = model(rows).logits
    pruned(model, "llm_pruner", rows, importance=kind)
    torch.testing.assert_close(model(rows).logits, before, rtol=0, atol=1e-5)


def test_vectorized_importance_is_the_slope_of_a_gate_on_the_line(rows):
    """Central differences in double precision, on rows of one matrix and columns of another."""
    from families import build

    llm_pruner = functions("llm_pruner")
    model = build("OPT").double()
    job = job_of(model, rows[:3])
    with torch.no_grad():
        gradients, squares = llm_pruner.slopes(job, "vectorize")
        assert not squares
        for number, along in ((0, 1), (5, 0)):
            name = list(job.linears)[number]
            weight = job.linears[name].weight
            found = llm_pruner.line_importance(weight, gradients[name], None, "vectorize", along)
            line, losses = (weight[4] if along else weight[:, 4]), []
            dense = line.clone()
            for gate in (1 + 1e-4, 1 - 1e-4):
                line.copy_(gate * dense)
                losses.append(sum(gradual.lm_loss(model, [row]).item() for row in rows[:3]) / 3)
            line.copy_(dense)
            assert found[4].item() == pytest.approx(abs(losses[0] - losses[1]) / 2e-4, rel=1e-3, abs=1e-7)


def test_slopes_are_means_over_rows_of_what_the_importance_asks_for(llama, rows):
    llm_pruner = functions("llm_pruner")
    model = llama()
    job = job_of(model, rows[:3])
    each = []
    for row in job.rows:
        weights = [module.weight for module in job.linears.values()]
        each.append(torch.autograd.grad(gradual.lm_loss(model, [row]), weights))
    with torch.no_grad():
        for kind in KINDS:
            gradients, squares = llm_pruner.slopes(job, kind)
            assert bool(gradients) == (kind in ("param_first", "param_mix", "vectorize"))
            assert bool(squares) == (kind in ("param_second", "param_mix"))
            for number, name in enumerate(job.linears):
                slopes = torch.stack([found[number] for found in each])
                if gradients:
                    torch.testing.assert_close(gradients[name], slopes.mean(0))
                if squares:
                    torch.testing.assert_close(squares[name], slopes.square().mean(0))
    assert all(
        p.grad is None and p.requires_grad and not p._post_accumulate_grad_hooks for p in model.parameters()
    )


def test_a_failure_leaves_no_hooks(llama, rows, monkeypatch):
    """They would take every later gradient away."""
    llm_pruner = functions("llm_pruner")
    model, whole, calls = llama(), gradual.loss_by_blocks, []

    def broken(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError
        return whole(*args, **kwargs)

    monkeypatch.setattr(gradual, "loss_by_blocks", broken)
    with pytest.raises(MemoryError), torch.no_grad():
        llm_pruner.slopes(job_of(model, rows), "param_first")
    gradual.lm_loss(model, [rows[0]]).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_importances_by_hand():
    llm_pruner = functions("llm_pruner")
    weight, slope, square = (
        torch.tensor([[1.0, -2.0]]),
        torch.tensor([[0.5, 1.0]]),
        torch.tensor([[1.0, 4.0]]),
    )
    found = {k: llm_pruner.line_importance(weight, slope, square, k, 1).item() for k in KINDS}
    assert found == pytest.approx(
        {"param_first": 2.5, "param_second": 17, "param_mix": 0 + 10, "vectorize": 1.5, "l1": 3, "l2": 5**0.5}
    )


def test_the_dense_end_and_shares_that_are_no_whole_heads(wide, rows):
    model = wide()
    before = model(rows).logits
    prune(model, "llm_pruner", "structured", 0, rows)
    assert torch.equal(model(rows).logits, before)
    masks = prune(wide(), "llm_pruner", "structured", 0.3, rows, export="masked").masks
    assert int(masks["model.layers.0.self_attn.k_proj.weight"].all(1).sum()) == 12  # 1 of 4 heads
    assert int(masks["model.layers.0.mlp.up_proj.weight"].all(1).sum()) == 33  # int(48 * 0.7)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sparsity": 1.0}, "sparsity 1.0: pattern structured needs"),
        ({"sparsity": 0.99}, "gate_proj.weight: sparsity 0.99 leaves no channel"),
        ({"sparsity": 0.5, "first": 1}, "first 1 and last 0 blocks left whole with export compact"),
        ({"sparsity": 0.5, "first": 2, "export": "masked"}, "of 2 blocks left whole: none is pruned"),
        ({"sparsity": 0.5, "pattern": "2:4"}, "method llm_pruner: found pattern '2:4', expected structured"),
        ({"sparsity": 0.5, "calibration": None}, "no calibration sequences"),
    ],
)
def test_mistakes(wide, rows, options, words):
    with pytest.raises(UserError, match=words):
        prune(wide(), "llm_pruner", **{"pattern": "structured", "calibration": rows} | options)


def test_blocks_left_whole_and_other_families(wide, rows):
    from families import build

    masks = prune(wide(), "llm_pruner", "structured", 0.5, rows, export="masked", first=1).masks
    assert all(mask.all() == ("layers.0." in name) for name, mask in masks.items())
    with pytest.raises(UserError, match="model.decoder.layers.0: found .*fc1.*structured pruning expects"):
        prune(build("OPT"), "llm_pruner", "structured", 0.5, rows)
    twice = wide()
    twice.model.layers[1].mlp.second = torch.nn.ModuleDict({"up_proj": torch.nn.Linear(4, 4)})
    with pytest.raises(UserError, match="model.layers.1: found 8 matrices"):
        prune(twice, "llm_pruner", "structured", 0.5, rows)
    for family in ("Qwen3", "Mistral", "Qwen2"):
        masked, compact = build(family), build(family)
        prune(masked, "llm_pruner", "structured", 0.5, rows, export="masked")
        prune(compact, "llm_pruner", "structured", 0.5, rows)
        torch.testing.assert_close(masked(rows).logits, compact(rows).logits, rtol=0, atol=1e-5)


def test_loraprunes_slope_is_one_descent_step():
    loraprune = functions("loraprune")
    generator = torch.Generator().manual_seed(0)
    up, down, target = (torch.randn(*s, generator=generator) for s in ((5, 2), (2, 7), (5, 7)))
    up.requires_grad_(), down.requires_grad_()
    (up @ down - target).square().sum().backward()
    with torch.no_grad():
        change = (up - up.grad) @ (down - down.grad) - up @ down
        torch.testing.assert_close(loraprune.slope_of(up, down, up.grad, down.grad), -change)


def test_loraprune_trains_the_weights_that_stay_and_the_loss_with_them(llama, rows):
    """On a text of four repeating words: lower than LLM-Pruner's at the same shape, which does not train."""
    text = torch.tensor([[4 + (i + row) % 4 for i in range(20)] for row in range(8)])
    losses = {}
    options = {"steps": 40, "learning_rate": 1e-2, "batch_size": 4, "warmup": 0, "every": 4}
    for name, own in (("llm_pruner", {}), ("loraprune", options)):
        model = llama()
        record = prune(model, name, "structured", 0.5, text, **own).record
        with torch.no_grad():
            losses[name] = gradual.lm_loss(model, list(text)).item()
    assert losses["loraprune"] < 0.7 * losses["llm_pruner"]
    assert record["tokens"] == 40 * 4 * 20


def test_loraprune_twice_and_diverging(wide, rows):
    models = [wide(), wide()]
    found = [pruned(model, "loraprune", rows, export="masked") for model in models]
    assert found[0].sha256 == found[1].sha256
    assert all(torch.equal(a, b) for a, b in zip(*(m.parameters() for m in models), strict=True))
    with pytest.raises(UserError, match="training diverged"):
        pruned(wide(), "loraprune", rows, learning_rate=1e30)

"""Methods that train: what holds for all of them, on a tiny Llama and a few steps."""

import weakref

import pytest
import torch
from layers import functions, job_of, method

from sparse_continual import prune, registry
from sparse_continual.errors import UserError
from sparse_continual.models.blockwise import block_of
from sparse_continual.models.load import prunable
from sparse_continual.topologies.counts import Count, kept_total, matrices
from sparse_continual.training import gradual

SETTINGS = {"steps": 6, "batch_size": 4, "warmup": 0}
TRAINED = [
    n
    for n in registry.names("pruning.methods")
    if "steps" in registry.schema("pruning.methods", n)["properties"]
]
PAIRS = [
    (name, pattern)
    for name in TRAINED
    for pattern in ("unstructured", "2:4")
    if (pattern if pattern == "unstructured" else "N:M") in registry.load("pruning.methods", name).patterns
]


@pytest.mark.parametrize(("name", "pattern"), PAIRS)
def test_exact_counts_and_untouched_rest(llama, shape, rows, name, pattern):
    model = llama()
    sparsity = 0.7 if pattern == "unstructured" else None
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    topology = prune(model, name, pattern, sparsity, rows, **SETTINGS)
    topology.check(model)
    found = sum(int(mask.sum()) for mask in topology.masks.values())
    assert found == kept_total(matrices(shape), pattern, sparsity)
    if pattern == "2:4":
        assert all((mask.view(-1, 4).sum(1) == 2).all() for mask in topology.masks.values())
    linears = prunable(model)
    for n, parameter in model.named_parameters():
        assert n in linears or torch.equal(parameter, before[n])
        assert parameter.requires_grad and parameter.grad is None
    assert topology.record["tokens"] % (4 * 20 * 2) == 0  # rows of 20 tokens, 4 a step


@pytest.mark.parametrize(("name", "pattern"), PAIRS)
def test_same_seed_same_bytes(llama, rows, name, pattern):
    models = [llama(), llama(), llama()]
    sparsity = 0.7 if pattern == "unstructured" else None
    found = [
        prune(model, name, pattern, sparsity, rows, seed, **SETTINGS)
        for model, seed in zip(models, (0, 0, 1), strict=True)
    ]
    weights = [torch.cat([p.detach().flatten() for p in model.parameters()]) for model in models]
    assert torch.equal(weights[0], weights[1]) and found[0].sha256 == found[1].sha256
    assert found[0].record == found[1].record
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(("name", "pattern"), PAIRS)
def test_training_that_diverges_is_refused(llama, rows, name, pattern, monkeypatch):
    broken = gradual.lm_loss
    monkeypatch.setattr(gradual, "lm_loss", lambda *a, **k: broken(*a, **k) * float("inf"))
    with pytest.raises(UserError, match="training diverged: the loss at step 1 of 6 is (inf|nan)"):
        prune(llama(), name, pattern, 0.5, rows, **SETTINGS)


def test_the_loss_is_that_of_the_models_own_code(llama, rows):
    """Unpadded rows, against transformers; padding changes nothing."""
    model = llama()
    expected = model(input_ids=rows, labels=rows).loss.item()
    assert gradual.lm_loss(model, list(rows)).item() == pytest.approx(expected, rel=1e-6)
    ragged = [rows[0], rows[1][:7]]
    parts = [gradual.lm_loss(model, [row], reduction="sum").item() for row in ragged]
    assert gradual.lm_loss(model, ragged).item() == pytest.approx(sum(parts) / (19 + 6), rel=1e-5)


def test_blocks_are_run_again_and_keep_nothing(llama, rows):
    """The same gradients, with little saved outside the blocks."""
    job, saved, found = job_of(llama(), rows), [], []
    for loss in (
        lambda: gradual.lm_loss(job.model, job.rows),
        lambda: gradual.loss_by_blocks(job, job.rows),
    ):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, kept=kept: kept.append(tensor.numel()) or tensor, lambda tensor: tensor
        ):
            found.append(torch.autograd.grad(loss(), [module.weight for module in job.linears.values()]))
        saved.append(sum(kept))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert saved[1] < saved[0] / 3
    assert all("forward" not in vars(block) for block in job.model.model.layers)


@pytest.mark.parametrize("family", ["Llama", "GPT2", "Mpt"])
def test_stand_ins_are_made_block_by_block(family, rows):
    """They give the gradients of a model that has them all, and one block's are in memory at a time."""
    from families import build

    job = job_of(build(family), rows[:4])
    names = list(job.linears)
    factors = {n: torch.full((), 1 + 0.01 * i, requires_grad=True) for i, n in enumerate(names)}

    def stand_in(name):
        return job.linears[name].weight.detach() * factors[name]

    inputs = {"input_ids": torch.stack(job.rows), "labels": torch.stack(job.rows)}
    plain = torch.func.functional_call(job.model, {n: stand_in(n) for n in names}, (), inputs).loss
    expected = torch.autograd.grad(plain, list(factors.values()))
    made, blocks_at_once = [], []

    def watched(name):
        tensor = stand_in(name)
        made.append((name, weakref.ref(tensor)))
        blocks_at_once.append(len({block_of(n) for n, there in made if there() is not None}))
        return tensor

    loss = gradual.loss_by_blocks(job, job.rows, watched)
    found = torch.autograd.grad(loss, list(factors.values()))
    assert loss.item() == pytest.approx(plain.item(), rel=1e-6)
    torch.testing.assert_close(found, expected)
    assert len(made) == 2 * len(names) and max(blocks_at_once) == 1  # forward, and again for the gradient


@pytest.mark.parametrize("name", ["l0", "maskllm", "movement", "loraprune"])
def test_what_stands_in_is_the_same_when_a_block_is_run_again(llama, rows, name, monkeypatch):
    """Noise too, which is another at every step and in every matrix; so gradients are those of what was read."""
    chosen, made = method(name), {}
    steps, whole = [], gradual.loss_by_blocks

    def watched(job, rows, stand_in=None, reduction="mean"):
        step = len(steps)
        steps.append(step)

        def seen(name):
            tensor = stand_in(name)
            made.setdefault((step, name), []).append(tensor.detach().clone())
            return tensor

        return whole(job, rows, seen, reduction)

    drawn, uniform = {}, gradual.uniform

    def drawing(shape, device, seed, *what):
        drawn[what] = uniform(shape, device, seed, *what)
        return drawn[what]

    monkeypatch.setattr(gradual, "uniform", drawing)
    monkeypatch.setattr(gradual, "loss_by_blocks", watched)
    pattern = (
        "unstructured" if "unstructured" in chosen.patterns else {"maskllm": "2:4"}.get(name, "structured")
    )
    prune(llama(), name, pattern, None if pattern == "2:4" else 0.5, rows, steps=2, batch_size=2, warmup=0)
    assert len(steps) == 2
    assert all(len(both) == 2 and torch.equal(*both) for both in made.values())
    name_of = "model.layers.{}.self_attn.q_proj.weight".format
    assert not torch.equal(made[0, name_of(0)][0], made[0, name_of(1)][0])
    if name in ("l0", "maskllm"):
        assert set(drawn) == set(made)
        beginnings = [noise.flatten()[:8].tolist() for noise in drawn.values()]
        assert all(beginnings.count(one) == 1 for one in beginnings)


@pytest.mark.parametrize("name", ["snip", "llm_pruner", "gmp", "movement", "l0"])
def test_gradients_that_were_there_change_nothing_and_stay(llama, rows, name):
    models = [llama(), llama()]
    pattern = "structured" if name == "llm_pruner" else "unstructured"
    options = {"export": "masked"} if name == "llm_pruner" else SETTINGS if name in TRAINED else {}
    for parameter in models[1].parameters():
        parameter.grad = torch.ones_like(parameter)
    found = [prune(model, name, pattern, 0.5, rows, **options) for model in models]
    assert found[0].sha256 == found[1].sha256
    assert all(p.grad is None for p in models[0].parameters())
    assert all((p.grad == 1).all() for p in models[1].parameters())


def test_a_blocks_own_forward_is_put_back(llama, rows):
    """As accelerate's hooks set it."""
    model, calls = llama(), []
    first, second = model.model.layers[:2]

    def own(*args, **kwargs):
        calls.append(1)
        return type(first).forward(first, *args, **kwargs)

    first.forward = own
    prune(model, "snip", sparsity=0.5, calibration=rows)
    assert vars(first)["forward"] is own and "forward" not in vars(second)
    assert calls


def test_penalties_and_rewards_count(llama, rows):
    """Movement's penalty lowers scores, MaskLLM's reward keeps larger weights, or the choice would not change."""
    for name, pattern, key, values in (
        ("movement", "unstructured", "penalty", (0, 4000)),
        ("maskllm", "2:4", "reward", (0, 10)),
    ):
        options = SETTINGS | (
            {"form": "soft"} if name == "movement" else {"prior": "none", "learning_rate": 0.1}
        )
        found = [
            prune(llama(), name, pattern, 0.5, rows, **options, **{key: value}).sha256 for value in values
        ]
        assert found[0] != found[1]


def test_sums_are_computed_again_for_the_gradient():
    values, made = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0])}, []
    for value in values.values():
        value.requires_grad_()

    def square(name):
        made.append(name)
        return values[name].square().sum()

    total = gradual.sum_recomputed(square, values)
    assert total.item() == 14 and made == ["a", "b"]
    total.backward()
    assert made == ["a", "b", "b", "a"]
    assert values["a"].grad.tolist() == [2, 4] and values["b"].grad.tolist() == [6]


def test_draws_hang_on_what_they_are_for():
    first, again, other = (gradual.uniform((40,), "cpu", 5, step, "a") for step in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert 0 <= first.min() < 0.2 and 0.8 < first.max() < 1


def test_cubic():
    assert [gradual.cubic(step, 10, 30) for step in (0, 10, 20, 30, 99)] == [0, 0, 7 / 8, 1, 1]
    assert gradual.cubic(5, 5, 5) == 1


# gmp


def writes_of(monkeypatch):
    from sparse_continual.pruning.prune import Job

    seen, write = [], Job.write

    def watched(job, name, mask, weight):
        seen.append((name, mask.clone()))
        write(job, name, mask, weight)

    monkeypatch.setattr(Job, "write", watched)
    return seen


def test_gmp_counts_by_hand():
    gmp = functions("gmp")
    kept = [gmp.interim(Count(300), 1000, step, 10, 30).kept for step in (10, 20, 30)]
    assert kept == [1000, 1000 - round(700 * 7 / 8), 300]
    assert gmp.interim(Count(300), 1000, 10, 10, 30, initial=0.2).kept == 800
    pairs = [gmp.interim(Count(500, (2, 4)), 1000, step, 10, 30) for step in (10, 13, 20, 30)]
    assert [(c.kept, c.groups) for c in pairs] == [
        (1000, (4, 4)),
        (750, (3, 4)),
        (500, (2, 4)),
        (500, (2, 4)),
    ]


def test_gmp_masks_are_nested_and_exact_at_every_update(llama, rows, monkeypatch):
    seen = writes_of(monkeypatch)
    options = {
        "steps": 12,
        "every": 2,
        "start": 0.0,
        "end": 0.8,
        "batch_size": 4,
        "warmup": 0,
        "learning_rate": 1e-2,
    }
    prune(llama(), "gmp", sparsity=0.75, calibration=rows, **options)
    name = "model.layers.0.mlp.up_proj.weight"
    masks = [mask for n, mask in seen if n == name]
    assert len(masks) == 7  # at 0, 2, 4, 6, 8, at the end (10), and once more for good
    assert all((~a & b).sum() == 0 for a, b in zip(masks, masks[1:], strict=False))
    size = masks[0].numel()
    expected = [size - round(0.75 * size * (1 - (1 - x / 10) ** 3)) for x in (0, 2, 4, 6, 8, 10)]
    assert [int(mask.sum()) for mask in masks[:-1]] == expected


def test_gmp_in_one_update_without_training_is_magnitude(llama, rows):
    for pattern, sparsity in (("unstructured", 0.6), ("2:4", None)):
        models = [llama(), llama()]
        options = {"steps": 3, "start": 0, "end": 0, "learning_rate": 0, "batch_size": 2}
        found = prune(models[0], "gmp", pattern, sparsity, rows, **options)
        assert found.sha256 == prune(models[1], "magnitude", pattern, sparsity).sha256
        assert all(torch.equal(a, b) for a, b in zip(*(m.parameters() for m in models), strict=True))


def test_gmp_recovers_what_one_shot_magnitude_loses(llama, rows):
    """Trained on a text of four repeating words, both at 80 %: gradual pruning ends at a lower loss on it."""
    text = torch.tensor([[4 + (i + row) % 4 for i in range(20)] for row in range(8)])
    losses = {}
    for name, options in (("magnitude", {}), ("gmp", {"steps": 40, "learning_rate": 3e-3, "batch_size": 4})):
        model = llama()
        prune(model, name, sparsity=0.8, calibration=text, **options)
        with torch.no_grad():
            losses[name] = gradual.lm_loss(model, list(text)).item()
    assert losses["gmp"] < 0.5 * losses["magnitude"]


def test_gmp_with_its_end_before_its_start(llama, rows):
    with pytest.raises(UserError, match="method gmp.start: found '0.9', expected number"):
        prune(llama(), "gmp", sparsity=0.5, calibration=rows, start="0.9")
    with pytest.raises(UserError, match="method gmp: found end 0.2 before start 0.5"):
        prune(llama(), "gmp", sparsity=0.5, calibration=rows, start=0.5, end=0.2)


# movement


def test_movement_gradients_are_exact():
    movement = functions("movement")
    generator = torch.Generator().manual_seed(0)
    weight, scores, slope = (torch.randn(4, 6, generator=generator) for _ in range(3))
    mask = torch.rand(4, 6, generator=generator) < 0.5
    weight.requires_grad_(), scores.requires_grad_()
    read = movement.straight_through()(weight, scores, mask)
    assert torch.equal(read, weight * mask)
    (read * slope).sum().backward()
    assert torch.equal(scores.grad, slope * weight) and torch.equal(weight.grad, slope * mask)


def test_movement_scores_sum_up_minus_slope_times_weight():
    """Frozen weights, a linear loss, SGD: Z = -rate * steps * g * w."""
    movement = functions("movement")
    weight, slope = torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([[0.3, 0.1, -1.0]])
    scores = torch.zeros(1, 3, requires_grad=True)
    optimizer = torch.optim.SGD([scores], lr=0.1)
    for _ in range(7):
        mask = movement.largest(scores, 2)
        (movement.straight_through()(weight, scores, mask) * slope).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.testing.assert_close(scores.detach(), -0.1 * 7 * slope * weight)


def test_movement_forms(llama, rows):
    """Both forms end at the exact count; scores moved, so the topology is not by index; the penalty lowers scores."""
    movement = functions("movement")
    found = {
        form: prune(llama(), "movement", sparsity=0.7, calibration=rows, form=form, **SETTINGS)
        for form in ("hard", "soft")
    }
    assert found["hard"].sha256 != found["soft"].sha256
    for topology in found.values():
        mask = topology.masks["model.layers.0.mlp.up_proj.weight"]
        assert 0.5 < mask[: len(mask) // 2].sum() / mask[len(mask) // 2 :].sum() < 2
    scores = torch.tensor([[-9.0, -8.0, -7.0, 3.0]])
    assert movement.above(scores, 0.5).tolist() == [[False, False, False, True]]
    assert movement.above(scores - 20, 0.5).tolist() == [[False, False, False, True]]  # 0.5 % at least
    assert movement.above(scores, 0.0).all()


# l0


def test_l0_gates_open_and_shut_as_often_as_they_should():
    """200 000 draws; at a = 0 both ends have probability 1 / (1 + 11^(2/3)) = 0.1682."""
    import math

    l0 = functions("l0")
    draw = torch.rand(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64).clamp(
        1e-6, 1 - 1e-6
    )
    for a in (-1.5, 0.0, 2.0):
        gates = l0.gate(torch.tensor(a, dtype=torch.float64), draw)
        shut = 1 - l0.opened(torch.tensor(a, dtype=torch.float64)).item()
        whole = 1 - 1 / (1 + math.exp(a - 2 / 3 * math.log(11)))
        assert (gates == 0).double().mean().item() == pytest.approx(shut, abs=0.004)
        assert (gates == 1).double().mean().item() == pytest.approx(whole, abs=0.004)
    assert 1 - l0.opened(torch.tensor(0.0)).item() == pytest.approx(1 / (1 + 11 ** (2 / 3)), abs=1e-6)
    a = torch.tensor(0.3, requires_grad=True)
    l0.opened(a).backward()
    open_ = l0.opened(a).item()
    assert a.grad.item() == pytest.approx(open_ * (1 - open_))
    assert l0.opened(torch.tensor(math.log(1e-2))).item() == pytest.approx(0.047, abs=5e-4)


def test_l0_folds_gates_into_weights_and_comes_near_its_density(llama, rows):
    l0 = functions("l0")
    weight = torch.tensor([[2.0, 4.0]])
    mask, new = l0.prune_matrix(weight, torch.tensor([[0.0, 9.0]]), Count(1))
    assert mask.tolist() == [[False, True]] and new.tolist() == [[1.0, 4.0]]
    record = prune(llama(), "l0", sparsity=0.5, calibration=rows, steps=200, batch_size=2).record
    assert record["expected_density"] == pytest.approx(0.5, abs=0.1)


# maskllm


def test_maskllm_masks_and_prior():
    maskllm = functions("maskllm")
    candidates = maskllm.masks_of(2, 4)
    assert ["".join(str(int(v)) for v in row) for row in candidates] == [
        "1100",
        "1010",
        "1001",
        "0110",
        "0101",
        "0011",
    ]
    first = torch.tensor([[0, 1, 0, 1], [1, 1, 0, 0]]).bool()
    tip = maskllm.tipped(candidates, first, 3.0)
    assert tip[0].tolist() == [0, -3, 0, 0, 3, 0]  # shared ones less N^2 / M = 1
    mask, _ = maskllm.prune_matrix(torch.ones(2, 4), tip, Count(4, (2, 4)))
    assert torch.equal(mask, first)
    with pytest.raises(UserError, match="pattern 8:16 has 12870 masks per group, expected at most 70"):
        maskllm.check({"pattern": "8:16"})


def test_maskllm_with_a_strong_prior_is_the_prior(llama, rows):
    for prior in ("magnitude", "sparsegpt"):
        model = llama()
        dense = {name: module.weight.clone() for name, module in prunable(model).items()}
        topology = prune(model, "maskllm", "2:4", None, rows, prior=prior, strength=1e6, **SETTINGS)
        assert topology.sha256 == prune(llama(), prior, "2:4", None, rows).sha256
        for name, mask in topology.masks.items():  # the prior's mask without its weights
            assert torch.equal(model.get_parameter(name).detach(), torch.where(mask, dense[name], 0))


def test_maskllm_learns_a_better_mask_than_its_prior(llama, rows):
    """On a model trained a little on a text of four repeating words."""
    text = torch.tensor([[4 + (i + row) % 4 for i in range(20)] for row in range(8)])
    trained = llama()
    optimizer = torch.optim.Adam(trained.parameters(), lr=3e-3)
    for _ in range(40):
        gradual.lm_loss(trained, list(text)).backward()
        optimizer.step()
        optimizer.zero_grad()
    losses, facts = {}, {}
    for name, options in (
        ("magnitude", {}),
        ("maskllm", {"steps": 60, "learning_rate": 0.02, "strength": 1}),
    ):
        model = llama()
        model.load_state_dict(trained.state_dict())
        facts[name] = prune(model, name, "2:4", None, text, **options).record
        with torch.no_grad():
            losses[name] = gradual.lm_loss(model, list(text)).item()
    assert losses["maskllm"] <= losses["magnitude"]
    assert facts["maskllm"]["sharpness"] > 0.99


# imp


def test_imp_levels():
    imp = functions("imp")
    assert imp.levels(100, 50, 0.2) == [80, 64, 51, 50]
    assert imp.levels(7, 1, 0.5) == [3, 1]
    assert imp.levels(10, 10, 0.2) == []


def test_imp_rewinds_to_the_early_weights_and_keeps_masks_nested(llama, rows, monkeypatch):
    from sparse_continual.training import gradual as loop

    seen, train = [], loop.train

    def watched(job, optimizer, loss_of, steps, batch_size, warmup, seed, after, first):
        weights = {n: m.weight.clone() for n, m in job.linears.items()}
        early = {}

        def behind(step):
            after(step)
            if step + 1 == 3 and not first:
                early.update({n: m.weight.clone() for n, m in job.linears.items()})

        train(job, optimizer, loss_of, steps, batch_size, warmup, seed, behind, first)
        seen.append((first, weights, early))

    monkeypatch.setattr(loop, "train", watched)
    options = {"steps": 6, "rewind": 0.5, "rate": 0.3, "batch_size": 4, "learning_rate": 1e-2}
    topology = prune(llama(), "imp", sparsity=0.6, calibration=rows, **options)
    levels = topology.record["levels"]
    assert [first for first, *_ in seen] == [0] + [3] * len(levels) and len(levels) == 3
    early, masks = seen[0][2], []
    for _, weights, _ in seen[1:]:
        masks.append({n: weight != 0 for n, weight in weights.items()})
        for n, weight in weights.items():
            assert torch.equal(weight[masks[-1][n]], early[n][masks[-1][n]])
    assert [sum(int(m.sum()) for m in level.values()) for level in masks] == levels
    assert all((~a[n] & b[n]).sum() == 0 for a, b in zip(masks, masks[1:], strict=False) for n in a)
    assert all(torch.equal(masks[-1][n], mask) for n, mask in topology.masks.items())

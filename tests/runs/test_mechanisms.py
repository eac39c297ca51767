"""What each mechanism writes, step by step against loops written out here."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from sparse_continual.models.load import load_model, prunable
from sparse_continual.runs.mechanism import TaskData, random_places
from sparse_continual.runs.mechanisms.replay import Mechanism as Replay
from sparse_continual.streams.tasks import load_tasks
from sparse_continual.training.batches import collate, loss_of
from sparse_continual.training.loop import CLIP, adamw, step

STEPS = 20
RATE = 3e-3


def batches(job, count=STEPS):
    task = load_tasks(job["stream"], ["a"])[0]
    return [collate(task.train, np.arange(8) + 8 * (i % 3)) for i in range(count)]


def train(mechanism, job, count=STEPS):
    optimizer = adamw(mechanism.parameters(), RATE)
    for batch in batches(job, count):
        step(loss_of(mechanism.setting.model, batch), optimizer, mechanism.places)
    mechanism.verify()
    return mechanism


def parameters(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def test_unlocked_is_dense_training_from_the_same_start(job_of, started):
    job = job_of("unlocked")
    mechanism = train(started("unlocked"), job)
    plain = load_model(job["model"])
    matrices = [module.weight for module in prunable(plain).values()]
    zeros = sum(int((w == 0).sum()) for w in matrices)
    plain.requires_grad_(False)
    optimizer = torch.optim.AdamW([w.requires_grad_() for w in matrices], lr=RATE, weight_decay=0, fused=True)
    for batch in batches(job):
        optimizer.zero_grad()
        loss_of(plain, batch).backward()
        torch.nn.utils.clip_grad_norm_(matrices, CLIP)
        optimizer.step()
    for p, q in zip(mechanism.setting.model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(p, q)
    grown = sum(int((w == 0).sum()) for w in matrices)
    assert zeros == sum(w.numel() for w in matrices) // 2 and grown < zeros / 10


def test_locked_starts_where_unlocked_does_and_keeps_its_zeros(job_of, started, world):
    before = parameters(started("sparse").setting.model)
    unlocked = parameters(started("unlocked").setting.model)
    assert all(torch.equal(before[name], unlocked[name]) for name in before)
    mechanism = train(started("sparse"), job_of("sparse"))
    after = parameters(mechanism.setting.model)
    for name, value in after.items():
        if name in world.masks:
            changed = value != before[name]
            assert not changed[~world.masks[name]].any() and changed[world.masks[name]].float().mean() > 0.9
            assert not value[~world.masks[name]].any()
        else:
            assert torch.equal(value, before[name])


@pytest.mark.parametrize("arm", ["masked writes", "random writes"])
def test_writes_change_their_places_alone(arm, job_of, started, world):
    mechanism = started(arm)
    before = parameters(mechanism.setting.model)
    places = mechanism.setting.writable
    train(mechanism, job_of(arm))
    for name, value in parameters(mechanism.setting.model).items():
        if name in places:
            outside = ~places[name]
            assert value[outside].numpy().tobytes() == before[name][outside].numpy().tobytes()
            assert (value != before[name])[places[name]].float().mean() > 0.9
            assert int(places[name].sum()) == int(world.masks[name].sum())
            assert torch.equal(places[name], world.masks[name]) == (arm == "masked writes")
        else:
            assert torch.equal(value, before[name])
    assert sum(p.numel() for p in mechanism.parameters()) == sum(int(m.sum()) for m in world.masks.values())


def test_random_places_depend_on_the_seed_alone(world):
    one, again, other = (random_places(world.masks, seed) for seed in (4, 4, 5))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)
    taken = sum(float((one[n] & world.masks[n]).sum()) for n in one) / sum(int(one[n].sum()) for n in one)
    assert 0.45 < taken < 0.55


@pytest.mark.parametrize("arm", ["trained ends", "side lora"])
def test_trained_ends_move_and_are_saved(arm, job_of, started):
    mechanism = started(arm)
    before = {name: p.detach().clone() for name, p in mechanism.ends.named.items()}
    train(mechanism, job_of(arm), 3)
    for name, p in mechanism.ends.named.items():
        assert not torch.equal(p, before[name])
        assert torch.equal(mechanism.state()[f"ends.{name}"], p)


@pytest.mark.parametrize("arm", ["sparse", "masked writes", "masked lora", "replay"])
def test_verify_finds_a_changed_frozen_weight(arm, started):
    mechanism = started(arm)
    mechanism.verify()
    with torch.no_grad():
        next(iter(mechanism.ends.named.values())).view(-1)[3] += 1e-6
    with pytest.raises(AssertionError, match="a frozen weight has changed"):
        mechanism.verify()


def test_verify_finds_an_absent_weight_that_grew(started, world):
    mechanism = started("sparse")
    name, mask = next(iter(world.masks.items()))
    place = (~mask).nonzero()[0]
    with torch.no_grad():
        mechanism.setting.linears[name].weight[tuple(place)] = 1e-30
    with pytest.raises(AssertionError, match=f"{name}: an absent weight is not zero"):
        mechanism.verify()


@pytest.mark.parametrize("arm", ["masked lora", "dense lora", "side lora"])
def test_verify_finds_a_changed_matrix_beneath_an_adapter(arm, started):
    mechanism = started(arm)
    name, module = next(iter(mechanism.setting.linears.items()))
    original = module.weight if arm == "side lora" else module.parametrizations.weight.original
    with torch.no_grad():
        original[original != 0] += 1e-6
    with pytest.raises(AssertionError, match="a frozen weight has changed"):
        mechanism.verify()


# LoRA


@pytest.mark.parametrize("arm", ["masked lora", "dense lora", "side lora"])
def test_lora_starts_at_the_base(arm, job_of, started):
    job = job_of(arm)
    (batch,) = batches(job, 1)
    with torch.no_grad():
        ours = started(arm).setting.model(batch["input_ids"]).logits
        base = load_model(job["model"])(batch["input_ids"]).logits
    assert torch.equal(ours, base)


@pytest.mark.parametrize("arm", ["masked lora", "dense lora"])
def test_masked_lora_against_a_loop(arm, job_of, started, world):
    """W + mask * (alpha / rank) B A, its gradient by hand, and AdamW on A and B of every matrix."""
    job, mechanism = job_of(arm), started(arm)
    named = {name: p.detach().clone() for name, p in mechanism.places.named.items()}
    model = load_model(job["model"])
    model.requires_grad_(False)
    linears = prunable(model)
    base = {name: module.weight.clone() for name, module in linears.items()}
    masks = world.masks if arm == "masked lora" else {n: torch.ones_like(w) for n, w in base.items()}
    scale = 8 / 2
    optimizer = torch.optim.AdamW(named.values(), lr=RATE, weight_decay=0.0)
    other = adamw(mechanism.parameters(), RATE)
    for batch in batches(job):
        step(loss_of(mechanism.setting.model, batch), other, mechanism.places)
        for name, module in linears.items():
            product = scale * named[f"{name}.B"] @ named[f"{name}.A"]
            module.weight = torch.nn.Parameter(base[name] + masks[name] * product)
        loss_of(model, batch).backward()
        for name, module in linears.items():
            cut = scale * masks[name] * module.weight.grad
            named[f"{name}.B"].grad = cut @ named[f"{name}.A"].T
            named[f"{name}.A"].grad = named[f"{name}.B"].T @ cut
        norm = torch.sqrt(sum(p.grad.square().sum() for p in named.values()))
        for p in named.values():
            p.grad *= min(1, CLIP / (norm + 1e-6))
        optimizer.step()
        for name, p in mechanism.places.named.items():
            torch.testing.assert_close(p, named[name], rtol=1e-3, atol=1e-5)
    for name, merged in mechanism.weights().items():
        product = masks[name] * (scale * named[f"{name}.B"] @ named[f"{name}.A"])
        torch.testing.assert_close(merged, base[name] + product, rtol=1e-3, atol=1e-5)
        if arm == "masked lora":
            assert not merged[~masks[name]].any()
            assert (merged[masks[name]] != 0).all()
    mechanism.verify()


def test_lora_begins_as_in_its_paper(started):
    named = started("masked lora").places.named
    for name, p in named.items():
        if name.endswith(".B"):
            assert not p.any()
        else:
            bound = 1 / p.shape[1] ** 0.5
            assert p.abs().max() <= bound and p.abs().max() > 0.7 * bound
    same, other = started("masked lora").places.named, started("masked lora", seed=12).places.named
    assert all(torch.equal(same[name], p) for name, p in named.items())
    assert not torch.equal(*(d["model.layers.0.mlp.up_proj.weight.A"] for d in (named, other)))


def test_side_lora_is_pefts(job_of, started):
    from peft import LoraConfig, get_peft_model

    from sparse_continual.identity import seed_of

    job = job_of("side lora")
    ours = train(started("side lora"), job, 5).setting.model
    base = load_model(job["model"])
    torch.manual_seed(seed_of("lora", job["seed"]))
    targets = "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj".split()
    theirs = get_peft_model(base, LoraConfig(r=2, lora_alpha=8, target_modules=targets))
    for p in base.parameters():
        p.requires_grad_(True)
    for name, p in theirs.named_parameters():
        p.requires_grad_("lora_" in name or "base_layer" not in name)
    trained = [p for p in theirs.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0, fused=True)
    for batch in batches(job, 5):
        optimizer.zero_grad()
        loss_of(theirs, batch).backward()
        torch.nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.step()
    theirs = dict(base.named_parameters())
    assert any("lora_B" in name and p.any() for name, p in theirs.items())
    for name, p in ours.named_parameters():
        torch.testing.assert_close(p, theirs[name], rtol=1e-4, atol=1e-6)


def test_merged_side_lora_is_what_the_model_computes(job_of, started):
    job = job_of("side lora")
    mechanism = train(started("side lora"), job, 5)
    plain = load_model(job["model"])
    tensors = dict(plain.named_parameters())
    with torch.no_grad():
        for name, value in mechanism.weights().items():
            tensors[name.removeprefix("ends.")].copy_(value)
        (batch,) = batches(job, 1)
        both = [m.eval()(batch["input_ids"]).logits for m in (plain, mechanism.setting.model)]
    torch.testing.assert_close(*both, rtol=1e-4, atol=1e-5)


# what is saved


@pytest.mark.parametrize(
    "arm",
    ["dense", "sparse", "unlocked", "masked writes", "random writes", "trained ends"]
    + ["masked lora", "dense lora", "side lora", "replay"],
)
def test_every_mechanism_comes_back_from_its_state(arm, job_of, started):
    from safetensors.torch import load, save

    job = job_of(arm)
    mechanism = train(started(arm), job, 4)
    state = load(save(mechanism.state()))
    assert sum(t.numel() for t in state.values()) == sum(p.numel() for p in mechanism.parameters())
    other = started(arm)
    (batch,) = batches(job, 1)
    with torch.no_grad():
        start = other.setting.model(batch["input_ids"]).logits
        other.load(state)
        ours, theirs = (m.setting.model(batch["input_ids"]).logits for m in (mechanism, other))
    assert torch.equal(ours, theirs) and not torch.equal(ours, start)
    other.verify()


# replay


@pytest.fixture(scope="module")
def replayed():
    """A function (seed, settings) -> a replay mechanism without a model: rows alone are asked for."""

    def make(seed=0, **settings):
        mechanism = Replay.__new__(Replay)
        mechanism.setting = type("Setting", (), {"seed": seed})
        mechanism.settings = {"buffer_items": 6, "share": 0.25, **settings}
        mechanism.buffer, mechanism.offered = [], 0
        return mechanism

    return make


FIRSTS, COUNTS = [0, 30, 50], [30, 20, 40]


def task(number, seed=0):
    """Task `number` of three, with the order of batches 5."""
    return TaskData(number, range(FIRSTS[number], FIRSTS[number] + COUNTS[number]), None, 5, seed)


def test_replay_takes_its_share_from_past_tasks_only(replayed):
    mechanism = replayed()
    first = [mechanism.rows(task(0), 8, s) for s in range(10)]
    assert all(len(rows) == 8 and rows.max() < 30 for rows in first)
    mechanism.end_task(task(0, mechanism.setting.seed))
    assert len(mechanism.buffer) == 6 and len(set(mechanism.buffer)) == 6
    for number in range(40):
        rows = mechanism.rows(task(1), 8, number)
        assert len(rows) == 8 and set(rows[6:]) <= set(mechanism.buffer)
        assert (rows[:6] >= 30).all() and (rows[:6] < 50).all()
    drawn = np.concatenate([mechanism.rows(task(1), 8, s)[6:] for s in range(600)])
    counts = np.unique(drawn, return_counts=True)[1]
    assert len(counts) == 6 and chisquare(counts).pvalue > 1e-4
    mechanism.end_task(task(1, mechanism.setting.seed))
    assert len(mechanism.buffer) == 6 and max(mechanism.buffer) < 50 and mechanism.offered == 50


def test_replay_visits_its_new_rows_in_epochs(replayed):
    mechanism = replayed()
    mechanism.end_task(task(0, mechanism.setting.seed))
    new = np.concatenate([mechanism.rows(task(1), 8, s)[:6] for s in range(10)])
    assert (np.bincount(new - 30, minlength=20) == 3).all()


@pytest.mark.parametrize(("share", "batch", "old"), [(0.01, 8, 1), (0.99, 8, 7), (0.5, 8, 4), (0.5, 1, 0)])
def test_replay_leaves_room_for_old_and_new(share, batch, old, replayed):
    mechanism = replayed(share=share)
    mechanism.end_task(task(0, mechanism.setting.seed))
    rows = mechanism.rows(task(1), batch, 0)
    assert len(rows) == batch and (rows < 30).sum() == old


def test_the_reservoir_is_a_uniform_sample(replayed):
    """Every row of all tasks is kept equally often, whichever task it came from."""
    kept = np.zeros(90)
    for seed in range(600):
        mechanism = replayed(seed)
        for number in range(3):
            mechanism.end_task(task(number, seed))
        assert len(set(mechanism.buffer)) == 6
        kept[mechanism.buffer] += 1
    # a sample without replacement varies less than independent draws, so this test errs to be strict
    assert 1e-4 < chisquare(kept).pvalue
    assert chisquare(np.add.reduceat(kept, FIRSTS), np.array(COUNTS) * 3600 / 90).pvalue > 1e-4


def test_replay_is_deterministic_and_remembers(replayed):
    import json

    one, again = replayed(3), replayed(3)
    for mechanism in (one, again):
        mechanism.end_task(task(0, mechanism.setting.seed))
        mechanism.end_task(task(1, mechanism.setting.seed))
    assert one.memory() == again.memory()
    fresh = replayed(3)
    fresh.remember(*json.loads(json.dumps(one.memory())))
    for mechanism in (one, fresh):
        mechanism.end_task(task(2, mechanism.setting.seed))
    assert one.memory() == fresh.memory() and one.offered == 90
    assert np.array_equal(one.rows(task(2), 8, 3), fresh.rows(task(2), 8, 3))
    other = replayed(4)
    other.end_task(task(0, other.setting.seed))
    other.end_task(task(1, other.setting.seed))
    assert other.buffer != again.buffer


@pytest.mark.parametrize("form", ["masked", "side"])
def test_lora_on_matrices_that_are_stored_transposed(form):
    """GPT-2: A reads the inputs; merged weights compute what the adapted model does; absent places stay empty."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from sparse_continual.runs.mechanism import Setting
    from sparse_continual.runs.mechanisms.lora import Mechanism as Lora

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=32, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    model, plain = GPT2LMHeadModel(config).eval(), GPT2LMHeadModel(config).eval()
    plain.load_state_dict(model.state_dict())
    linears, exists = prunable(model), None
    if form == "masked":
        exists = {name: torch.rand_like(module.weight) < 0.5 for name, module in linears.items()}
    shapes = {name: module.weight.shape for name, module in linears.items()}
    lora = Lora(Setting(model, linears, exists, exists, "frozen", 3), {"rank": 2, "alpha": 4, "form": form})
    rows = torch.randint(0, 32, (2, 9))
    torch.testing.assert_close(model(rows).logits, plain(rows).logits)  # B is zero
    if form == "masked":
        for name, (inputs, outputs) in shapes.items():
            assert lora.places.named[f"{name}.A"].shape == (2, inputs)
            assert lora.places.named[f"{name}.B"].shape == (outputs, 2)
    with torch.no_grad():
        for parameter in lora.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        merged, before = lora.weights(), {n: p.clone() for n, p in plain.named_parameters() if n in shapes}
        for name, weight in merged.items():
            if name in before:
                dict(plain.named_parameters())[name].copy_(weight)
                changed = weight != before[name]
                assert changed.any() and (exists is None or not (changed & ~exists[name]).any())
        torch.testing.assert_close(model(rows).logits, plain(rows).logits, rtol=1e-4, atol=1e-5)

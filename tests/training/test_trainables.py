"""Training of values alone, against a plain loop on dense matrices with masks put on by hand."""

import pytest
import torch

from sparse_continual.errors import UserError
from sparse_continual.models.load import prunable
from sparse_continual.training.loop import CLIP, adamw, step
from sparse_continual.training.trainables import AllPlaces, Ends, FixedPlaces

STEPS = 24


def masks_of(model, kept=0.5):
    generator = torch.Generator().manual_seed(3)
    return {
        name: torch.rand(module.weight.shape, generator=generator) < kept
        for name, module in prunable(model).items()
    }


def prune_by_hand(model, masks):
    with torch.no_grad():
        for name, module in prunable(model).items():
            module.weight.copy_(torch.where(masks[name], module.weight, 0.0))
    return model


def losses(rows):
    """Batch number -> rows of the fixture, 6 at a time."""
    return [rows[torch.arange(6) + 6 * (i % 4)] for i in range(STEPS)]


def loss_of(model, ids):
    # large, so that clipping is at work in every step
    return 4 * model(input_ids=ids, labels=ids).loss


def dense_loop(model, masks, ends, rows, rate):
    """AdamW over whole matrices, gradients and weights masked by hand. Yields the model after each step."""
    linears = prunable(model)
    trained = [m.weight for m in linears.values()]
    if ends:
        trained += [p for n, p in model.named_parameters() if n not in linears]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
    for ids in losses(rows):
        optimizer.zero_grad()
        loss_of(model, ids).backward()
        for name, module in linears.items():
            module.weight.grad[~masks[name]] = 0
        norm = torch.sqrt(sum(p.grad.square().sum() for p in trained))
        assert norm > CLIP
        for p in trained:
            p.grad.mul_(CLIP / (norm + 1e-6))
        optimizer.step()
        with torch.no_grad():
            for name, module in linears.items():
                module.weight[~masks[name]] = 0
        yield model


@pytest.mark.parametrize("ends", [False, True])
def test_values_are_trained_as_a_remasked_dense_model_is(llama, rows, ends):
    model = llama()
    masks = masks_of(model)
    prune_by_hand(model, masks)
    reference = prune_by_hand(llama(), masks)
    linears = prunable(model)
    places = FixedPlaces(linears, masks)
    free = Ends(model, linears, ends)
    optimizer = adamw(places.parameters() + free.parameters(), 2e-3)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    for ids, other in zip(losses(rows), dense_loop(reference, masks, ends, rows, 2e-3), strict=True):
        step(loss_of(model, ids), optimizer, places)
        for (name, p), q in zip(model.named_parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=2e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")
        for name, module in linears.items():
            assert module.weight.grad is None
            assert not module.weight[~masks[name]].any()
    for name, p in model.named_parameters():
        moved = not torch.equal(p, start[name])
        assert moved == (name in linears or ends), name


def test_moments_are_twice_the_nonzeros_and_nothing_else_is_kept(llama, rows):
    for trained in (False, True):
        model = llama()
        masks = masks_of(model)
        prune_by_hand(model, masks)
        linears = prunable(model)
        nonzeros = sum(int(mask.sum()) for mask in masks.values())
        ends = sum(p.numel() for n, p in model.named_parameters() if n not in linears)
        places, free = FixedPlaces(linears, masks), Ends(model, linears, trained)
        optimizer = adamw(places.parameters() + free.parameters(), 1e-3)
        step(loss_of(model, rows[:6]), optimizer, places)
        moments = [t for s in optimizer.state.values() for n, t in s.items() if n != "step"]
        assert sum(t.numel() for t in moments) == 2 * (nonzeros + ends * trained)
        assert all(p.grad is None for p in model.parameters())
        assert sum(p.numel() for p in places.parameters()) == nonzeros
        assert sum(t.numel() for t in places.state().values()) == nonzeros
        assert places.gradient.numel() == nonzeros


def test_a_matrix_left_out_of_a_pass_keeps_no_old_gradient(llama, rows):
    """As an expert that no token chose: AdamW must see a zero, not the gradient of the pass before."""
    model = llama()
    linears = prunable(model)
    places = FixedPlaces(linears, masks_of(model))
    optimizer = adamw(places.parameters(), 1e-3)
    step(loss_of(model, rows[:6]), optimizer, places)
    name, module = next(iter(linears.items()))
    module.weight.square().sum().backward()
    places.collect()
    inside = slice(*places.spans[name])
    assert places.values.grad[inside].any()
    places.values.grad[inside] = 0
    assert not places.values.grad.any()


def test_values_come_back(llama, rows):
    model = llama()
    masks = masks_of(model)
    prune_by_hand(model, masks)
    places = FixedPlaces(prunable(model), masks)
    optimizer = adamw(places.parameters(), 1e-3)
    for ids in losses(rows)[:3]:
        step(loss_of(model, ids), optimizer, places)
    other = prune_by_hand(llama(), masks)
    FixedPlaces(prunable(other), masks).load(places.state())
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)
    name = next(iter(masks))
    state = places.state()[name]
    assert torch.equal(state, prunable(model)[name].weight[masks[name]])


def test_all_places_are_trained_in_place_and_come_back(llama, rows):
    model, plain = llama(), llama()
    linears = prunable(model)
    places, ends = AllPlaces(linears), Ends(model, linears, True)
    optimizer = adamw(places.parameters() + ends.parameters(), 1e-3)
    for ids in losses(rows)[:3]:
        step(loss_of(model, ids), optimizer, places)
    byhand = torch.optim.AdamW(plain.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    for ids in losses(rows)[:3]:
        byhand.zero_grad()
        loss_of(plain, ids).backward()
        everything = [dict(plain.named_parameters())[n] for n in [*linears, *ends.named]]
        torch.nn.utils.clip_grad_norm_(everything, CLIP)
        byhand.step()
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(p, q)
    fresh = llama()
    AllPlaces(prunable(fresh)).load(places.state())
    Ends(fresh, prunable(fresh), True).load(ends.state())
    for p, q in zip(model.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(p, q)


def test_frozen_ends_are_neither_trained_nor_saved(llama):
    model = llama()
    linears = prunable(model)
    ends = Ends(model, linears, False)
    assert ends.parameters() == [] and ends.state() == {}
    assert not any(p.requires_grad for p in ends.named.values())
    assert {*ends.named, *linears} == {name for name, _ in model.named_parameters()}


def test_a_topology_of_another_model_is_refused(llama):
    model = llama()
    linears, masks = prunable(model), masks_of(model)
    name = list(masks)[-1]
    with pytest.raises(UserError, match=f"{name}: the topology has shape"):
        FixedPlaces(linears, {**masks, name: masks[name].T})
    del masks[name]
    with pytest.raises(UserError, match=f"{name}: in the model or in the topology, but not in both"):
        FixedPlaces(linears, masks)

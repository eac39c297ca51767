"""Wanda++: gradients by finite differences, Wanda as its special case, and blocks that stay closer to the dense."""

import pytest
import torch
from layers import functions

from sparse_continual import prune
from sparse_continual.errors import UserError
from sparse_continual.models.blockwise import blocks
from sparse_continual.models.load import prunable

wandapp = functions("wandapp")


def test_gradients_against_finite_differences(llama, rows):
    """Wide steps: the norms of a Llama are computed in single precision."""
    model = llama().double()
    linears = prunable(model)
    with torch.no_grad():
        block = next(iter(blocks(model, linears, rows[:3])))
        found = wandapp.regional_gradients(block)
        for name, place in [
            ("mlp.down_proj", (3, 5)),
            ("self_attn.q_proj", (7, 2)),
            ("self_attn.k_proj", (0, 30)),
        ]:
            weight = linears[f"model.layers.0.{name}.weight"].weight
            squares = 0
            for row in range(3):
                slopes = []
                for step in (1e-2, -2e-2):
                    weight[place] += step
                    slopes.append(block.run(row).norm().item())
                weight[place] += 1e-2
                squares += ((slopes[0] - slopes[1]) / 2e-2) ** 2
            assert found[f"model.layers.0.{name}.weight"][place].item() == pytest.approx(
                (squares / 3) ** 0.5, rel=3e-3
            )


@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
def test_without_gradients_and_training_it_is_wanda(llama, rows, pattern):
    options = {"alpha": 0, "rounds": 0, "sequential": False}
    ours, models = [], []
    for name, own in (("wandapp", options), ("wanda", {})):
        models.append(llama())
        ours.append(prune(models[-1], name, pattern, 0.5, rows, **own))
    assert ours[0].sha256 == ours[1].sha256
    assert all(torch.equal(a, b) for a, b in zip(*(m.parameters() for m in models), strict=True))


def test_optimised_blocks_are_closer_to_the_dense_one_on_other_text(llama, rows):
    """Mean squared change of a one-block model's states on 48 unread rows, whose rate was chosen for its size."""
    fresh = torch.randint(4, 64, (48, 20), generator=torch.Generator().manual_seed(5))
    model = llama(num_hidden_layers=1)
    with torch.no_grad():
        expected = model.model(fresh).last_hidden_state

    def change(**options):
        model = llama(num_hidden_layers=1)
        prune(model, "wandapp", "2:4", None, rows, samples=12, normalise="tokens", **options)
        with torch.no_grad():
            return (model.model(fresh).last_hidden_state - expected).square().mean().item()

    assert change(learning_rate=1e-3) < 0.95 * change(rounds=0)


def test_training_that_diverges_is_refused(llama, rows):
    with pytest.raises(UserError, match="model.layers.0: regional optimisation diverged"):
        prune(llama(), "wandapp", "2:4", None, rows, learning_rate=1e30, samples=4)


def test_normalised_norms_do_not_depend_on_how_much_is_read(llama, rows):
    masks = [
        prune(llama(), "wandapp", "2:4", None, text, rounds=0, normalise="tokens", alpha=10).sha256
        for text in (rows, rows.repeat(3, 1))
    ]
    assert masks[0] == masks[1]

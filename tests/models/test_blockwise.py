"""Blocks on rows: the same inputs and arguments as in a pass of the whole model, however few passes there are."""

from types import MappingProxyType

import pytest
import torch

from sparse_continual.models.blockwise import _same, blocks
from sparse_continual.models.load import prunable


def passes(model, rows):
    """(outputs of every block per row by the walk, how often the last block ran before the walk's own runs)."""
    last, ran = model.model.layers[-1], []
    handle = last.register_forward_pre_hook(lambda *a: ran.append(1))
    found, dense = [], None
    with torch.no_grad():
        for block in blocks(model, prunable(model), rows):
            dense = len(ran) if dense is None else dense
            found.append([block.run(row) for row in range(len(rows))])
    handle.remove()
    return found, dense


@pytest.mark.parametrize("ragged", [False, True])
def test_two_rows_of_a_length_pass_the_whole_model(llama, rows, ragged):
    model = llama()
    rows = [row[: 7 + i % 3] if ragged else row for i, row in enumerate(rows)]
    found, dense = passes(model, rows)
    assert dense == (6 if ragged else 2)
    for place, row in enumerate(rows):
        with torch.no_grad():
            states = model.model(row[None], output_hidden_states=True).hidden_states
        assert torch.equal(found[0][place], states[1])
        assert torch.equal(model.model.norm(found[1][place]), states[2])


def test_nests_of_any_mapping_are_compared():
    one, other, third = (MappingProxyType({"a": (torch.full((2,), float(n)), None)}) for n in (1, 1, 2))
    assert _same(one, other) and not _same(one, third)


def test_arguments_that_depend_on_the_row_are_taken_from_it(llama, rows):
    """A model whose blocks are told a number that follows from the tokens."""
    model, told = llama(), []
    first = model.model.layers[0]
    forward = first.forward

    def scaled(hidden_states, tint=0.0, **kwargs):
        return forward(hidden_states, **kwargs) * (1 + tint)

    first.forward = scaled
    first.register_forward_pre_hook(
        lambda module, args, kwargs: (args, kwargs | {"tint": kwargs.get("tint", tint_of(args, kwargs))}),
        with_kwargs=True,
        prepend=True,
    )

    def tint_of(args, kwargs):
        states = args[0] if args else kwargs["hidden_states"]
        told.append(states[0, 0, 0])
        return told[-1]

    found, dense = passes(model, rows)
    assert dense == len(rows)
    with torch.no_grad():
        states = model.model(rows[5][None], output_hidden_states=True).hidden_states
    assert torch.equal(found[0][5], states[1])


def test_measuring_stops_at_the_last_input_and_misses_none(llama, rows):
    """Sums over every matrix's inputs as in whole passes; after the first row the last matrix's product is left out."""
    from sparse_continual.pruning.input_statistics import Squares

    model, seen, products = llama(), {}, []
    for name, module in prunable(model).items():
        module.register_forward_pre_hook(
            lambda module, args, name=name: seen.setdefault(name, []).append(args[0].double())
        )
        module.register_forward_hook(lambda module, args, out, name=name: products.append(name))
    with torch.no_grad():
        model(rows)
        whole = {name: found[0].square().sum((0, 1)) for name, found in seen.items()}
        for block in blocks(model, prunable(model), rows):
            products.clear()
            measured = block.measure(Squares)
            count = {name: products.count(name) for name in block.linears}
            last = f"{block.name}.mlp.down_proj.weight"
            assert count == dict.fromkeys(block.linears, len(rows)) | {last: 1}
            for name in block.linears:
                torch.testing.assert_close(measured[name].squares, whole[name], rtol=1e-4, atol=1e-6)


def test_a_matrix_that_is_called_twice_is_measured_to_the_end(llama, rows):
    """A block that runs its MLP twice: the second call's inputs count."""
    from sparse_continual.pruning.input_statistics import Squares

    model = llama()
    mlp, forward = model.model.layers[0].mlp, model.model.layers[0].mlp.forward
    mlp.forward = lambda states: forward(states) + forward(2 * states)
    with torch.no_grad():
        block = next(iter(blocks(model, prunable(model), rows)))
        squares = block.measure(Squares)["model.layers.0.mlp.up_proj.weight"].squares
        mlp.forward = forward
        once = block.measure(Squares)["model.layers.0.mlp.up_proj.weight"].squares
    torch.testing.assert_close(squares, 5 * once)

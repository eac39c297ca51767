"""The generated base: a Llama pretrained here, the same for the same seed, and better than chance."""

import jsonschema
import numpy as np
import pytest
import torch

from sparse_continual.bases.sources import generated
from sparse_continual.errors import UserError
from sparse_continual.models.load import load_model, load_tokenizer
from sparse_continual.models.shape import shape_of
from sparse_continual.streams.lexicon import tokenizer, vocabulary
from sparse_continual.streams.tasks import make_split
from sparse_continual.training import loop

SHAPE = {"hidden_size": 16, "intermediate_size": 32, "layers": 2, "heads": 2, "kv_heads": 1}
PRETRAINING = {"steps": 60, "batch_size": 8, "learning_rate": 1e-2, "warmup": 5}
SETTINGS = {"source": "generated", "shape": SHAPE, "pretraining": PRETRAINING}


def split(first):
    """Rows that count up from `first`, so that a model can learn them."""
    rows = [[first + (i + j) % 5 for j in range(6)] for i in range(10)]
    return make_split(rows, [1] * len(rows))


MIXTURE = [(3, split(10)), (1, split(30))]


def test_pretrained_model(tmp_path):
    facts = generated.obtain(SETTINGS, 1, tmp_path / "one", MIXTURE)
    assert (
        shape_of(tmp_path / "one").items() >= {**SHAPE, "vocabulary": len(vocabulary()), "tied": True}.items()
    )
    assert len(load_tokenizer(tmp_path / "one")) == len(vocabulary())
    assert (facts["steps"], facts["tokens"]) == (60, 60 * 8 * 6)
    assert facts["final_loss"] < 1 < np.log(len(vocabulary()))
    model = load_model(tmp_path / "one")
    with torch.no_grad():
        following = model(torch.tensor([[10, 11, 12, 13, 14]])).logits.argmax(-1)
    assert following.tolist() == [[11, 12, 13, 14, 10]]

    generated.obtain(SETTINGS, 1, tmp_path / "again", MIXTURE)
    generated.obtain(SETTINGS, 2, tmp_path / "other", MIXTURE)
    one, again, other = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "again", "other")
    )
    assert one == again != other


def test_the_initial_model_is_what_pretraining_begins_from(tmp_path):
    """Training at a rate of 0 changes nothing, so both are the same to the byte."""
    alone = {key: value for key, value in SETTINGS.items() if key != "pretraining"}
    idle = {**SETTINGS, "pretraining": {**PRETRAINING, "steps": 2, "learning_rate": 0.0}}
    for weights in ({}, {"initial_weights": "normal"}, {"initial_weights": "scaled"}):
        folders = [tmp_path / str(len(weights)) / name for name in ("idle", "initial", "other")]
        generated.obtain({**idle, **weights}, 1, folders[0], MIXTURE)
        assert generated.obtain({**alone, **weights}, 1, folders[1], []) == {}
        generated.obtain({**alone, **weights}, 2, folders[2], [])
        one, same, other = ((folder / "model.safetensors").read_bytes() for folder in folders)
        assert one == same != other


def test_scaled_weights_have_a_variance_of_one_over_inputs(tmp_path):
    from sparse_continual.models.load import prunable

    shape = {**SHAPE, "hidden_size": 128, "intermediate_size": 512}
    for weights in ("normal", "scaled"):
        generated.obtain(
            {"source": "generated", "shape": shape, "initial_weights": weights}, 1, tmp_path / weights, []
        )
        model = load_model(tmp_path / weights)
        for name, module in prunable(model).items():
            wanted = {"normal": 0.02, "scaled": 512**-0.5 if "down_proj" in name else 128**-0.5}[weights]
            spread = 4 / (2 * module.weight.numel()) ** 0.5  # four standard errors of a standard deviation
            assert module.weight.std().item() == pytest.approx(wanted, rel=spread)
        assert model.get_input_embeddings().weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_training_that_diverges_is_reported(tmp_path):
    settings = {**SETTINGS, "pretraining": {**PRETRAINING, "steps": 8, "learning_rate": 1e30}}
    with pytest.raises(
        UserError, match=r"diverged: the loss at step [2-8] of 8 is nan; lower its learning_rate of 1e\+30"
    ):
        generated.obtain(settings, 1, tmp_path, MIXTURE)
    assert not (tmp_path / "model.safetensors").exists()


def test_heads_must_fit():
    generated.check(SETTINGS)
    for change, words in (
        ({"heads": 3}, "shape.heads: found 3, expected a divisor of hidden_size = 16"),
        ({"heads": 4, "kv_heads": 3}, "shape.kv_heads: found 3, expected a divisor of heads = 4"),
        ({"heads": 16}, "shape.heads: a head of 1 units is odd"),
    ):
        with pytest.raises(UserError, match=words):
            generated.check({**SETTINGS, "shape": {**SHAPE, **change}})


def test_schema():
    jsonschema.Draft202012Validator.check_schema(generated.SCHEMA)
    assert generated.fingerprint(SETTINGS) == {}


def test_schedule():
    rates = [loop.rate(number, 100, 10) for number in range(100)]
    assert rates[0] == 0.1 and rates[9] == rates[10] == 1 == max(rates)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.55) and 0.1 < rates[99] < 0.102
    assert loop.rate(0, 5, 0) == 1


def test_training_takes_the_schedule_and_the_shares(monkeypatch):
    """Every step's rate is set on the optimizer, and rows are drawn by share."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from sparse_continual.models.load import prunable
    from sparse_continual.training.trainables import AllPlaces, Ends

    config = LlamaConfig(
        vocab_size=len(tokenizer()), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    linears, seen, firsts = prunable(model), [], []
    step, collate = loop.step, loop.collate

    def spy(loss, optimizer, *hooks):
        seen.append([group["lr"] for group in optimizer.param_groups])
        return step(loss, optimizer, *hooks)

    def look(rows, chosen, device):
        firsts.extend(rows.row(int(i))[0] for i in chosen)
        return collate(rows, chosen, device)

    monkeypatch.setattr(loop, "step", spy)
    monkeypatch.setattr(loop, "collate", look)
    loop.train_on_mixture(model, AllPlaces(linears), Ends(model, linears, True), MIXTURE, PRETRAINING, seed=1)
    assert seen == [[1e-2 * loop.rate(number, 60, 5)] for number in range(60)]
    share = np.mean(np.array(firsts) < 20)
    assert len(firsts) == 480 and abs(share - 0.75) < 4 * (0.75 * 0.25 / 480) ** 0.5
    assert not model.training

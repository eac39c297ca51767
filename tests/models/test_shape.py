"""Counts of every family against its own parameters and published totals; one process, whole answers, one line."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import transformers  # noqa: F401 - where it is imported, no other process counts

from sparse_continual.errors import UserError
from sparse_continual.models import shape as shapes
from sparse_continual.models.load import matrix_of, prunable
from sparse_continual.models.shape import shape_of, shape_of_config
from sparse_continual.topologies.counts import kept_total, matrices
from sparse_continual.training.arithmetic import Shape, ends, parameters

COMMON = {"vocab_size": 48, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
WIDE = {**COMMON, "intermediate_size": 80, "max_position_embeddings": 64}
GROUPED = {**WIDE, "num_key_value_heads": 2}
D, F, N = 32, 80, 3
SQUARE, HALF = D * D, D * D // 2  # q or o; k or v of two heads of four
FAMILIES = {  # model_type: (fields, prunable weights of a block by hand)
    "llama": (GROUPED, 2 * SQUARE + 2 * HALF + 3 * D * F),
    "gpt_neox": (WIDE, 4 * SQUARE + 2 * D * F),
    "gpt2": ({"vocab_size": 48, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}, 12 * SQUARE),
    "phi": (WIDE, 4 * SQUARE + 2 * D * F),
    "opt": ({**COMMON, "ffn_dim": 80, "word_embed_proj_dim": 32}, 4 * SQUARE + 2 * D * F),
    "bloom": ({"vocab_size": 48, "hidden_size": 32, "n_layer": 3, "n_head": 4}, 12 * SQUARE),
    "falcon": (COMMON, SQUARE + 2 * 8 * D + SQUARE + 8 * SQUARE),  # one head of keys for all; 4 D wide
    "gemma2": ({**GROUPED, "head_dim": 8}, 2 * SQUARE + 2 * HALF + 3 * D * F),
    "qwen3": ({**GROUPED, "head_dim": 16}, 2 * 2 * SQUARE + 2 * 2 * HALF + 3 * D * F),
    "olmo2": (GROUPED, 2 * SQUARE + 2 * HALF + 3 * D * F),
    "stablelm": (GROUPED, 2 * SQUARE + 2 * HALF + 3 * D * F),
    "starcoder2": (GROUPED, 2 * SQUARE + 2 * HALF + 2 * D * F),
    "phi3": ({**GROUPED, "pad_token_id": 0}, 2 * SQUARE + 2 * HALF + 3 * D * F),
    "nemotron": (GROUPED, 2 * SQUARE + 2 * HALF + 2 * D * F),
    # in_proj, x_proj (8 + 2 x 4), dt_proj, out_proj of 64 channels
    "mamba": ({**COMMON, "state_size": 4, "time_step_rank": 8}, D * 128 + 64 * 16 + 8 * 64 + 64 * D),
    "recurrent_gemma": ({**GROUPED, "lru_width": 32, "num_key_value_heads": 1}, None),
}
# of config.json: what the authors' own repositories hold
PUBLISHED = {
    "pythia-70m": (70_426_624, {"model_type": "gpt_neox", "hidden_size": 512, "intermediate_size": 2048,
        "num_attention_heads": 8, "num_hidden_layers": 6, "vocab_size": 50304, "tie_word_embeddings": False}),
    "gpt2": (124_439_808, {"model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12, "vocab_size": 50257}),
    "SmolLM2-135M": (134_515_008, {"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536,
        "num_attention_heads": 9, "num_key_value_heads": 3, "num_hidden_layers": 30, "vocab_size": 49152,
        "tie_word_embeddings": True}),
    "Llama-3.1-8B": (8_030_261_248, {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
        "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32, "vocab_size": 128256,
        "tie_word_embeddings": False}),
    "Mistral-7B-v0.1": (7_241_732_096, {"model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336,
        "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32, "vocab_size": 32000,
        "tie_word_embeddings": False}),
    "phi-2": (2_779_683_840, {"model_type": "phi", "hidden_size": 2560, "intermediate_size": 10240,
        "num_attention_heads": 32, "num_hidden_layers": 32, "vocab_size": 51200, "tie_word_embeddings": False}),
    "Qwen2.5-0.5B": (494_032_768, {"model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864,
        "num_attention_heads": 14, "num_key_value_heads": 2, "num_hidden_layers": 24, "vocab_size": 151936,
        "tie_word_embeddings": True}),
    "opt-125m": (125_239_296, {"model_type": "opt", "hidden_size": 768, "ffn_dim": 3072, "num_attention_heads": 12,
        "num_hidden_layers": 12, "vocab_size": 50272, "max_position_embeddings": 2048, "word_embed_proj_dim": 768}),
}  # fmt: skip


def of(family):
    return {**FAMILIES[family][0], "model_type": family}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_counted_as_its_model_is(family):
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = dict(FAMILIES[family][0])
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **fields))
    found = shape_of_config(of(family))
    sizes = {name: tuple(matrix_of(module).shape) for name, module in prunable(model).items()}
    assert list(matrices(found).items()) == list(sizes.items())
    total, weights = (
        sum(p.numel() for p in model.parameters()),
        sum(map(lambda size: size[0] * size[1], sizes.values())),
    )
    shape = Shape(**found)
    counts = parameters(shape)
    assert (counts["total"], counts["prunable"], shape.prunable, ends(shape)) == (
        total, weights, weights, total - weights,
    )  # fmt: skip
    assert sum(value for group, value in counts.items() if group != "total") == total
    if FAMILIES[family][1]:
        assert weights == N * FAMILIES[family][1]
    assert kept_total(matrices(found), "unstructured", 0.5) == round(weights / 2)
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert (found["tied"], found["layers"], found["hidden_size"], found["vocabulary"]) == (tied, 3, 32, 48)
    assert found["family"] == family
    # plain data, which comes back the same through a manifest
    assert json.loads(json.dumps(found)) == found and Shape(**shape.settings()) == shape


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_totals(name):
    total, config = PUBLISHED[name]
    assert parameters(Shape(**shape_of_config(config)))["total"] == total


def test_biases_and_heads_that_the_widths_do_not_tell():
    plain = parameters(Shape(**shape_of_config(of("llama"))))
    biased = parameters(Shape(**shape_of_config({**of("llama"), "attention_bias": True, "mlp_bias": True})))
    assert biased["prunable"] == plain["prunable"]
    assert biased["biases"] == N * (2 * D + 2 * D // 2 + 2 * F + D) and plain["biases"] == 0


ENCODER = {"model_type": "t5", "d_model": 16, "d_ff": 32, "num_layers": 1, "num_heads": 2, "vocab_size": 48}
BART = {
    "model_type": "bart",
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "is_encoder_decoder": True,
}
REFUSED = {
    "unknown": ({"model_type": "nonesuch", "hidden_size": 8}, "cannot build.*nonesuch"),
    "no type": ({"hidden_size": 8}, "cannot build"),
    "own code": (
        {"model_type": "mine", "auto_map": {"AutoConfig": "configuration_mine.Mine"}}, "cannot build"
    ),
    "broken": ({**of("llama"), "hidden_size": "wide"}, "cannot build"),
    "odd": ({**of("gpt2"), "n_head": 5}, "cannot build.*embed_dim"),
    "no causal class": (ENCODER, "encoder besides|cannot build"),
    "encoder and decoder": (BART, "has an encoder besides its decoder"),
    "several parts": (
        {"model_type": "gemma3", "text_config": of("gemma2"), "vision_config": {}}, "several parts"
    ),
    "experts said": ({**of("llama"), "model_type": "mixtral", "num_local_experts": 4}, "'num_local_experts' is 4"),
    "experts by default": ({**of("llama"), "model_type": "mixtral"}, "has experts"),
    "no object": ([1], "found no JSON object"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_counted_is_one_line(kind):
    config, words = REFUSED[kind]
    with pytest.raises(UserError, match=words) as refused:
        shape_of_config(config, "some/config.json")
    assert str(refused.value).startswith("some/config.json: ") and "\n" not in str(refused.value)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty store, and a process that remembers nothing."""
    monkeypatch.setattr(shapes, "FOLDER", str(tmp_path / "store"))
    monkeypatch.setattr(shapes, "_answers", {})
    return tmp_path / "store"


@pytest.fixture
def asked(monkeypatch):
    """The requests that are answered by counting."""
    requests = []

    def counting(request):
        requests.append(request)
        return shapes._counted_here(request)

    monkeypatch.setattr(shapes, "_imported", lambda: False)
    monkeypatch.setattr(shapes, "_counted_elsewhere", counting)
    return requests


def test_a_config_is_counted_once(store, asked, monkeypatch):
    found = shape_of_config(of("gpt_neox"), lengths=[6, 4])
    assert [sorted(path.name.partition("-")[2] for path in store.iterdir())] == [["", "4.json", "6.json"]]
    assert len(asked) == 1 and asked[0]["lengths"] == [4, 6]  # not in the order of its text
    for _ in range(2):
        assert shape_of_config(dict(reversed(of("gpt_neox").items())), lengths=[4, 6]) == found
        monkeypatch.setattr(shapes, "_answers", {})  # as another process
    assert len(asked) == 1
    shape_of_config(of("gpt_neox"), lengths=[4, 8])
    assert asked[1]["lengths"] == [8] and not asked[1]["counts"]
    shape_of_config({**of("gpt_neox"), "hidden_act": "relu"})
    monkeypatch.setattr(shapes, "version", lambda name: "0")
    shape_of_config(of("gpt_neox"))
    assert [request["counts"] for request in asked] == [True, False, True, True]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"answer": {}, "sha256": "0"}', "null"])
def test_an_answer_that_is_not_whole_is_counted_again(store, asked, monkeypatch, text):
    found = shape_of_config(of("gpt_neox"))
    (path,) = store.iterdir()
    whole = path.read_bytes()
    path.write_text(text)
    monkeypatch.setattr(shapes, "_answers", {})
    assert shape_of_config(of("gpt_neox")) == found and len(asked) == 2 and path.read_bytes() == whole


def test_a_place_that_cannot_be_written_to_is_no_obstacle(tmp_path, asked, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(shapes, "FOLDER", str(tmp_path / "file" / "below"))
    monkeypatch.setattr(shapes, "_answers", {})
    first, second = shape_of_config(of("gpt_neox"), lengths=[4]), shape_of_config(of("gpt_neox"), lengths=[4])
    assert first == second and len(asked) == 1


LIGHT = """
import json, sys
from pathlib import Path
from sparse_continual.models import shape
started, run = [], shape.subprocess.run
def counting(*args, **kwargs):
    started.append(1)
    return run(*args, **kwargs)
shape.subprocess.run = counting
found = shape.shape_of("model", lengths=[4])
assert not {"torch", "transformers"} & set(sys.modules), "heavy"
print(json.dumps([found, len(started)]))
"""


def test_the_process_that_asks_stays_light_and_others_find_the_answer(tmp_path):
    """Two at once, each of which may count, and one after them, which may not."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(of("gpt_neox")))

    def ask(_):
        done = subprocess.run([sys.executable, "-c", LIGHT], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(ask, range(2)))
    last, started = ask(0)
    assert all(found == last for found, _ in answers) and started == 0
    assert last == json.loads(json.dumps(shape_of_config(of("gpt_neox"), lengths=[4])))
    assert not list((tmp_path / shapes.FOLDER).glob(".*"))


def test_a_refusal_of_the_other_process_is_one_line(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({"model_type": "nonesuch"}))
    code = LIGHT.replace(
        "found = shape", "from sparse_continual.errors import UserError\ntry: shape"
    ).replace("assert not", "except UserError as error: print(error)\nsys.exit()\nassert not")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.startswith("model/config.json: transformers") and done.stdout.count("\n") == 1, (
        done.stderr
    )
    assert done.stderr == ""


def test_counting_in_a_process_that_trains_changes_no_random_numbers(store):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    assert shapes._imported()
    with torch.no_grad():
        assert isinstance(shape_of_config(of("gpt2"), lengths=[5])["counted"]["flops"]["5"], dict)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.rand(2), expected)
    assert not store.exists()  # nor is anything written where a library is used


def test_own_code_is_run_where_it_is_trusted_alone(tmp_path):
    config = {**of("llama"), "model_type": "mine", "auto_map": {
        "AutoConfig": "mine.MineConfig", "AutoModelForCausalLM": "mine.MineForCausalLM",
    }}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class MineConfig(LlamaConfig):\n    model_type = 'mine'\n"
        "class MineForCausalLM(LlamaForCausalLM):\n    config_class = MineConfig\n"
    )
    with pytest.raises(UserError, match="config.json: transformers .* cannot build"):
        shape_of(tmp_path)
    assert Shape(**shape_of(tmp_path, True)).prunable == N * FAMILIES["llama"][1]

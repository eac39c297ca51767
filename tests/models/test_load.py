"""Loading, saving and finding prunable matrices, on tiny models made here."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from sparse_continual.bases.facts import facts_of
from sparse_continual.errors import UserError
from sparse_continual.models.load import (
    load_model,
    load_tokenizer,
    matrix_of,
    prunable,
    save_model,
)
from sparse_continual.models.shape import shape_of, shape_of_config

WORDS = ["<pad>", "<s>", "</s>", "<unk>", "Ada", "works", "at", "the", "mill", "."]
UP, DOWN = "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.down_proj.weight"
TINY = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=words, **special)


def llama(**changes):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**{**TINY, **changes})).eval()


@pytest.fixture
def folder(tmp_path):
    save_model(llama(), tokenizer(), tmp_path / "model")
    return tmp_path / "model"


def rewrite(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def refused(folder, *words):
    with pytest.raises(UserError) as caught:
        load_model(folder)
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_round_trip(tmp_path, tied, dtype):
    model = llama(tie_word_embeddings=tied).to(dtype)
    save_model(model, tokenizer(), tmp_path)
    again = load_model(tmp_path)
    assert again.dtype == torch.float32 and not again.training
    assert again.config._attn_implementation == "sdpa"
    assert all(torch.equal(a, b.float()) for a, b in zip(again.parameters(), model.parameters(), strict=True))
    if dtype is torch.float32:  # in bfloat16 the rotary frequencies, which are not saved, are rounded too
        ids = torch.tensor([[1, 4, 5, 6, 7, 8]])
        assert torch.equal(again(ids).logits, model(ids).logits)
    assert (again.lm_head.weight is again.model.embed_tokens.weight) == tied
    assert not list(tmp_path.glob("*.bin"))
    facts = facts_of(tmp_path)
    assert facts["folder"] == str(tmp_path) and facts["model_type"] == "llama"
    assert facts["parameters"] == sum(p.numel() for p in model.parameters())
    assert facts["shape"]["tied"] == tied


def test_mps_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match="device: found mps:0, .*; use cpu or cuda"):
        load_model(tmp_path / "nothing", "mps:0")


def test_saving_twice_gives_equal_bytes(folder, tmp_path):
    save_model(load_model(folder), load_tokenizer(folder), tmp_path / "again")
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes(), name


def test_shards_are_read(folder, tmp_path):
    model = load_model(folder)
    model.save_pretrained(tmp_path / "shards", max_shard_size="2KB")
    load_tokenizer(folder).save_pretrained(tmp_path / "shards")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    again = load_model(tmp_path / "shards")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_tokenizer_round_trip(folder):
    text = "Ada works at the mill . Bob"
    loaded = load_tokenizer(folder)
    assert loaded(text)["input_ids"] == tokenizer()(text)["input_ids"] == [4, 5, 6, 7, 8, 9, 3]
    assert (loaded.pad_token_id, loaded.bos_token_id, loaded.eos_token_id) == (0, 1, 2)


def test_tokenizer_without_pad_takes_the_end_token(folder):
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["pad_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert load_tokenizer(folder).pad_token == "</s>"


def test_broken_tokenizer(folder):
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(UserError, match="tokenizer"):
        load_tokenizer(folder)


def test_missing_tensors_are_named(folder):
    rewrite(folder, lambda t: (t.pop(UP), t.pop("model.norm.weight")))
    refused(folder, "lacks", UP, "model.norm.weight")


def test_missing_head(tmp_path):
    save_model(llama(tie_word_embeddings=False), tokenizer(), tmp_path)
    rewrite(tmp_path, lambda t: t.pop("lm_head.weight"))
    refused(tmp_path, "lacks", "lm_head.weight")


def test_many_missing_tensors_are_counted(folder):
    rewrite(folder, lambda t: [t.pop(name) for name in list(t) if ".layers.1." in name])
    refused(folder, "lacks", "model.layers.1.input_layernorm.weight", "and 6 more")


def test_another_shape(folder):
    rewrite(folder, lambda t: t.update({DOWN: torch.zeros(16, 20)}))
    refused(folder, DOWN, "16 x 20", "16 x 24")


@pytest.mark.parametrize(
    "name", ["model.layers.2.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.bias"]
)
def test_block_tensors_without_a_place(folder, name):
    rewrite(folder, lambda t: t.update({name: torch.zeros(16)}))
    refused(folder, "no place", name)


def test_harmless_leftovers_are_fine(folder):
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    rewrite(folder, lambda t: t.update({name: torch.zeros(2), "value_head.weight": torch.zeros(1)}))
    load_model(folder)


def test_unknown_architecture(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "lama"}))
    refused(folder, "transformers cannot load")


def test_a_sparsity_declaration_is_passed_over(folder):
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "sparsity_config": {"format": "dense", "global_sparsity": 50.0, "sparsity_structure": "2:4"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    model = load_model(folder)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), llama().parameters(), strict=True))


GENERATION = {  # a file, and whether it is kept
    "valid": (b'{"temperature": 0.6, "do_sample": true}', True),
    "sampling off": (b'{"do_sample": false, "temperature": 0.6, "top_p": 0.9}', False),  # as Llama 2 has it
    "beams": (b'{"num_return_sequences": 3}', False),
    "type": (b'{"temperature": "hot"}', False),
    "value": (b'{"max_new_tokens": -1}', False),
    "cache": (b'{"cache_implementation": "nonsense"}', False),
    "list": (b"[1, 2]", False),
    "null": (b"null", False),
    "no JSON": (b"{oops", False),
    "no text": (b"\xff\xfe", False),
    "empty": (b"", False),
}


@pytest.mark.parametrize("kind", GENERATION)
def test_a_generation_config_stops_neither_loading_nor_saving(folder, tmp_path, kind):
    content, kept = GENERATION[kind]
    wanted = load_model(folder)
    (folder / "generation_config.json").write_bytes(content)
    model = load_model(folder)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), wanted.parameters(), strict=True))
    save_model(model, tokenizer(), tmp_path / "again")
    written = json.loads((tmp_path / "again" / "generation_config.json").read_text())
    assert (written.get("temperature") == 0.6) == kept
    load_model(tmp_path / "again")


def test_more_tokens_than_rows(tmp_path):
    save_model(llama(vocab_size=8), tokenizer(), tmp_path)
    with pytest.raises(UserError, match="10 tokens, the embedding 8 rows"):
        facts_of(tmp_path)


def test_ids_beyond_the_rows_though_tokens_are_fewer(tmp_path):
    """A vocabulary may leave gaps in its ids."""
    save_model(llama(vocab_size=12), tokenizer(), tmp_path)
    facts_of(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    token, highest = max(content["model"]["vocab"].items(), key=lambda entry: entry[1])
    for number, fits in ((11, True), (12, False), (900, False)):
        content["model"]["vocab"][token] = number
        path.write_text(json.dumps(content))
        if fits:
            facts_of(tmp_path)
            continue
        with pytest.raises(UserError, match=f"gives {token!r} the id {number}, the embedding has 12 rows"):
            facts_of(tmp_path)


def test_prunable_names_and_order():
    model = llama()
    attention = [f"self_attn.{letter}_proj" for letter in "qkvo"]
    names = [*attention, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    assert list(prunable(model)) == [f"model.layers.{n}.{name}.weight" for n in (0, 1) for name in names]
    parameters = dict(model.named_parameters())
    assert all(module.weight is parameters[name] for name, module in prunable(model).items())


def test_prunable_other_architectures():
    from transformers import GPT2Config, GPT2LMHeadModel, OPTConfig, OPTForCausalLM

    opt = OPTForCausalLM(
        OPTConfig(
            vocab_size=9,
            hidden_size=8,
            word_embed_proj_dim=8,
            ffn_dim=8,
            num_hidden_layers=1,
            num_attention_heads=2,
        )
    )
    assert "model.decoder.layers.0.fc1.weight" in prunable(opt) and len(prunable(opt)) == 6
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=2))
    wide = prunable(gpt2)["transformer.h.0.mlp.c_fc.weight"]  # a Conv1D, stored [inputs, outputs]
    assert wide.weight.shape == (8, 32) and matrix_of(wide).shape == (32, 8) and len(prunable(gpt2)) == 4
    assert matrix_of(wide, matrix_of(wide)).shape == wide.weight.shape
    gpt2.transformer.h[0] = gpt2.transformer.ln_f
    with pytest.raises(UserError, match="no Linear"):
        prunable(gpt2)


def test_prunable_leaves_routers_and_keeps_experts():
    """A mixture of experts as a module list inside a list of fewer blocks."""
    from torch import nn

    block = nn.Module()
    block.gate = nn.Linear(4, 3)
    block.router = nn.ModuleDict({"layer": nn.Linear(4, 3)})
    block.experts = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
    model = nn.Module()
    model.model = nn.Module()
    model.model.layers = nn.ModuleList([block])
    model.lm_head = nn.Linear(4, 4)
    model.base_model = model.model
    assert list(prunable(model)) == [f"model.layers.0.experts.{n}.weight" for n in range(3)]


def test_a_model_without_a_list_of_blocks():
    from torch import nn

    model = nn.Sequential(nn.Linear(4, 4))
    model.base_model = model
    with pytest.raises(UserError, match="Sequential: no list of decoder blocks; expected a decoder-only"):
        prunable(model)


def test_weights_that_are_computed_are_matrices_of_their_own():
    """As LoRA's merged ones are: the next may lie where the last one lay."""
    from torch import nn
    from torch.nn.utils import parametrize

    class Doubled(nn.Module):
        def forward(self, weight):
            return 2 * weight

    model = llama()
    names = list(prunable(model))
    for module in prunable(model).values():
        parametrize.register_parametrization(module, "weight", Doubled())
    assert list(prunable(model)) == names


@pytest.mark.parametrize("wrapped", [False, True])
def test_one_matrix_under_two_names_is_refused(wrapped):
    """It would be pruned twice, and have fewer weights than its masks say."""
    from torch import nn

    model = llama()
    first, second = model.model.layers[:2]
    weight = first.mlp.up_proj.weight
    second.mlp.up_proj.weight = nn.Parameter(weight) if wrapped else weight
    with pytest.raises(
        UserError,
        match=r"LlamaForCausalLM: model.layers.0.mlp.up_proj.weight and model.layers.1.mlp.up_proj.weight are one "
        "matrix; expected one of its own in every block",
    ):
        prunable(model)


def test_a_second_list_of_blocks_is_refused():
    """It would be left whole without a word."""
    from torch import nn

    model = nn.Module()
    model.base_model = model
    model.low, model.high = (nn.ModuleList([nn.Sequential(nn.Linear(4, 4))]) for _ in range(2))
    with pytest.raises(
        UserError, match="Module: low and high are both lists of decoder blocks; expected one"
    ):
        prunable(model)


MIXTURES = {  # settings, and the first tensor that holds several experts otherwise than [experts, outputs, inputs]
    "GptOss": (
        {"num_local_experts": 3, "num_experts_per_tok": 2, "head_dim": 4},
        "model.layers.0.mlp.experts.gate_up_proj (3 x 16 x 48)",
    ),
    "JetMoe": (
        {"num_local_experts": 3, "num_experts_per_tok": 2, "kv_channels": 4},
        "input_linear.weight (3 x ",
    ),
    "Dbrx": (
        {
            "d_model": 16,
            "n_heads": 4,
            "n_layers": 2,
            "ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 3, "moe_top_k": 2},
            "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4},
        },
        "transformer.blocks.0.ffn.experts.mlp.w1 (72 x 16)",
    ),
}


@pytest.mark.parametrize("family", MIXTURES)
def test_experts_that_are_stored_in_another_way_are_loaded_but_refused_for_pruning(family, tmp_path):
    """A mixture would keep most of its weights in silence, or be pruned along the wrong dimension."""
    import transformers

    settings, expected = MIXTURES[family]
    config = getattr(transformers, f"{family}Config")(**{**TINY, "tie_word_embeddings": False, **settings})
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    save_model(model, tokenizer(), tmp_path)
    again = load_model(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    with pytest.raises(UserError) as caught:
        prunable(again)
    message = str(caught.value)
    assert expected in message and "neither pruned nor trained" in message and "\n" not in message


OTHERS = {  # no mixture, but tensors of three dimensions in the blocks: their names end with
    "FalconMamba": ({"intermediate_size": 32, "state_size": 4}, "conv1d.weight"),
    "Qwen3_5Text": (
        {"head_dim": 4, "layer_types": ["linear_attention", "full_attention"]},
        "conv1d.weight",
    ),
    "RecurrentGemma": (
        {"lru_width": 16, "head_dim": 4, "block_types": ["recurrent"]},
        "rg_lru.input_gate_weight",
    ),
    "Rwkv": ({}, "time_mix_key"),
}


@pytest.mark.parametrize("family", OTHERS)
def test_tensors_of_three_dimensions_alone_are_no_experts(family):
    import transformers

    settings, expected = OTHERS[family]
    with torch.device("meta"):
        config = getattr(transformers, f"{family}Config")(**{**TINY, **settings})
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert any(p.ndim == 3 and name.endswith(expected) for name, p in model.named_parameters())
    assert prunable(model)


def test_shape(folder):
    expected = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "layers": 2,
        "heads": 4,
        "kv_heads": 2,
        "vocabulary": 10,
        "tied": True,
        "family": "llama",
    }
    llama = {**TINY, "model_type": "llama"}

    def widths(config):
        return {key: value for key, value in shape_of_config(config).items() if key != "counted"}

    assert widths(json.loads((folder / "config.json").read_text())) == expected
    assert shape_of(folder).items() >= expected.items()
    assert widths({**llama, "head_dim": 8}) == {**expected, "head_size": 8}
    assert widths({**llama, "head_dim": 4}) == expected
    assert widths({**llama, "num_key_value_heads": None})["kv_heads"] == 4


def test_tying_left_out_is_the_architecture_s_own():
    config = {key: value for key, value in TINY.items() if key != "tie_word_embeddings"}
    assert shape_of_config({**config, "model_type": "llama"})["tied"] is False
    assert shape_of_config({**config, "model_type": "gemma"})["tied"] is True


def test_shape_of_another_family():
    with pytest.raises(UserError, match="config.json: transformers .* cannot build .*embed_dim"):
        shape_of_config({"model_type": "gpt2", "n_embd": 8})  # 12 heads
    with pytest.raises(
        UserError, match="config.json: 'num_local_experts' is 8, expected a base without experts"
    ):
        shape_of_config({**TINY, "model_type": "mixtral", "num_local_experts": 8})

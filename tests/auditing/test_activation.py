"""Sparse activation from config alone: published counts, counts by hand, other models, and what is no mixture."""

import json

import pytest

from sparse_continual.auditing import activation
from sparse_continual.errors import UserError

# Published configs, as far as they differ from the defaults of their classes. Totals and active parameters, in
# billions, are those of the models' cards or papers; the active ones count the input embedding here, which
# some cards leave out.
KIMI = {
    "model_type": "kimi_k25",
    "text_config": {
        "model_type": "kimi_k2",
        "hidden_size": 7168,
        "num_hidden_layers": 61,
        "num_attention_heads": 64,
        "num_key_value_heads": 64,
        "intermediate_size": 18432,
        "vocab_size": 163840,
        "n_routed_experts": 384,
        "num_experts_per_tok": 8,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "moe_intermediate_size": 2048,
        "n_group": 1,
        "topk_group": 1,
        "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"},
        "quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized"},
    },
}
QWEN3_30B = {
    "model_type": "qwen3_moe",
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "num_experts": 128,
    "num_experts_per_tok": 8,
}
DBRX = {
    "model_type": "dbrx",
    "d_model": 6144,
    "n_heads": 48,
    "n_layers": 40,
    "vocab_size": 100352,
    "attn_config": {"kv_n_heads": 8, "rope_theta": 500000},
    "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4},
}
PUBLISHED = {
    "Kimi K2.5": (KIMI, 384, 8, 1, range(1, 61), 1026.41, 32.86),
    "MiniMax M2.5": ({"model_type": "minimax_m2"}, 256, 8, 0, range(62), 228.69, 11.03),
    "Mixtral 8x7B": ({"model_type": "mixtral"}, 8, 2, 0, range(32), 46.70, 12.88),
    "DeepSeek V3": ({"model_type": "deepseek_v3"}, 256, 8, 1, range(3, 61), 671.03, 37.55),
    "Qwen3 30B A3B": (QWEN3_30B, 128, 8, 0, range(48), 30.53, 3.35),
    "DBRX": (DBRX, 16, 4, 0, range(40), 131.6, 36.5),
    "gpt-oss 120B": ({"model_type": "gpt_oss"}, 128, 4, 0, range(36), 116.8, 5.7),
}
MIXTURES = {  # class defaults: n, k
    "afmoe": (64, 6),
    "aria": (8, 2),
    "deepseek_v32": (256, 8),
    "ernie4_5_moe": (64, 6),
    "exaone_moe": (64, 8),
    "flex_olmo": (7, 5),
    "glm4_moe": (128, 8),
    "glm4v_moe": (128, 8),
    "granitemoe": (8, 2),
    "granitemoehybrid": (8, 2),
    "jamba": (16, 2),
    "jetmoe": (8, 2),
    "kimi_linear": (256, 8),
    "llama4": (16, 1),
    "minimax": (8, 2),
    "nemotron_h": (8, 2),
    "olmoe": (64, 8),
    "phimoe": (16, 2),
    "qwen2_moe": (60, 4),
    "qwen3_5_moe": (256, 8),
    "qwen3_next": (512, 10),
}
DENSE = """bloom cohere2 falcon gemma gemma2 gemma3 glm gpt2 gpt_neox gptj granite llama mistral mpt olmo2 phi phi3
qwen2 qwen3 smollm3 stablelm starcoder2 doge gemma4 hunyuan_v1_moe""".split()
RELU = {"opt": "relu", "nemotron": "relu2", "persimmon": "relu2"}


@pytest.mark.parametrize("model", PUBLISHED)
def test_published_counts(model):
    config, experts, active, shared, layers, total, used = PUBLISHED[model]
    found = activation.judge(config)
    moe = found["moe"]
    assert (moe["experts"], moe["active_experts"], moe["shared_experts"]) == (experts, active, shared)
    assert moe["layers"] == list(layers) and found["note"] == ""
    assert moe["total_parameters"] / 1e9 == pytest.approx(total, rel=0.01)
    assert moe["active_parameters"] / 1e9 == pytest.approx(used, rel=0.01)


def test_active_parameters_by_hand():
    """Mixtral at tiny size: a token passes attention, norms, router and two of four experts."""
    hidden, wide, layers, words = 16, 24, 3, 50
    config = {
        "model_type": "mixtral",
        "hidden_size": hidden,
        "intermediate_size": wide,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": words,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    }
    attention = 2 * hidden * hidden + 2 * hidden * hidden // 2
    outside = 2 * words * hidden + hidden + layers * (attention + 2 * hidden + 4 * hidden)
    expert = 3 * hidden * wide
    moe = activation.judge(config)["moe"]
    assert moe["total_parameters"] == outside + layers * 4 * expert
    assert moe["active_parameters"] == outside + layers * 2 * expert


@pytest.mark.parametrize(
    "name, shape, is_routed",
    [
        ("layers.0.mlp.experts.gate_up_proj", (8, 4, 6), True),
        ("layers.0.mlp.experts.7.w1.weight", (4, 6), True),
        ("layers.0.mlp.input_linear.weight", (8, 4, 6), True),  # JetMoE
        ("layers.0.mlp.shared_experts.up_proj", (8, 4, 6), False),  # Inkling, were there so many
        ("layers.0.mlp.shared_experts.up_proj.weight", (4, 6), False),
        ("layers.0.self_attention.experts.router.layer.weight", (8, 6), False),
        ("layers.0.linear_attn.conv1d.weight", (32, 1, 4), False),
        ("layers.0.mlp.gate.weight", (8, 6), False),
    ],
)
def test_which_parameters_are_chosen_among(name, shape, is_routed):
    assert activation.routed(name, shape, 8) == is_routed


HUNYUAN = {
    "model_type": "hunyuan_v1_moe",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "vocab_size": 50,
    "num_experts": 8,
    "moe_topk": 2,
}


def test_experts_chosen_by_layer():
    """Hunyuan's k may be a list over layers."""
    of = {k: activation.judge({**HUNYUAN, "moe_topk": k})["moe"] for k in (1, 3)}
    mixed = activation.judge({**HUNYUAN, "moe_topk": [1, 3]})["moe"]
    assert mixed["active_experts"] == 3 and mixed["experts"] == 8
    assert 2 * mixed["active_parameters"] == sum(moe["active_parameters"] for moe in of.values())


@pytest.mark.parametrize("kind", MIXTURES)
def test_mixtures(kind):
    moe = activation.judge({"model_type": kind})["moe"]
    assert (moe["experts"], moe["active_experts"]) == MIXTURES[kind]
    assert moe["layers"] and 0 < moe["active_parameters"] < moe["total_parameters"]


@pytest.mark.parametrize("kind", DENSE)
def test_dense_families(kind):
    found = activation.judge({"model_type": kind})
    assert found["known"] and found["moe"] is None and found["relu"] is None


@pytest.mark.parametrize("kind", RELU)
def test_relu(kind):
    assert activation.judge({"model_type": kind})["relu"] == RELU[kind]


@pytest.mark.parametrize(
    "kind, fields, relu",
    [
        ("falcon", {"activation": "relu"}, "relu"),
        ("falcon", {"activation": "gelu"}, None),
        ("openai-gpt", {"afn": "relu"}, "relu"),
        ("openai-gpt", {"afn": "gelu"}, None),
        ("t5", {"feed_forward_proj": "relu"}, "relu"),
        ("t5", {"feed_forward_proj": "gated-gelu"}, None),
        ("switch_transformers", {"dense_act_fn": "relu"}, "relu"),
        ("novel", {"feed_forward_proj": "gated-relu"}, "gated-relu"),
        ("novel", {"feed_forward_proj": "gated-gelu"}, None),
        ("mpt", {"ffn_config": {"ffn_act_fn": {"name": "relu"}}}, "relu"),
        ("novel", {"hidden_act": {"name": 3}}, None),
    ],
)
def test_fields_that_name_the_activation(kind, fields, relu):
    assert activation.judge({"model_type": kind, **fields})["relu"] == relu


@pytest.mark.parametrize(
    "word, is_relu",
    [
        ("fatrelu", True),
        ("ReLU", True),
        ("reglu", True),
        ("leaky_relu", False),
        ("prelu", False),
        ("gelu", False),
        ("geglu", False),
    ],
)
def test_other_words_for_activation(word, is_relu):
    found = activation.judge({"model_type": "llama", "num_hidden_layers": 1, "hidden_act": word})
    assert found["relu"] == (word if is_relu else None)


def test_a_mixture_without_mixture_is_none():
    """Every layer dense, every expert active, or one expert."""
    small = {"model_type": "qwen3_moe", "num_hidden_layers": 2, "num_experts": 4, "num_experts_per_tok": 2}
    assert activation.judge(small)["moe"]["layers"] == [0, 1]
    assert activation.judge({**small, "mlp_only_layers": [0]})["moe"]["layers"] == [1]
    for change in ({"mlp_only_layers": [0, 1]}, {"num_experts_per_tok": 4}, {"num_experts": 1}):
        assert activation.judge({**small, **change})["moe"] is None


@pytest.mark.parametrize(
    "fields",
    [
        {"n_routed_experts": 64, "num_experts_per_tok": 6, "first_k_dense_replace": 1, "n_shared_experts": 2},
        {"text_config": {"n_routed_experts": 64, "num_experts_per_tok": 6, "first_k_dense_replace": 1}},
    ],
)
def test_an_unknown_type_is_judged_from_its_fields(fields):
    found = activation.judge({"model_type": "novel", "num_hidden_layers": 4, **fields})
    moe = found["moe"]
    assert not found["known"] and "does not know model_type 'novel'" in found["note"]
    assert (moe["experts"], moe["active_experts"], moe["layers"]) == (64, 6, [1, 2, 3])
    assert moe["total_parameters"] is None and moe["active_parameters"] is None


def test_fields_and_built_models_agree_on_the_layers():
    """The rules for unknown types, on types of which the built model says which layers have experts."""
    from transformers import CONFIG_MAPPING

    for kind in (*MIXTURES, "deepseek_v3", "mixtral", "gpt_oss", "minimax_m2"):
        config = CONFIG_MAPPING[kind]().get_text_config(decoder=True)
        by_fields = activation._layers(activation._flat(config.to_dict()))
        assert by_fields == activation.judge({"model_type": kind})["moe"]["layers"], kind


@pytest.mark.parametrize(
    "every, layers",
    [
        ({"expert_layer_period": 2, "expert_layer_offset": 1}, [1, 3, 5]),
        ({"interleave_moe_layer_step": 3}, [2, 5]),
        ({"decoder_sparse_step": 2, "mlp_only_layers": [3]}, [1, 5]),
        ({"moe_layer_freq": [0, 1, 1, 0, 0, 1]}, [1, 2, 5]),
        ({"moe_layer_freq": 2, "first_k_dense_replace": 1}, [2, 4]),
        ({"moe_layer_start_index": 1, "moe_layer_end_index": 4, "moe_layer_interval": 2}, [2, 4]),
        ({"mlp_layer_types": ["dense", "sparse"] * 3}, [1, 3, 5]),
        ({"moe_layers": [5, 0]}, [0, 5]),
    ],
)
def test_which_layers_by_fields(every, layers):
    config = {
        "model_type": "novel",
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 6,
        **every,
    }
    assert activation.judge(config)["moe"]["layers"] == layers


@pytest.mark.parametrize("kind", ["someones", "llama"])  # a name of its own, or that of another
def test_the_architecture_says_what_custom_code_is(kind):
    config = {**KIMI["text_config"], "architectures": ["DeepseekV3ForCausalLM"], "model_type": kind}
    found = activation.judge(config)
    assert found["known"] and found["moe"]["total_parameters"] / 1e9 == pytest.approx(1026.41, rel=0.01)


def test_minimax_by_its_first_name():
    """Its code called itself like the model before it, which transformers builds in another way."""
    first = {
        "model_type": "minimax",
        "architectures": ["MiniMaxM2ForCausalLM"],
        "auto_map": {"AutoConfig": "configuration_minimax_m2.MiniMaxM2Config"},
        "attn_type_list": [1] * 62,
        "shared_intermediate_size": 0,
        "quantization_config": {"quant_method": "fp8"},
    }
    expected = activation.judge({"model_type": "minimax_m2"})["moe"]
    assert activation.judge(first)["moe"] == expected
    # saved by others, without the code; norms of queries and keys are what the model before it lacks
    assert activation.judge({"model_type": "minimax", "use_qk_norm": True})["moe"] == expected
    before = {"model_type": "minimax", "num_hidden_layers": 2, "num_local_experts": 4, "hidden_size": 64}
    unlike = activation.judge(before)["moe"]
    assert unlike == activation.judge(before | {"use_qk_norm": False})["moe"] != expected


def test_experts_that_are_rows_of_embeddings():
    """Doge's: two embeddings a layer, an expert one row of each."""
    config = {
        "model_type": "doge",
        "vocab_size": 100,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_experts": 64,
        "num_experts_per_tok": 8,
        "is_moe": True,
    }
    found = activation.judge(config)["moe"]
    assert (found["experts"], found["active_experts"], found["layers"]) == (64, 8, [0, 1])
    assert found["total_parameters"] - found["active_parameters"] == 2 * 2 * (64 - 8) * 32
    assert activation.judge(config | {"is_moe": False})["moe"] is None


def test_fields_that_are_no_numbers_do_not_count():
    odd = {"model_type": "novel", "hidden_act": "silu", "num_experts": "many", "num_experts_per_tok": True}
    assert activation.judge(odd)["moe"] is None
    moe = activation.judge({**odd, "n_routed_experts": 4})["moe"]
    assert (moe["experts"], moe["active_experts"], moe["layers"]) == (4, None, None)


@pytest.mark.parametrize("k", [0, -2, 9, [2, 9], [], [[2]], "2", True])
def test_a_number_of_active_experts_that_cannot_be(k):
    """Of eight: no active parameters then, and none that are negative or more than all."""
    for kind in ("mixtral", "novel"):
        found = activation.judge({"model_type": kind, "num_local_experts": 8, "num_experts_per_tok": k})
        moe = found["moe"]
        assert (moe["experts"], moe["active_experts"], moe["active_parameters"]) == (8, None, None)
        assert f"num_experts_per_tok cannot be read ({k!r})" in found["note"]


@pytest.mark.parametrize("n", [-8, "8", []])
def test_a_number_of_experts_that_cannot_be(n):
    found = activation.judge({"model_type": "novel", "num_experts": n, "num_experts_per_tok": 2})
    assert found["moe"] is None and f"num_experts cannot be read ({n!r})" in found["note"]


@pytest.mark.parametrize("by_layer", [{"moe_topk": [2]}, {"num_experts": [8, 4], "moe_topk": [2, 6]}])
def test_experts_chosen_by_layer_where_one_cannot_be(by_layer):
    """No k for the second layer, and more than it has."""
    moe = activation.judge(HUNYUAN | by_layer)["moe"]
    assert moe["experts"] == 8 and moe["active_parameters"] is None


def test_shared_experts_by_layer():
    assert activation.judge({**HUNYUAN, "num_shared_expert": [1, 1]})["moe"]["shared_experts"] == 1


@pytest.mark.parametrize(
    "field",
    [
        {"moe_layers": ["a", 1]},
        {"moe_layers": "1,2"},
        {"mlp_only_layers": 3},
        {"first_k_dense_replace": "one"},
        {"moe_layer_freq": "x"},
        {"moe_layer_freq": ["x"]},
        {"decoder_sparse_step": -1},
        {"expert_layer_period": 1.5},
        {"first_k_dense_replace": [1]},
        {"moe_layers": [[1]]},
        {"num_hidden_layers": [4]},
    ],
)
def test_layers_that_cannot_be_read_are_not_reported(field):
    config = {"model_type": "novel", "num_experts": 8, "num_experts_per_tok": 2, "num_hidden_layers": 4}
    assert activation.judge(config)["moe"]["layers"] == [0, 1, 2, 3]
    moe = activation.judge(config | field)["moe"]
    assert moe["layers"] is None and (moe["experts"], moe["active_experts"]) == (8, 2)


@pytest.mark.parametrize("kind", [["llama"], {"a": 1}, 3, None])
def test_a_model_type_that_is_no_word(kind):
    found = activation.judge({"model_type": kind, "hidden_act": "silu"})
    assert not found["known"] and f"does not know model_type {kind!r}" in found["note"]
    nested = {"model_type": "kimi_k25", "text_config": {"model_type": kind, "hidden_act": "relu"}}
    assert activation.judge(nested)["relu"] == "relu"


@pytest.mark.parametrize("kind", ["granitemoehybrid", "bamba", "nemotron_h"])
def test_numbers_that_are_no_json(kind, tmp_path):
    """transformers 5 saves an infinity as an object, and its own classes refuse that object."""
    from transformers import CONFIG_MAPPING

    CONFIG_MAPPING[kind]().save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    assert "__float__" in text
    found, expected = activation.judge(json.loads(text)), activation.judge({"model_type": kind})
    assert found == expected and found["known"] and found["note"] == ""


def test_encoder_and_decoder_are_counted_together():
    """Switch at tiny size: experts in every second layer of both; its k stands in no field."""
    config = {
        "model_type": "switch_transformers",
        "d_model": 16,
        "d_kv": 4,
        "d_ff": 24,
        "num_heads": 4,
        "num_layers": 4,
        "num_decoder_layers": 4,
        "num_sparse_encoder_layers": 2,
        "num_sparse_decoder_layers": 2,
        "num_experts": 8,
        "vocab_size": 50,
    }
    moe = activation.judge(config)["moe"]
    more = activation.judge({**config, "num_experts": 9})["moe"]
    expert, router = 2 * 16 * 24, 16
    assert more["total_parameters"] - moe["total_parameters"] == 4 * (expert + router)
    assert moe["layers"] is None and moe["active_parameters"] is None


def test_empty_experts_leave_the_parameters_untold():
    """transformers makes room for the experts of LongCat that have no parameters."""
    moe = {"model_type": "longcat_flash", "num_layers": 2, "n_routed_experts": 16, "moe_topk": 3}
    found = activation.judge({**moe, "zero_expert_num": 8})
    assert found["moe"]["total_parameters"] is None and found["moe"]["active_experts"] == 3
    assert "zero_expert_num" in found["note"]


def test_an_unknown_type_without_any_of_the_fields():
    with pytest.raises(UserError) as caught:
        activation.judge({"model_type": "novel", "width": 3}, "there/config.json")
    line = str(caught.value)
    assert line.startswith("there/config.json: transformers does not know model_type 'novel'")
    assert all(field in line for field in ("num_local_experts", "n_routed_experts", "hidden_act"))


def test_a_config_that_cannot_be_built_is_judged_from_its_fields():
    found = activation.judge({"model_type": "mixtral", "num_attention_heads": 0})
    assert "cannot" in found["note"] and found["moe"]["experts"] == 8
    assert found["moe"]["total_parameters"] is None

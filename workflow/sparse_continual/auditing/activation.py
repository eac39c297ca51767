"""Sparse activation, judged from a model's config alone: mixtures of experts, and ReLU.

In a mixture of experts a token passes k of n experts per layer; after a ReLU most units of a feed-forward layer are
exactly zero. In both, every weight exists: the used ones change from token to token. So neither is a fixed topology,
and both can occur together with one.

A config that transformers knows is built on the meta device, without weights: parameters are counted, and the experts
are found in their layers. active = total - routed (1 - k / n), where routed are the parameters of the experts that are
chosen from; shared experts and the input embedding count as active. Nested configs are reduced to the language model:
towers of other modalities are not counted. For a model type that transformers does not know, only the fields of the
config are read, and parameters are not counted.

Field names: every config class of transformers 5.17 was searched for words for experts.
"""

import re

from sparse_continual.errors import UserError
from sparse_continual.models.load import EXPERTS

ACTIVE = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "moe_topk",
    "moe_top_k",
    "moe_k",
    "top_k_experts",
)
SHARED = ("n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts")
SHARED_WIDTHS = ("shared_expert_intermediate_size", "shared_intermediate_size", "share_expert_dim")
ACTIVATIONS = (
    "hidden_act",
    "hidden_activation",
    "activation_function",
    "mlp_hidden_act",
    "ffn_act_fn",
    "act_fn",
    "activation",
    "afn",
    "dense_act_fn",
    "feed_forward_proj",
)
EMPTY = "zero_expert_num"  # experts without parameters that can be chosen too
DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
# activations with exact zeros, and gates of them, in small letters; a leaky one has no exact zeros
RELU = re.compile(r"(gated-)?(fat|d|squared_)?relu(2|6|_squared)?|reglu")
NESTED = ("text_config", "language_config", "llm_config", "thinker_config", "ffn_config")
# fields for the layers with experts: numbers; and lists of layer numbers
STEPS = (
    "moe_layer_freq",
    "first_k_dense_replace",
    "num_dense_layers",
    "moe_layer_start_index",
    "moe_layer_interval",
    "expert_layer_period",
    "expert_layer_offset",
    "decoder_sparse_step",
    "interleave_moe_layer_step",
)
NUMBERED = ("moe_layers", "mlp_only_layers")
FLOAT, FLOATS = "__float__", ("Infinity", "-Infinity", "NaN")  # transformers 5 saves those as {FLOAT: word}
# model types of configs with code of their own, and the class of transformers with the same shape
SAME_AS = {"kimi_k2": "deepseek_v3"}
# model types that a later model used first: the fields that only that model's configs have, and its type
LATER = {"minimax": ("use_qk_norm", "minimax_m2")}


def judge(config: dict, name="config.json") -> dict:
    """The activation sparsity that a parsed `config.json`, called `name` in messages, implies.

    Returns {"model_type", "known" (to transformers), "moe", "relu": the activation's name or None, "note": a clause on
    unknown facts, or ""}. moe is None without experts to choose from, else {"experts": n, "active_experts": k,
    "shared_experts", "layers": numbers of the layers with experts, "of_layers", "total_parameters",
    "active_parameters"}; the greatest n and k if layers differ; None for facts that the config lacks.

    Raises UserError for a config of a type that transformers does not know and that has none of the fields.
    """
    built_config, note = config_class(config)
    fields = _flat(config if built_config is None else _all_fields(built_config))
    if built_config is None and not any(field in fields for field in (*EXPERTS, *ACTIVATIONS)):
        raise UserError(
            f"{name}: {note}, and none of the fields {', '.join((*EXPERTS, *ACTIVATIONS))} is in it; expected a "
            "config that transformers knows, or one that names experts or activation"
        )
    moe = None
    if _may_choose(fields):
        model, note = _built(built_config) if built_config is not None else (None, note)
        moe = _mixture(fields, model)
        if moe and fields.get(EMPTY):  # the number of chosen empty experts differs from token to token
            moe |= {"total_parameters": None, "active_parameters": None}
            note = note or f"parameters were not counted, since some experts are empty ({EMPTY})"
    return {
        "model_type": config.get("model_type"),
        "known": built_config is not None,
        "moe": moe,
        "relu": _relu(fields),
        "note": "; ".join(clause for clause in (*_unread(fields), note) if clause),
    }


def routed(name: str, shape, experts: int) -> bool:
    """Whether a parameter, by name and shape, belongs to experts that are chosen from."""
    if "router" in name:
        return False
    # one tensor for all of them; or embeddings (Doge), an expert a row
    together = (len(shape) == 3 and "shared_expert" not in name) or name.endswith("_embed.weight")
    return ".experts." in name or (together and shape[0] == experts)


def config_class(config: dict, whole=False):
    """(transformers' config of the language model in a parsed config.json, or of the `whole` model, "") or (None, why
    there is none)."""
    from transformers import CONFIG_MAPPING, PreTrainedConfig

    kind = _type_of(config)
    if kind not in CONFIG_MAPPING:
        return None, f"transformers does not know model_type {config.get('model_type')!r}"
    plain = {key: value for key, value in config.items() if key not in ("auto_map", "quantization_config")}
    plain = _decoded(plain)
    nested = plain.get("text_config")
    if isinstance(nested, dict) and _word(nested.get("model_type")) in SAME_AS:
        plain["text_config"] = {**nested, "model_type": SAME_AS[nested["model_type"]]}
    try:
        built = CONFIG_MAPPING[kind].from_dict(plain)
        text = built if whole else built.get_text_config(decoder=True)
        # in a flat config of encoder and decoder, the decoder's part lacks fields that its model reads
        nested = isinstance(text, PreTrainedConfig) and type(text) is not type(built)
        return text if nested else built, ""
    except Exception as error:  # its checks can raise anything; the fields can still be read
        return None, f"transformers cannot read this config ({_first_line(error)})"


def _type_of(config: dict):
    """The model type by which transformers knows a config, or its own."""
    from transformers import CONFIG_MAPPING

    kind, named = _word(config.get("model_type")), config.get("architectures")
    field, later = LATER.get(kind, (None, None))
    kind = later if config.get(field) else kind
    if kind in CONFIG_MAPPING and "auto_map" not in config:
        return kind
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES  # takes seconds

    # custom code may use its own name for a type that transformers has: then the architecture decides
    named = named[0] if isinstance(named, list) and named else None
    owners = [owner for owner, name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items() if name == named]
    return owners[0] if owners and kind not in owners else SAME_AS.get(kind, kind)


def _word(value) -> str | None:
    return value if isinstance(value, str) else None


def _decoded(value):
    """A parsed JSON value, with numbers that JSON cannot hold decoded from the form in which transformers 5 saves
    them."""
    if isinstance(value, dict):
        if list(value) == [FLOAT] and value[FLOAT] in FLOATS:
            return float(value[FLOAT])
        return {key: _decoded(one) for key, one in value.items()}
    return [_decoded(one) for one in value] if isinstance(value, list) else value


def _relu(fields: dict) -> str | None:
    """The activation's name if it is one of `RELU`."""
    activation = _first(fields, ACTIVATIONS)
    activation = _word(activation.get("name") if isinstance(activation, dict) else activation)
    return activation if activation and RELU.fullmatch(activation.lower()) else None


def _built(model_config):
    """(the model on the meta device, "") or (None, why it cannot be built)."""
    import torch
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModel, AutoModelForCausalLM

    maker = AutoModelForCausalLM if type(model_config) in MODEL_FOR_CAUSAL_LM_MAPPING else AutoModel
    try:
        with torch.device("meta"):
            return maker.from_config(model_config), ""
    except Exception as error:  # its constructor can raise anything; the fields can still be read
        return None, f"transformers cannot build this config ({_first_line(error)})"


def _first_line(error) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _all_fields(model_config) -> dict:
    """Fields of a config, including the common names that its class maps to its own names."""
    fields = model_config.to_dict()
    return {**{key: getattr(model_config, key, None) for key in type(model_config).attribute_map}, **fields}


def _flat(config: dict) -> dict:
    """Fields of a config and of its nested configs of the language model, which take precedence."""
    fields = dict(config)
    for key in NESTED:
        if isinstance(config.get(key), dict):
            fields.update(_flat(config[key]))
    return fields


def _first(fields: dict, names):
    """The first of the `names` that exists and is set."""
    return next((fields[name] for name in names if fields.get(name) is not None), None)


def _number(fields: dict, names):
    """`_first` among numbers and lists of numbers, one per layer."""
    known = {name: fields[name] for name in names if name in fields}
    return _first({name: value for name, value in known.items() if _is_number(value)}, names)


def _is_number(value, or_list=True) -> bool:
    if isinstance(value, list):
        return or_list and bool(value) and all(_is_number(one, False) for one in value)
    return type(value) is int and value >= 0


def _active(fields: dict):
    """`_number` of active experts: at least one, and at most all; else None."""
    experts, active = _most(_number(fields, EXPERTS)), _number(fields, ACTIVE)
    return active if active is not None and 1 <= _most(active) <= (experts or 0) else None


def _unread(fields: dict) -> list[str]:
    """Clauses on the fields for the number of experts, or of active ones, that cannot be read."""
    odd = [name for name in EXPERTS if fields.get(name) is not None and not _is_number(fields[name])]
    if _may_choose(fields) and _active(fields) is None:
        odd += [name for name in ACTIVE if fields.get(name) is not None]
    return [f"{name} cannot be read ({repr(fields[name])[:40]})" for name in odd]


def _may_choose(fields: dict) -> bool:
    """Whether there are several experts, and not all are active."""
    experts, active = _most(_number(fields, EXPERTS)), _most(_active(fields))
    several = experts is not None and experts > 1 and fields.get("is_moe") is not False
    return several and (active is None or active < experts)


def _mixture(fields: dict, model) -> dict | None:
    """`moe` of `judge`, counted on a `model` or, without one, from the fields alone."""
    experts, active = _number(fields, EXPERTS), _active(fields)
    layers = _layers(fields)
    sizes = {} if model is None else {key: p.numel() for key, p in model.named_parameters()}
    expert_parameters = {}  # layer -> parameters of its experts
    for key, parameter in model.named_parameters() if model is not None else ():
        if routed(key, parameter.shape, _in_layer(experts, _layer(key))):
            expert_parameters[_layer(key)] = expert_parameters.get(_layer(key), 0) + sizes[key]
    if model is not None:
        layers = sorted(expert_parameters)
    if layers == []:
        return None
    if fields.get("is_encoder_decoder") is True:  # has two layers with each number
        layers = None
    total = sum(sizes.values()) if sizes else None
    return {
        "experts": _most(experts),
        "active_experts": _most(active),
        "shared_experts": _shared(fields, sizes),
        "layers": layers,
        "of_layers": _number(fields, DEPTHS),
        "total_parameters": total,
        "active_parameters": _used(total, expert_parameters, experts, active)
        if total and active is not None
        else None,
    }


def _used(total: int, expert_parameters: dict, experts, active) -> int | None:
    """Active parameters, from those of the experts of each layer; None if a layer's n and k are not known."""
    for layer, held in expert_parameters.items():
        n, k = _in_layer(experts, layer), _in_layer(active, layer)
        if n is None or k is None or k > n:
            return None
        total -= held - held * k // n  # in integers: n divides the experts' parameters
    return total


def _most(value):
    """The greatest of a list over layers; else the value itself."""
    return max(value, default=None) if isinstance(value, list) else value


def _in_layer(value, layer: int) -> int | None:
    if not isinstance(value, list):
        return value
    return value[layer] if layer < len(value) else None


def _layer(name: str) -> int:
    match = re.search(r"\.(\d+)\.", name)
    return int(match[1]) if match else 0


def _shared(fields: dict, sizes: dict) -> int:
    number = _most(_number(fields, SHARED))
    if number is None and (_first(fields, SHARED_WIDTHS) or any("shared_expert" in name for name in sizes)):
        return 1
    return number or 0


def _layers(fields: dict) -> list[int] | None:
    """Numbers of the layers with experts, from the fields alone; None if the depth is not known, or a field is not a
    number.

    Read: mlp_layer_types, moe_layers, first_k_dense_replace or num_dense_layers with moe_layer_freq,
    decoder_sparse_step with mlp_only_layers, expert_layer_period with expert_layer_offset,
    interleave_moe_layer_step, and moe_layer_start_index, _end_index and _interval. Without any of them, all layers.
    """
    kinds = fields.get("mlp_layer_types") or fields.get("layers_block_type")
    if isinstance(kinds, list):
        return [layer for layer, kind in enumerate(kinds) if kind == "sparse" or "moe" in str(kind)]
    if any(
        fields.get(name) is not None and not _is_number(fields[name], name == "moe_layer_freq")
        for name in STEPS
    ) or any(
        fields.get(name) and not (isinstance(fields[name], list) and _is_number(fields[name]))
        for name in NUMBERED
    ):
        return None
    if isinstance(fields.get("moe_layers"), list):
        return sorted(fields["moe_layers"])
    every = fields.get("moe_layer_freq") or 1
    if isinstance(every, list):
        return [layer for layer, has in enumerate(every) if has]
    depth = _number(fields, DEPTHS)
    if not _is_number(depth, False):
        return None
    first = _first(fields, ("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index")) or 0
    last = fields.get("moe_layer_end_index")
    last = last if _is_number(last, False) else depth - 1
    every = fields.get("moe_layer_interval") or every
    period, offset = fields.get("expert_layer_period") or 1, fields.get("expert_layer_offset") or 0
    step = fields.get("decoder_sparse_step") or fields.get("interleave_moe_layer_step") or 1
    return [
        layer
        for layer in range(first, min(last + 1, depth))
        if layer % every == 0
        and layer % period == offset % period
        and (layer + 1) % step == 0
        and layer not in (fields.get("mlp_only_layers") or ())
    ]

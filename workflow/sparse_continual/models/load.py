"""Read and write models and tokenizers in Hugging Face format; find the prunable matrices."""

from pathlib import Path

from sparse_continual.device import DTYPE, refuse_device
from sparse_continual.errors import UserError
from sparse_continual.models.checkpoint import BLOCKS, by, check_checkpoint
from sparse_continual.models.reader import DENSE, Checkpoint

SHOWN = 3  # tensors named in a message
# words in the names of mixture-of-experts routers
ROUTERS = {"gate", "router", "router_gate", "shared_expert_gate"}
# fields of config.json with the number of experts
EXPERTS = ("num_local_experts", "n_routed_experts", "num_experts", "moe_num_experts")


def load_model(folder, device="cpu", trust_remote_code=False):
    """The causal language model in `folder`, in float32 and in eval mode, on `device`.

    Any architecture that transformers knows, with tied or untied embeddings and any number of key and value heads; only
    safetensors, stored plainly, as bits and values (`models.reader`), or as float8 with scales; attention is torch's
    scaled dot product if the architecture has it. Nothing is downloaded. A generation_config.json that transformers
    cannot read, or would refuse to write, is ignored, and the model has the defaults of its config.json.

    Raises UserError, naming the file or the first tensors: broken or pickled files, tensors that the model needs and
    the checkpoint lacks (they would be random), tensors of another shape, and tensors of the decoder blocks without a
    place in the model (it would be another model).
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    refuse_device(device)
    check_checkpoint(folder)
    checkpoint, folder = Checkpoint(folder, scaled=True), str(folder)
    try:
        config = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
        for block in BLOCKS:
            if hasattr(config, block):
                # transformers would read a sparsity declaration as a quantisation and fail, or leave weights
                # random that are decoded here
                delattr(config, block)
        loader, source = AutoModelForCausalLM, {"pretrained_model_name_or_path": folder}
        if checkpoint.format != DENSE or checkpoint.scaled:
            with torch.device("meta"):  # the architecture's own class; only it accepts tensors
                loader = type(AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code))
            source = {"pretrained_model_name_or_path": None, "state_dict": dict(checkpoint.items())}
        model, report = loader.from_pretrained(
            **source,
            config=config,
            dtype=getattr(torch, DTYPE),
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            **_generation(folder, config),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except (ValueError, KeyError, ImportError) as error:
        raise UserError(
            f"{folder}: transformers cannot load it as a causal language model: {error}"
        ) from None
    blocks = block_list(model)[0] + "."
    homeless = [
        name
        for name in report["unexpected_keys"]
        if name.startswith(blocks) and not name.endswith("rotary_emb.inv_freq")
    ]
    _refuse(folder, "lacks tensors that the model needs", report["missing_keys"])
    _refuse(
        folder,
        "has tensors of another shape than config.json says",
        [f"{name} ({by(is_)}, expected {by(should)})" for name, is_, should in report["mismatched_keys"]],
    )
    _refuse(folder, "has block tensors that the model of its config.json has no place for", homeless)
    return model.to(device).eval()


def _generation(folder, config) -> dict:
    """{} if transformers can read generation_config.json and write it again, or there is none; else its replacement, as
    an argument of `from_pretrained`.

    Many published files set a temperature beside `do_sample: false`: transformers reads them, but does not write them.
    """
    from transformers import GenerationConfig

    if not (Path(folder) / "generation_config.json").is_file():
        return {}
    try:
        GenerationConfig.from_pretrained(folder, local_files_only=True).validate(strict=True)
    except Exception:  # a value of a wrong type can raise anything
        return {"generation_config": GenerationConfig.from_model_config(config)}
    return {}


def _refuse(folder, what, names) -> None:
    """Raise UserError with the problem `what` of `folder` and the first of `names`, if there are any."""
    names = sorted(names)
    if names:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise UserError(
            f"{folder}: the checkpoint {what}: {', '.join(names[:SHOWN])}{more}; "
            "copy it again, or correct its config.json"
        )


def load_tokenizer(folder, trust_remote_code=False):
    """The tokenizer in `folder`; nothing is downloaded. A missing pad token becomes the end token.

    Raises UserError if transformers cannot read its files.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=trust_remote_code
        )
    except Exception as error:  # tokenizers raises bare Exception for a malformed file
        raise UserError(f"{folder}: transformers cannot load its tokenizer: {error}") from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def save_model(model, tokenizer, folder) -> None:
    """Write `model` (safetensors), its config and `tokenizer` to `folder`, which is made if missing."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def prunable(model) -> dict:
    """Name of the weight parameter -> module, for the linears inside decoder blocks, in model order.

    Linears are `torch.nn.Linear` and GPT-2's `Conv1D`, which stores its weight transposed (`matrix_of`). If a mixture
    keeps the matrices of a block's experts in one parameter, a `Stack` represents them all. Embeddings, head, norms and
    routers are excluded. For example "model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.experts.down_proj".

    Raises UserError if the model has no list of blocks, no linear in it, experts that are stored in another way (they
    would silently stay dense), or one matrix under two names.
    """
    from torch.nn import Linear

    prefix, blocks = block_list(model)
    matrices = {}
    for name, module in blocks.named_modules():
        router = not ROUTERS.isdisjoint(name.split("."))
        if (isinstance(module, Linear) or _transposed(module)) and not router:
            matrices[f"{prefix}.{name}.weight"] = module
        matrices |= {f"{prefix}.{name}.{key}": stack for key, stack in stacks(module).items()}
    _refuse_other_experts(model, prefix, blocks, matrices)
    if not matrices:
        raise UserError(
            f"{type(model).__name__}: no Linear module in its blocks ({prefix}), so nothing to prune; "
            "expected a Llama-like architecture"
        )
    _refuse_shared(model, {name: module.weight for name, module in matrices.items()})
    return matrices


def _refuse_shared(model, weights: dict) -> None:
    """Raise UserError if two of `weights` (name -> tensor) share their memory."""
    first = {}
    for name, weight in weights.items():
        place = id(weight) if weight.is_meta else (weight.device, weight.data_ptr(), weight.shape)
        other = first.setdefault(place, name)
        if other != name:
            raise UserError(
                f"{type(model).__name__}: {other} and {name} are one matrix; expected one of its own in every block"
            )


def refuse_other_models(model) -> None:
    """Raise UserError unless `model` is a causal language model of transformers, whole and in memory."""
    from transformers import PreTrainedModel

    kind = type(model).__name__
    load = "load one with sparse_continual.models.load.load_model(folder)"
    if hasattr(model, "_orig_mod"):
        raise UserError(
            f"model: found {kind}, which is compiled, expected the model itself; pass model._orig_mod"
        )
    if not isinstance(model, PreTrainedModel) or model.get_output_embeddings() is None:
        raise UserError(
            f"model: found {kind}, expected a causal language model of transformers, with its head; {load}, or with "
            "transformers' AutoModelForCausalLM"
        )
    empty = next((name for name, parameter in model.named_parameters() if parameter.is_meta), None)
    if empty:
        raise UserError(
            f"model: found {kind} whose {empty} has no values (device meta), expected weights in memory; {load}"
        )
    refuse_device(model.device)


class Stack:
    """Replaces a linear; `weight`: a parameter [experts, outputs, inputs] with the matrices of all experts."""

    def __init__(self, module, key: str):
        self.module, self.key = module, key

    @property
    def weight(self):
        """The present parameter of the model."""
        return getattr(self.module, self.key)


def stacks(module) -> dict[str, Stack]:
    """Name within `module` -> Stack, for its own parameters that hold several experts' matrices.

    transformers' decorator `use_experts_implementation` sets a flag that identifies them. Architectures that store
    experts otherwise ([experts, inputs, outputs] of GPT-OSS and Llama 4, two dimensions of DBRX) set another flag, or
    none.
    """
    if getattr(module, "is_transposed", None) is not False:
        return {}
    parameters = module.named_parameters(recurse=False)
    return {key: Stack(module, key) for key, parameter in parameters if parameter.ndim == 3}


def _refuse_other_experts(model, prefix, blocks, known) -> None:
    """Raise UserError for the first tensor not in `known` that holds the weights of several experts of a mixture.

    The word in the name of the parameter or of its module's class decides: other architectures have tensors of three
    dimensions too (convolutions of Mamba, gates of RecurrentGemma, heads of XLNet), and DBRX's experts have two.
    """
    from torch.nn import Linear

    modules = dict(blocks.named_modules())
    for name, parameter in blocks.named_parameters():
        module = modules[name.rpartition(".")[0]]
        named = f"{name} {type(module).__name__}".lower()
        other = parameter.ndim > 1 and f"{prefix}.{name}" not in known and not isinstance(module, Linear)
        if other and "expert" in named:
            raise UserError(
                f"{type(model).__name__}: {prefix}.{name} ({by(parameter.shape)}) holds the weights of several "
                "experts, expected a linear for each, or [experts, outputs, inputs] as transformers stores those of "
                "Mixtral, Qwen3-MoE, DeepSeek-V3 or OLMoE: this mixture can be audited, but neither pruned nor trained"
            )


def _transposed(module) -> bool:
    """Whether a module is transformers' Conv1D; compared by name, because importing its class is slow."""
    return type(module).__name__ == "Conv1D" and type(module).__module__ == "transformers.pytorch_utils"


def matrix_of(module, tensor=None):
    """View [outputs, inputs] of a linear's weight, or of a `tensor` of the weight's shape; for a `Stack`
    [experts * outputs, inputs].

    The same call turns a mask [outputs, inputs] back into the parameter's own shape.
    """
    tensor = module.weight if tensor is None else tensor
    if isinstance(module, Stack):
        return tensor.flatten(0, 1) if tensor.ndim == 3 else tensor.view(module.weight.shape)
    return tensor.T if _transposed(module) else tensor


def block_list(model):
    """(name, module) of the list of decoder blocks: the longest of the outermost module lists.

    Only outermost lists count, because a block may hold longer lists of its own (experts).
    """
    from torch.nn import ModuleList

    base = model.base_model
    prefix = next(name for name, module in model.named_modules() if module is base)
    lists = [(name, module) for name, module in base.named_modules() if isinstance(module, ModuleList)]
    if not lists:
        raise UserError(
            f"{type(model).__name__}: no list of decoder blocks; expected a decoder-only transformer"
        )
    name, blocks = min(lists, key=lambda entry: (entry[0].count("."), -len(entry[1])))
    inside = set(blocks.modules())
    for other, module in lists:
        if module not in inside and {type(block) for block in module} & {type(block) for block in blocks}:
            raise UserError(
                f"{type(model).__name__}: {name} and {other} are both lists of decoder blocks; expected one"
            )
    return f"{prefix}.{name}" if prefix else name, blocks

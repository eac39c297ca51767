"""The parameters and FLOPs of a config.json's model, counted on transformers' own class on the meta device.

No weights are read or made. Run as `python -m sparse_continual.models.architecture` it answers one request in JSON
(`answer`), so that a process without torch can ask (models/shape.py).

Conventions of FLOPs are those of torch's FlopCounterMode: a multiply-add is 2, products and convolutions count, and
everything else (elementwise operations, norms, softmax, copies) counts nothing.
"""

import json
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.models.checkpoint import BLOCKS
from sparse_continual.models.load import EXPERTS, block_list, matrix_of, prunable

# greatest number of operations of one pass: more (a scan token by token) would take minutes to count
OPERATIONS = 300_000
# operations of aten without products, besides elementwise ones and views
CHEAP = frozenset(
    """
    _fused_rms_norm _fused_rms_norm_backward _local_scalar_dense _log_softmax _log_softmax_backward_data _softmax
    _softmax_backward_data _to_copy _unsafe_index _unsafe_view all amax amin any arange argmax argmin argsort
    as_strided bernoulli bincount cat clone constant_pad_nd copy copy_ count_nonzero cummax cumprod cumsum
    detach_ diff embedding embedding_dense_backward empty empty_like empty_strided eye fill fill_ flip full
    full_like gather glu glu_backward index index_add index_add_ index_copy index_copy_ index_put index_put_
    index_select lift_fresh lift_fresh_copy linalg_vector_norm linspace log_sigmoid_backward log_sigmoid_forward
    logcumsumexp logsumexp masked_fill masked_fill_ masked_scatter masked_scatter_ max mean min native_dropout
    native_dropout_backward native_group_norm native_group_norm_backward native_layer_norm
    native_layer_norm_backward new_empty new_empty_strided new_full new_ones new_zeros nonzero norm ones
    ones_like prod rand_like randn_like reflection_pad1d repeat repeat_interleave resize_ roll scalar_tensor
    scatter scatter_ scatter_add scatter_add_ searchsorted select_backward set_ slice_backward slice_scatter
    softplus_backward sort stack std sum topk tril tril_ triu triu_ unfold_backward unique_dim
    upsample_nearest1d value_selecting_reduction_backward var var_mean zero_ zeros zeros_like
    """.split()
)
# fields of models that process images or sound
OTHER_PARTS = ("vision_config", "audio_config", "image_config", "speech_config")


class Unknown(Exception):
    """Why the FLOPs of a model cannot be counted, as the end of a sentence about it."""


def answer(request: dict) -> dict:
    """{"counts": result of `count`, if requested; "flops": {tokens: result of `flops`, or why it is unknown}}.

    request: {config: parsed config.json; name: its name in messages; code: the folder with the model's own code, which
    is then run, or None; counts: whether to count; lengths: tokens of the rows to count FLOPs for}.

    Raises UserError, one line, if the config is not that of a causal language model that a study can price.
    """
    model = build(request["config"], request["name"], request["code"])
    return {
        "counts": count(model, request["name"]) if request["counts"] else None,
        "flops": {str(tokens): _flops_or_reason(model, tokens) for tokens in request["lengths"]},
    }


def build(config: dict, name: str, code=None):
    """The causal language model of a parsed `config` on the meta device, with eager attention, in eval mode.

    name: of the config in messages; code: folder of the model's own code, which is run. Raises UserError for a config
    that transformers cannot build, that is not a text model, or that has an encoder.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers import __version__ as version

    trusted = code is not None
    fields = {key: value for key, value in config.items() if key not in BLOCKS}
    refused = None
    with tempfile.TemporaryDirectory() as folder, _quiet():
        try:
            if not trusted:
                (Path(folder) / "config.json").write_text(json.dumps(fields), encoding="utf-8")
            built_config = AutoConfig.from_pretrained(
                code or folder, local_files_only=True, trust_remote_code=trusted
            )
            for block in BLOCKS:
                if hasattr(built_config, block):
                    delattr(built_config, block)
            refused = _refused(built_config)
            if refused is None:
                with torch.random.fork_rng(devices=[]), torch.device("meta"):
                    model = AutoModelForCausalLM.from_config(
                        built_config,
                        trust_remote_code=trusted,
                        attn_implementation="eager",
                        dtype=torch.float32,
                    )
        except Exception as error:  # config classes and constructors can raise anything
            lines = str(error).strip().splitlines() or [""]
            more = [line.strip() for line in lines[1:] if line.strip()] if lines[0].endswith(":") else []
            reason = " ".join([lines[0], *more[:1]])
            raise UserError(
                f"{name}: transformers {version} cannot build a causal language model from it "
                f"({type(error).__name__}: {reason.strip():.300}); expected the config.json of a "
                "decoder that this version of transformers knows without code of the repository's own"
            ) from None
    if refused is None and model.get_output_embeddings() is None:
        refused = f"{type(model).__name__} has no head over the vocabulary"
    if refused is not None:
        raise UserError(f"{name}: {refused}; expected a causal language model of text alone")
    return model.eval()


def _refused(config) -> str | None:
    """Why a study cannot use a model of this `config`, or None."""
    if getattr(config, "is_encoder_decoder", False):
        return f"model_type {config.model_type!r} has an encoder besides its decoder"
    parts = [key for key in vars(config) if key.startswith(OTHER_PARTS) and getattr(config, key) is not None]
    if parts or config.get_text_config(decoder=True) is not config:
        return f"model_type {config.model_type!r} is a model of several parts (text, images, sound)"
    return None


def count(model, name: str) -> dict:
    """The sizes and matrices of the `model` of a config called `name`.

    Returns {model_type, sizes, parameters, matrices}. sizes: hidden_size, intermediate_size, layers, heads, kv_heads,
    vocabulary, tied, head_size; None for those that the config lacks. parameters: values by group: prunable, embedding,
    head (0 if tied), norms (with their biases), biases, other, total. matrices: name -> [outputs, inputs] of the
    prunable ones, in model order.

    Raises UserError for a mixture of experts, and if nothing can be pruned (`models.load.prunable`).
    """
    config = model.config
    experts = next(
        (part for part, _ in block_list(model)[1].named_modules() if "expert" in part.lower()), None
    )
    if experts:
        fields = {key: _whole(config, key) for key in EXPERTS if _whole(config, key)}
        raise UserError(
            f"{name}: model_type {config.model_type!r} has experts ({experts}; {fields or 'no number of them'}), "
            "expected a base without: a mixture can be pruned by `sparse_continual.prune` and audited, but "
            "a study cannot price it yet"
        )
    try:
        matrices = {key: list(matrix_of(module).shape) for key, module in prunable(model).items()}
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    groups = dict.fromkeys(("prunable", "embedding", "head", "norms", "biases", "other"), 0)
    modules = dict(model.named_modules())
    for key, parameter in model.named_parameters():
        group = "other"
        if key in matrices:
            group = "prunable"
        elif parameter is embedding:
            group = "embedding"
        elif parameter is head:
            group = "head"
        elif "norm" in type(modules[key.rpartition(".")[0]]).__name__.lower():
            group = "norms"
        elif key.endswith("bias"):
            group = "biases"
        groups[group] += parameter.numel()
    return {
        "model_type": config.model_type,
        "sizes": {
            "hidden_size": _whole(config, "hidden_size") or embedding.shape[1],
            "intermediate_size": _whole(config, "intermediate_size"),
            "layers": len(block_list(model)[1]),
            "heads": _whole(config, "num_attention_heads"),
            "kv_heads": _whole(config, "num_key_value_heads"),
            "vocabulary": embedding.shape[0],
            "tied": head is embedding,
            "head_size": _whole(config, "head_dim"),
        },
        "parameters": groups | {"total": sum(groups.values())},
        "matrices": matrices,
    }


def _whole(config, key: str) -> int | None:
    """A field of a config if it is one positive integer for all blocks; else None."""
    try:
        value = getattr(config, key, None)
    except Exception:  # of transformers: a field that differs from block to block
        return None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _flops_or_reason(model, tokens: int):
    try:
        return flops(model, tokens)
    except Unknown as error:
        return str(error)


def flops(model, tokens: int) -> dict:
    """FLOPs of one row of `tokens` through a `model` on the meta device, all weights counted.

    Returns {body: forward up to the head; head: forward of the head at all positions; trained: forward and backward of
    the body if everything is trained; frozen: if only the prunable matrices are; blocks: backward of all blocks, each
    by itself with its input fixed; unread: names of the matrices whose input needs no gradient in `frozen`; readings:
    greatest number of different inputs to one block's matrices}.

    Raises Unknown for an operation that is neither counted nor known to hold no products, for a matrix that does not
    read every token once, and for a pass that fails without values.
    """
    linears = prunable(model)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    body, head, backward = _passes(model, tokens, linears)[:3]
    result = {"body": body, "head": head, "trained": body + backward - 2 * head}
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for module in linears.values():
        module.weight.requires_grad_(True)
    *_, backward, reads = _passes(model, tokens, linears)
    result["frozen"] = body + backward - head
    inputs, unread = {}, []
    for name, calls in reads.items():
        if [rows for rows, _, _ in calls] != [tokens]:
            raise Unknown(
                f"{name} reads {' + '.join(str(rows) for rows, _, _ in calls) or 'none'} of the {tokens} tokens of a "
                "row, but sparse FLOPs are known only if every matrix reads every token once"
            )
        ((_, needs, tensor),) = calls
        inputs.setdefault(name.split(block_list(model)[0] + ".")[1].split(".")[0], set()).add(tensor)
        if not needs:
            unread.append(name)
    with _apart(model) as outputs:
        *_, backward, _ = _passes(model, tokens, linears, outputs)
    return result | {"blocks": backward, "unread": unread, "readings": max(map(len, inputs.values()))}


def _passes(model, tokens: int, linears: dict, outputs=None) -> tuple:
    """(FLOPs of the body forward, of the head forward, of the backward pass, reads) of one row.

    reads: name of a matrix -> [(rows that it read, whether its input needs a gradient, id of its input tensor)].
    The backward pass starts at `outputs`, filled while the model runs, or at the logits. Raises Unknown.
    """
    import torch

    ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
    try:
        # most models use positions if there is no mask, the others use the mask
        return _pass({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, model, linears, outputs)
    except Unknown:
        raise
    except Exception:
        pass
    try:
        return _pass({"input_ids": ids}, model, linears, outputs)
    except Unknown:
        raise
    except Exception as error:  # code that reads values, which do not exist here
        reason = (str(error).splitlines() or [""])[0]
        raise Unknown(f"a pass without values fails ({type(error).__name__}: {reason:.120})") from None


def _pass(inputs: dict, model, linears: dict, outputs) -> tuple:
    """`_passes` on `inputs`; raises any error of the model's code."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    reads, kept, marks, operations = {name: [] for name in linears}, [], [], _operations()
    if outputs is not None:
        outputs.clear()

    def reading(name, columns):
        def record(module, args):
            kept.append(args[0])  # so that no other tensor gets its id
            reads[name].append((args[0].numel() // columns, args[0].requires_grad, id(args[0])))

        return record

    def mark(*_):
        marks.append(counter.get_total_flops())

    handles = [
        m.register_forward_pre_hook(reading(name, matrix_of(m).shape[1])) for name, m in linears.items()
    ]
    # the end of the body; some classes skip it and call its parts: then the last linear is the head
    handles.append(model.base_model.register_forward_hook(mark))
    handles.append(model.get_output_embeddings().register_forward_pre_hook(mark))
    try:
        with operations, FlopCounterMode(display=False) as counter, torch.enable_grad(), _quiet():
            logits = model(**inputs, use_cache=False).logits
            forward = counter.get_total_flops()
            ends = [logits] if outputs is None else [one for one in outputs if one.requires_grad]
            torch.autograd.backward(ends, [torch.ones_like(one) for one in ends])
            total = counter.get_total_flops()
    finally:
        for handle in handles:
            handle.remove()
        for parameter in model.parameters():
            parameter.grad = None
    if operations.unknown:
        raise Unknown(
            f"torch's counter of FLOPs does not know its operations {', '.join(sorted(operations.unknown))}"
        )
    if not marks or model.base_model is model:
        raise Unknown("its head is not separate from its body")
    return marks[0], forward - marks[0], total - forward, reads


def _operations():
    """A dispatch mode whose `unknown` are the names of operations that may hold uncounted products.

    Raises Unknown after OPERATIONS.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    class Operations(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.unknown, self.known, self.number = set(), set(), 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.number += 1
            if self.number > OPERATIONS:
                raise Unknown(f"one pass has more than {OPERATIONS:,} operations")
            if func not in self.known:
                self.known.add(func)
                packet = getattr(func, "overloadpacket", func)
                space, _, own = getattr(func, "name", lambda: str(func))().partition("::")
                cheap = space == "aten" and (
                    own.partition(".")[0] in CHEAP
                    or torch.Tag.pointwise in func.tags
                    or any(
                        result.alias_info and not result.alias_info.is_write
                        for result in func._schema.returns
                    )
                )
                if packet not in flop_registry and not cheap and space != "prim":
                    self.unknown.add(f"{space}::{own}")
            return func(*args, **(kwargs or {}))

    return Operations()


@contextmanager
def _apart(model):
    """Context in which every block's input is fixed, so that gradients stay inside; yields the list of their
    outputs."""
    import torch

    outputs, handles = [], []

    def fixed(value):
        return value.detach() if torch.is_tensor(value) and value.requires_grad else value

    def entering(block, args, kwargs):
        return tuple(map(fixed, args)), {key: fixed(value) for key, value in kwargs.items()}

    def leaving(block, args, out):
        outputs.append(out[0] if isinstance(out, (tuple, list)) else out)

    for block in block_list(model)[1]:
        handles.append(block.register_forward_pre_hook(entering, with_kwargs=True))
        handles.append(block.register_forward_hook(leaving))
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _quiet():
    """Without transformers' warnings about fields and missing kernels."""
    import warnings

    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)


def main() -> None:
    """Answer the request on standard input; the last line of standard output is the answer, or {"refused": why}."""
    try:
        result = answer(json.load(sys.stdin))
    except UserError as error:
        result = {"refused": str(error)}
    print("\n" + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()

"""The smaller dense model without the removed heads and channels, tested before any weight is removed.

Building the model's own class on the meta device, once from its config and once from that of the smaller model, shows
what else has the size of a head or channel: parameters of another shape are cut with the lines (sinks, norms), and
plain attributes that differ (a module's number of heads) take the new value. So the model in memory equals a reloaded
one. If the config cannot describe the smaller model, for example because a class computes a head's width as hidden size
/ heads, nothing is pruned.

A norm over all heads or channels takes the mean square over more values in the masked model than in the compact one.
With n of m left, the rows that it reads are multiplied by sqrt(n / m) and its own weights by sqrt(m / n). Its epsilon
keeps its meaning, and its output is the same.

The trial passes the first tokens of the first calibration row: once to check that heads and channels are separate
units, for every export; once with lines switched off by hooks; and once with each block cut while it runs. Besides the
weights, one block's kept lines are in memory.
"""

import json
import math
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch

from sparse_continual.errors import UserError
from sparse_continual.identity import seed_of
from sparse_continual.topologies.structured_counts import ATTENTION, MLP, TRIAL

READ = {
    "v_proj": "o_proj",
    "up_proj": "down_proj",
}  # the second reads the removed lines of the first as zeros
PLAIN = (bool, int, float, str, tuple, list, type(None))
MISSING = object()


class Changes:
    """Changes of attributes that can be undone."""

    def __init__(self):
        self.before = []

    def set(self, owner, key: str, value) -> None:
        """Set an attribute of `owner`, which may be a new one."""
        if isinstance(owner, torch.nn.Module):  # its parameters are not among its variables
            old = getattr(owner, key, MISSING)
        else:
            old = vars(owner).get(key, MISSING)
        self.before.append((owner, key, old))
        setattr(owner, key, value)

    def undo(self) -> None:
        """Undo all changes, the latest first."""
        for owner, key, value in reversed(self.before):
            if value is MISSING:
                delattr(owner, key)
            else:
                setattr(owner, key, value)
        self.before.clear()


@dataclass
class Cut:
    """One parameter that loses lines. `parts`: ATTENTION or MLP, whose groups lie along `dim`; the parameter is also
    multiplied by `scale`.
    """

    name: str
    parts: tuple
    dim: int
    scale: float = 1.0


@dataclass
class Plan:
    """The changes that make a model compact: `settings` of its config; `cuts`: block -> [Cut]; `attributes`: (module
    name, key, value).
    """

    settings: dict
    cuts: dict[str, list[Cut]] = field(default_factory=dict)
    attributes: list[tuple] = field(default_factory=list)

    def describe(self, model, changes: Changes) -> None:
        """Set the config and the attributes that follow from it."""
        config = text_config(model)
        for key, value in self.settings.items():
            changes.set(config, key, value)
        for name, key, value in self.attributes:
            changes.set(model.get_submodule(name), key, value)

    def cut(self, model, block: str, kept: dict, changes: Changes) -> None:
        """Cut a block's parameters to `kept`: ATTENTION, MLP -> bool per group."""
        for cut in self.cuts[block]:
            owner, _, key = cut.name.rpartition(".")
            owner = model.get_submodule(owner)
            old = getattr(owner, key)
            groups = kept[cut.parts].to(old.device)
            stays = groups.repeat_interleave(old.shape[cut.dim] // len(groups)).nonzero().squeeze(1)
            new = old.detach().index_select(cut.dim, stays).contiguous()
            if cut.scale != 1:
                new *= cut.scale
            changes.set(owner, key, torch.nn.Parameter(new, old.requires_grad))


def text_config(model):
    """The part of a model's config that describes its decoder blocks."""
    return model.config.get_text_config(decoder=True)


@torch.no_grad()
def tried(job, layers: list, left: dict, export: str) -> Plan | None:
    """The tested Plan that makes a model compact; None with `export` "masked", or if nothing is removed.

    job: a `pruning.Job`; found: its `structured.Layer`s; left: block -> (head groups, channels) that are kept. The
    model does not change.

    Raises UserError, naming the class, if heads or channels are not separate units (the block reads nonzero values from
    removed ones), and with `export` "compact" if the config cannot describe the smaller model, or if that model
    computes something else than the masked one.
    """
    model = job.model
    kept = {layer.block: _drawn(layer, left[layer.block], job.seed) for layer in layers}
    if all(groups.all() for each in kept.values() for groups in each.values()):
        return None
    tokens = job.rows[0][None, :TRIAL].to(model.get_input_embeddings().weight.device)
    with ExitStack() as hooks:
        for layer in layers:
            _expect_units(model, layer, kept[layer.block], hooks)
        model(input_ids=tokens, use_cache=False)
    if export != "compact":
        return None
    plan = planned(model, layers, left)
    masked, small = {}, {}
    with ExitStack() as hooks:
        for layer in layers:
            _switch_off(model, layer, kept[layer.block], hooks)
        _watch(model, layers, masked, hooks)
        masked["logits"] = model(input_ids=tokens, use_cache=False).logits
    with ExitStack() as hooks:
        changes = Changes()
        hooks.callback(changes.undo)
        plan.describe(model, changes)
        for layer in layers:
            _cut_while_it_runs(model, plan, layer, kept[layer.block], hooks)
        _watch(model, layers, small, hooks)
        entered = _entered(model, hooks)
        try:
            small["logits"] = model(input_ids=tokens, use_cache=False).logits
        except (RuntimeError, ValueError, IndexError) as error:
            raise _refused(
                model, f"the smaller model does not run: {entered[-1]} fails ({_last_line(error)})"
            ) from None
    _compare(model, masked, small, job.linears[layers[0].names["q_proj"]].weight.dtype)
    return plan


def _drawn(layer, left: tuple, seed: int) -> dict:
    """ATTENTION, MLP -> bool[groups] with `left` random groups True."""
    generator = torch.Generator().manual_seed(seed_of("structured trial", seed, layer.block))
    kept = {}
    for parts, many, groups in zip((ATTENTION, MLP), left, (layer.heads, layer.channels), strict=True):
        kept[parts] = torch.zeros(groups, dtype=torch.bool)
        kept[parts][torch.randperm(groups, generator=generator)[:many]] = True
    return kept


def _lines(layer, part: str, kept: dict, tensor):
    """bool per line of a part, on the device of `tensor`."""
    return layer.spread(part, kept[ATTENTION if part in ATTENTION else MLP]).to(tensor.device)


def _expect_units(model, layer, kept: dict, hooks) -> None:
    """Zero the removed values and channels by hooks, and check by hooks that their readers see zeros."""

    def silence(part):
        return lambda module, args, out: out.masked_fill(~_lines(layer, part, kept, out), 0)

    def check(part, source):
        def hook(module, args):
            if args[0][..., ~_lines(layer, part, kept, args[0])].any():
                kind = "heads" if part in ATTENTION else "channels"
                raise UserError(
                    f"{type(model).__name__}: pattern structured: {layer.names[part]} reads columns of {kind} whose "
                    f"rows of {source} are zero, but finds other values: the {kind} of this model cannot be removed "
                    "one by one; choose an unstructured or N:M pattern"
                )

        return hook

    for source, part in READ.items():
        module = model.get_submodule(layer.names[source].removesuffix(".weight"))
        hooks.enter_context(_removed(module.register_forward_hook(silence(source))))
        module = model.get_submodule(layer.names[part].removesuffix(".weight"))
        hooks.enter_context(_removed(module.register_forward_pre_hook(check(part, source))))


def _switch_off(model, layer, kept: dict, hooks) -> None:
    """Make a block compute, by hooks, its output with zero weights in the other lines."""

    def outward(part):
        def hook(module, args, out):
            empty = torch.zeros_like(out) if module.bias is None else module.bias.expand_as(out)
            return torch.where(_lines(layer, part, kept, out), out, empty)

        return hook

    def inward(part):
        return lambda module, args: (args[0].masked_fill(~_lines(layer, part, kept, args[0]), 0), *args[1:])

    for part, name in layer.names.items():
        module = model.get_submodule(name.removesuffix(".weight"))
        if part in READ.values():
            handle = module.register_forward_pre_hook(inward(part))
        else:
            handle = module.register_forward_hook(outward(part))
        hooks.enter_context(_removed(handle))


def _watch(model, layers: list, outputs: dict, hooks) -> None:
    """Record by hooks in `outputs` (weight name -> tensor) the outputs of attention and MLP of every block."""
    for layer in layers:
        for part in READ.values():
            name = layer.names[part]
            module = model.get_submodule(name.removesuffix(".weight"))
            record = lambda module, args, out, name=name: outputs.update({name: out})  # noqa: E731
            hooks.enter_context(_removed(module.register_forward_hook(record)))


def _entered(model, hooks) -> list[str]:
    """Names of the modules that are being called, the innermost last, updated by hooks."""
    stack = []

    def leave(*_):
        stack.pop()

    for name, module in model.named_modules():
        before = module.register_forward_pre_hook(lambda *_, name=name: stack.append(name))
        hooks.enter_context(_removed(before))
        hooks.enter_context(_removed(module.register_forward_hook(leave)))
    return stack


def _cut_while_it_runs(model, plan: Plan, layer, kept: dict, hooks) -> None:
    """Cut a block before each call and undo it after, by hooks."""
    changes, block = Changes(), model.get_submodule(layer.block)
    hooks.callback(changes.undo)  # in case the call fails
    before = block.register_forward_pre_hook(lambda *_: plan.cut(model, layer.block, kept, changes))
    hooks.enter_context(_removed(before))
    hooks.enter_context(_removed(block.register_forward_hook(lambda *_: changes.undo())))


@contextmanager
def _removed(handle):
    """Context of a hook, which is removed at its end."""
    try:
        yield
    finally:
        handle.remove()


def _compare(model, masked: dict, small: dict, dtype) -> None:
    """Raise UserError for the first output (name -> tensor) that differs by more than rounding."""
    # norms and rotations are in single precision for all types of the weights
    tolerance = math.sqrt(max(torch.finfo(kind).eps for kind in (dtype, torch.float32)))
    for name, expected in masked.items():
        largest = (small[name] - expected).abs().max().item()
        bound = tolerance * expected.abs().max().item()
        if not largest <= bound:
            raise _refused(
                model,
                f"the smaller model computes something else than the masked one: {name} of both differs by "
                f"{largest:.3g}, expected at most {bound:.3g}",
            )


def _refused(model, why: str) -> UserError:
    return UserError(f"{type(model).__name__}: export compact: {why}; use export: masked")


def planned(model, layers: list, left: dict) -> Plan:
    """The Plan that leaves `left` (block -> (head groups, channels)) of the `found` layers.

    Raises UserError, naming the class and the parameter, if the class built from the smaller model's config has
    parameters or buffers of other names or shapes.
    """
    plan, changes = Plan(_settings(model, layers, left)), Changes()
    old = _built(model)
    try:
        plan.describe(model, changes)
        new = _built(model)
    finally:
        changes.undo()
    plan.attributes = list(_differing(old, new))
    shapes = dict(_tensors(new))
    other = sorted({name for name, _ in _tensors(model)} ^ shapes.keys())
    if other:
        where = "would lack" if other[0] not in shapes else "would have"
        raise _refused(model, f"config.json cannot describe it: a model built from it {where} {other[0]}")
    blocks = {layer.block: layer for layer in layers}
    plan.cuts = {block: [] for block in blocks}
    for name, tensor in _tensors(model):
        block = next((block for block in blocks if name.startswith(f"{block}.")), None)
        should = tuple(shapes[name].shape)
        if block:
            cut = _cut_of(name, tensor, should, blocks[block], left[block])
            if cut:
                plan.cuts[block].append(cut)
            expected = _shape_after(tensor, cut, blocks[block], left[block])
        else:
            expected = tuple(tensor.shape)
        if expected != should:
            raise _refused(
                model,
                f"config.json cannot describe it: {name} would be {_by(expected)}, but what is built "
                f"from it is {_by(should)}",
            )
    for layer in layers:
        _balance_norms(model, plan.cuts[layer.block], layer, left[layer.block])
    return plan


def _settings(model, layers: list, left: dict) -> dict:
    """Key -> value of the config of a model with `left` of its layers."""
    config, first = text_config(model), layers[0]
    heads, channels = left[first.block]

    def of(key):
        """(name, value) of a key, read around the config class, which may refuse values that differ between blocks."""
        name = config.attribute_map.get(key, key)
        return name, vars(config).get(name)

    settings = {}
    if heads < first.heads:
        name, queries = of("num_attention_heads")
        settings[name] = queries * heads // first.heads
        name, value = of("num_key_value_heads")
        if value is not None:
            settings[name] = heads
        name, value = of("head_dim")
        if value is None:
            settings[name] = first.width
    if channels < first.channels:
        settings[of("intermediate_size")[0]] = channels
    return settings


def _built(model):
    """The model's class on the meta device, from its config as saved in a file."""
    text = model.config.to_json_string()
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            return type(model)(type(model.config).from_dict(json.loads(text)))
    except Exception as error:  # a class may check its config in any way
        raise _refused(
            model, f"{type(model).__name__} cannot be built from its config ({_last_line(error)})"
        ) from None


def _last_line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2].strip().rstrip(".")


def _tensors(model):
    """(name, tensor) of all parameters and buffers."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _differing(old, new):
    """(module name, key, new value) of plain attributes that differ between two models of a class."""
    others = dict(new.named_modules())
    for name, module in old.named_modules():
        for key, value in vars(module).items():
            other = vars(others[name]).get(key, MISSING) if name in others else MISSING
            if isinstance(value, PLAIN) and isinstance(other, PLAIN) and value != other:
                yield name, key, other


def _cut_of(name: str, tensor, should: tuple, layer, left: tuple) -> Cut | None:
    """How a block's tensor gets the shape `should`; None if it has it, or cannot get it."""
    part = next((part for part, weight_name in layer.names.items() if weight_name == name), None)
    attention = layer.names["q_proj"].rsplit(".", 2)[0] + "."
    if part:
        parts, dim = (ATTENTION if part in ATTENTION else MLP), int(part in READ.values())
    else:
        parts = ATTENTION if name.startswith(attention) else MLP
        if not isinstance(tensor, torch.nn.Parameter) or tensor.ndim != len(should):
            return None
        differing = [dim for dim, size in enumerate(tensor.shape) if size != should[dim]]
        if len(differing) != 1:
            return None
        dim = differing[0]
    groups, stay = _groups(parts, layer, left)
    return Cut(name, parts, dim) if stay < groups and tensor.shape[dim] % groups == 0 else None


def _groups(parts: tuple, layer, left: tuple) -> tuple[int, int]:
    """(groups, kept groups) of a layer's heads or channels."""
    return (layer.heads, left[0]) if parts == ATTENTION else (layer.channels, left[1])


def _shape_after(tensor, cut: Cut | None, layer, left: tuple) -> tuple:
    shape = list(tensor.shape)
    if cut:
        groups, stay = _groups(cut.parts, layer, left)
        shape[cut.dim] = shape[cut.dim] // groups * stay
    return tuple(shape)


def _by(shape: tuple) -> str:
    return " by ".join(map(str, shape)) or "a number"


def _balance_norms(model, cuts: list[Cut], layer, left: tuple) -> None:
    """Scale norms over all lines of a matrix, and these lines, for the smaller number of values.

    Raises UserError for such a matrix with a bias: in the masked model the norm reads nonzero values of removed lines.
    """
    by_name = {cut.name: cut for cut in cuts}
    for cut in cuts:
        module, _, key = cut.name.rpartition(".")
        word = module.rpartition(".")[2]
        if key != "weight" or "norm" not in word or model.get_parameter(cut.name).ndim != 1:
            continue  # sinks, or a norm of each head
        if cut.parts == MLP:
            part = "up_proj"
        else:
            part = "k_proj" if word.startswith("k") else "q_proj"
        source = layer.names[part]
        bias = source.removesuffix("weight") + "bias"
        if bias in by_name and model.get_parameter(bias).any():
            raise _refused(
                model,
                f"{cut.name} takes the mean over all rows of {source}, and removed rows leave their bias in it",
            )
        groups, stay = _groups(cut.parts, layer, left)
        cut.scale = math.sqrt(groups / stay)
        by_name[source].scale = math.sqrt(stay / groups)

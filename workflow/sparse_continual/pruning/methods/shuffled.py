"""shuffled: the topology of another method, permuted at random (control).

`within: matrix` preserves each matrix's count, `row` also the number of inputs of each output, `group` every N of M
(the only choice under N:M). The weights at the new places have their dense values: updates of the other method are
dropped. If the model lacks weights already, only the places of existing weights are permuted: each line keeps as many
as the other method kept there, each with its weight.

Source: none; the control that shows how much of a result depends on where in a row or matrix weights are kept. The
other method sees the same inputs as without the shuffle: a block is shuffled after the next block has read its outputs.

Knobs: `of`, `options` (the other method's settings), `within`, `calibration`. Cost: the other method's, and a
copy of one block. Limits: only methods that work on single matrices or blocks of a trained model can be shuffled.
"""

from sparse_continual.pruning.method import Method
from sparse_continual.streams.calibration import SCHEMA as CALIBRATION

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["of"],
    "properties": {
        "of": {"type": "string", "description": "the method whose topology is shuffled"},
        "options": {"type": "object", "default": {}, "description": "its settings, without calibration"},
        "within": {
            "enum": ["matrix", "row", "group"],
            "default": "row",
            "description": "where places are permuted; under N:M always inside a group",
        },
        "calibration": CALIBRATION,
    },
}


def based_on(settings):
    """Names of the methods that these settings use."""
    return [settings["of"]] if "of" in settings else []


def prune_block(block, job, of, options, within):
    """Prune a block by the other method, run the next block's inputs, then write the shuffled topology."""
    from sparse_continual.identity import seed_of
    from sparse_continual.models.load import matrix_of

    method, options = _method(of), _options(of, options)
    dense = {name: module.weight.clone() for name, module in block.linears.items()}
    if method.prune_block:
        method.prune_block(block, job, **options)
    else:
        measured = block.measure(method.statistics) if method.statistics else {}
        for name in block.linears:
            job.prune_one(method.prune_matrix, name, measured.get(name), **options)
    masks = {name: matrix_of(module, job.masks[name]) for name, module in block.linears.items()}
    if block.outputs is None:  # else the method has set the inputs of the next block
        block.run_all()
    for name, mask in masks.items():
        shuffle = (mask, seed_of("shuffled topology", job.seed, name))
        job.prune_one(prune_matrix, name, shuffle, dense[name], within=within)


def passes(options, text):
    """Passes of the other method (pruning/cost.py), and the last block once more, which counts twice if the other
    method runs it already.
    """
    reads = _method(options["of"]).needs_calibration
    other = text.of(options["of"], options["options"]) if reads else text.walked(0)
    return other + text.passes(read=text.size)


def prune_matrix(weight, evidence, count, within="row"):
    """(mask bool[R, C], weight) of one matrix; `evidence`: (mask bool[R, C] to shuffle, seed)."""
    import torch

    mask, seed = evidence
    width = count.groups[1] if count.groups else {"matrix": mask.numel(), "row": mask.shape[1]}[within]
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(mask.numel() // width, width, generator=generator, dtype=torch.float64)
    places, lines = None, mask.reshape(-1, width)
    if count.existing is not None:  # existing ones first: by index in `places`, at random in `order`
        absent = ~count.existing.reshape(-1, width)
        places = absent.byte().argsort(dim=1, stable=True)
        draw = draw.masked_fill(absent.to(draw.device), 2.0)
    order = draw.argsort(dim=1, stable=True).to(mask.device)
    shuffled = lines.gather(1, order)
    if places is not None:
        shuffled = torch.zeros_like(lines).scatter_(1, places, shuffled)
    return shuffled.view_as(mask), weight


def scores(weight, evidence, of, options, within):
    """float32 [R, C] of the other method, for allocation `global`."""
    return _method(of).scores(weight, evidence)


def check(settings):
    """Raise UserError for another method that cannot be shuffled, and for errors in its options."""
    from sparse_continual.errors import UserError

    of = settings["of"]
    other = _method(of)
    if other.gather or other.prune_model or not other.prune_matrix:
        raise UserError(
            f"method shuffled: found of {of!r}, expected a method that works on single matrices or blocks"
        )
    _options(of, settings.get("options", {}))
    if settings.get("within") == "group" and settings["pattern"] == "unstructured":
        raise UserError(
            "method shuffled: found within 'group' under pattern unstructured, expected matrix or row"
        )


def _method(of):
    """Contract of the other method."""
    from sparse_continual import registry

    return registry.load("pruning.methods", of)


def _options(of, options):
    """`options` of the other method, with its defaults."""
    from sparse_continual import registry
    from sparse_continual.pruning.check import options_of

    return options_of(f"method shuffled: options of {of}", registry.schema("pruning.methods", of), options)


METHOD = Method(
    prune_matrix,
    prune_block=prune_block,
    scores=scores,
    check=check,
    based_on=based_on,
    passes=passes,
    patterns=("unstructured", "N:M"),
    allocations=("uniform", "erk", "owl", "global"),
    counts=("exact", "reference"),
)

"""llm_pruner: removes the whole heads and MLP channels that the loss depends on least (Ma et al. 2023, arXiv
2305.11627; horseee/LLM-Pruner). The result is a smaller dense model (`export: compact`).

With g the gradient of the mean loss and g_k that of sequence k, per line of a matrix: `param_first` sum |w g|;
`param_second` sum w^2 mean_k g_k^2; `param_mix` sum |w g - 1/2 w^2 mean_k g_k^2|; `vectorize` |sum w g|, which is
|dL/dc| of a gate c on the line; `l1`, `l2`: magnitude. Importances are summed over a head's lines and over the matrices
of a group (or combined by mean, max, prod). The least important groups of every block are removed: `sparsity` is the
share of heads and channels; heads are rounded down to whole ones.

The authors pair query with key heads wrongly where queries share keys; here a key-value head goes with its queries.
They skip the first 4 and last 2 of 32 blocks: that is `first`, `last` and `export: masked`, because a config holds one
width.

Knobs: `calibration`, `importance`, `reduce`, `export`, `first`, `last`. Cost: two forward passes and a backward pass
per sequence; memory: the weights, a dense gradient (`param_mix`: two) and one block's activations. Limits: only
Llama-like blocks whose heads can be removed one by one; `compact` is refused, before anything is pruned, if a config
cannot describe the smaller model (`topologies/compact.py`); densities are limited to whole groups; recovery training is
part of the published method.
"""

from sparse_continual.pruning.method import Method
from sparse_continual.streams.calibration import SCHEMA as CALIBRATION
from sparse_continual.topologies.structured_counts import SETTINGS as EXPORT
from sparse_continual.topologies.structured_counts import trial_passes

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "calibration": CALIBRATION,
        "importance": {
            "enum": ["param_first", "param_second", "param_mix", "vectorize", "l1", "l2"],
            "default": "param_first",
            "description": "importance of a line",
        },
        "reduce": {
            "enum": ["sum", "mean", "max", "prod"],
            "default": "sum",
            "description": "how the importances of a group's matrices are combined",
        },
        **EXPORT,
    },
}


def passes(options, text):
    """Passes of the gradients (pruning/cost.py), with the blocks run twice, and of the trial of the export; magnitudes
    need no gradients.
    """
    size = 0 if options["importance"].startswith("l") else text.size
    return text.passes(trained=size, read=size * text.blocks) + trial_passes(options, text)


def prune_model(job, sparsity, importance, reduce, export, first, last):
    """Prune every block of the model by lines."""
    import torch

    from sparse_continual.pruning import structured
    from sparse_continual.topologies.structured_counts import pruned_blocks

    layers = structured.layers(job.model, job.linears)
    gradients, squares = slopes(job, importance)
    chosen = [layer.block for layer in pruned_blocks(layers, first, last, export)]
    for layer in layers:
        heads, channels = layer.left(sparsity if layer.block in chosen else 0)
        kept = []
        for parts, many in ((structured.ATTENTION, heads), (structured.MLP, channels)):
            alive = layer.alive(parts, job.existing, job.model.device)
            values = []
            for part in parts:
                name = layer.names[part]
                lines = line_importance(
                    job.linears[name].weight,
                    gradients.get(name),
                    squares.get(name),
                    importance,
                    0 if part in structured.INWARD else 1,
                )
                values.append(layer.lines(part, lines))
            values = torch.stack(values)
            together = values.amax(0) if reduce == "max" else getattr(values, reduce)(0)
            kept.append(structured.best(together, many, alive))
        structured.write(job, prune_matrix, layer, *kept)


def slopes(job, importance: str):
    """(name -> g, name -> mean_k g_k^2), float32 of the weights' shapes, over the job's rows; {} for a part that the
    importance does not use.
    """
    from contextlib import ExitStack
    from functools import partial

    import torch

    from sparse_continual.training.gradual import loss_by_blocks, only_matrices

    def totals(*kinds):
        matrices = job.linears.items() if importance in kinds else ()
        return {name: torch.zeros_like(module.weight, dtype=torch.float32) for name, module in matrices}

    gradients = totals("param_first", "param_mix", "vectorize")
    squares = totals("param_second", "param_mix")

    def take(name, weight):
        slope, weight.grad = weight.grad.float(), None
        if gradients:
            gradients[name] += slope / len(job.rows)
        if squares:
            squares[name] += slope.square() / len(job.rows)

    if not gradients and not squares:
        return {}, {}
    with only_matrices(job), ExitStack() as hooks:
        # added as soon as it is known, so that only one matrix's gradient per row is in memory
        for name, module in job.linears.items():
            hooks.enter_context(module.weight.register_post_accumulate_grad_hook(partial(take, name)))
        for row in job.rows:
            with torch.enable_grad():
                loss_by_blocks(job, [row]).backward()
    return gradients, squares


def line_importance(weight, gradient, square, kind: str, along: int):
    """float32 per line: summed `along` dimension 0 (lines are columns) or 1 (rows)."""
    weight = weight.float()
    if kind == "vectorize":
        return (weight * gradient).sum(along).abs()
    each = {
        "param_first": lambda: (weight * gradient).abs(),
        "param_second": lambda: weight.square() * square,
        "param_mix": lambda: (weight * gradient - 0.5 * weight.square() * square).abs(),
        "l1": weight.abs,
        "l2": weight.square,
    }[kind]()
    return each.sum(along).sqrt() if kind == "l2" else each.sum(along)


def prune_matrix(weight, evidence, count):
    """(mask bool[R, C], weight) of one matrix; `evidence`: (bool per kept line, whether lines are columns)."""
    from sparse_continual.pruning.structured import mask_of

    return mask_of(weight, evidence), weight


METHOD = Method(
    prune_matrix,
    prune_model=prune_model,
    passes=passes,
    patterns=("structured",),
    needs_calibration=True,
)

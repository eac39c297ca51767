"""snip: removes the weights whose removal changes the loss least, by one gradient (Lee et al. 2019, arXiv
1810.02340; namhoonlee/snip-public). Made for pruning before training.

Score |w dL/dw|, which is |dL/dc| for a gate c = 1 on the weight; L the mean loss per token over all calibration
rows as one batch; compared over all matrices (allocation `global`, the only one). Kept weights do not change.

The authors prune biases too and draw weights by variance scaling; here biases stay, and the model keeps its weights.

Knobs: `calibration`. Cost: two forward passes and a backward pass over the rows; memory: a dense gradient and one
block's activations. Limits: at high sparsity it empties whole matrices, which is refused; on a trained model usually
worse than magnitude.
"""

from sparse_continual.pruning.method import Method
from sparse_continual.streams.calibration import SCHEMA as CALIBRATION

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {"calibration": CALIBRATION}}
BATCH, TOKENS = 8, 2048  # most rows and tokens per backward pass; the summed gradient does not depend on them


def passes(options, text):
    """Passes of the gradient (pruning/cost.py); the blocks run twice."""
    return text.passes(trained=text.size, read=text.size * text.blocks)


def gather(job):
    """name -> gradient [R, C] of the mean loss per token over all rows."""
    import torch

    from sparse_continual.models.load import matrix_of
    from sparse_continual.training.gradual import loss_by_blocks, only_matrices

    predicted = sum(len(row) - 1 for row in job.rows)
    batch = max(1, min(BATCH, TOKENS // max(map(len, job.rows))))
    gradients = {}
    with only_matrices(job), torch.enable_grad():
        for at in range(0, len(job.rows), batch):
            loss = loss_by_blocks(job, job.rows[at : at + batch], reduction="sum") / predicted
            loss.backward()  # gradients add up over batches
        for name, module in job.linears.items():
            none = module.weight.grad is None  # an expert that no token reached
            gradients[name] = torch.zeros_like(module.weight) if none else module.weight.grad
    return lambda name: matrix_of(job.linears[name], gradients[name])


def scores(weight, evidence):
    """float32 [R, C]; `evidence`: the gradient."""
    return (weight * evidence).float().abs()


def prune_matrix(weight, evidence, count):
    """(mask bool[R, C], weight) of one matrix; `evidence`: the gradient, `count`: a `counts.Count`."""
    from sparse_continual.pruning.select import keep

    return keep(scores(weight, evidence), count), weight


METHOD = Method(
    prune_matrix,
    gather=gather,
    scores=scores,
    passes=passes,
    patterns=("unstructured",),
    allocations=("global",),
    needs_calibration=True,
    at_init=True,
)

"""random: removes weights at random, all choices equally likely (control).

Within the matrix (unstructured) or within each group of M consecutive inputs (N:M). Each matrix has its own generator,
so that its mask depends on no other matrix. Kept weights do not change.

Source: none; the control that shows how much of a result depends on which weights are kept.
Knobs: none. Cost: one sort per matrix, no data. Limits: on a trained model far worse than any method.
"""

from sparse_continual.pruning.method import Method

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}


def gather(job):
    """name -> float64 [R, C] of independent uniform numbers, used as scores."""
    import torch

    from sparse_continual.identity import seed_of
    from sparse_continual.models.load import matrix_of

    def draw(name):
        generator = torch.Generator().manual_seed(seed_of("random topology", job.seed, name))
        return torch.rand(matrix_of(job.linears[name]).shape, generator=generator, dtype=torch.float64)

    return draw


def prune_matrix(weight, evidence, count):
    """(mask bool[R, C], weight) of one matrix; `evidence`: its numbers from `gather`, `count`: a `counts.Count`."""
    from sparse_continual.pruning.select import keep

    return keep(evidence.to(weight.device), count), weight


METHOD = Method(
    prune_matrix,
    gather=gather,
    patterns=("unstructured", "N:M"),
    allocations=("uniform", "erk", "owl"),
    at_init=True,
)

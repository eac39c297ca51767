"""random: any weights go, each choice as likely as any other (control).

Within the matrix (unstructured) or within each group of M consecutive inputs (N:M), from a generator of its
own per seed and matrix, so that a matrix's mask depends on no other. Kept weights do not change.

Source: none; the control that says how much of a result is owed to which weights stay.
Knobs: none. Cost: one sort per matrix, no data. Limits: on a trained model far worse than any method.
"""

from sparse_continual.pruning.method import Method

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}


def gather(job):
    """name -> float64 [R, C] of independent uniform numbers, which stand in for scores."""
    import torch

    from sparse_continual.identity import seed_of
    from sparse_continual.models.load import matrix_of

    def draw(name):
        generator = torch.Generator().manual_seed(seed_of("random topology", job.seed, name))
        return torch.rand(matrix_of(job.linears[name]).shape, generator=generator, dtype=torch.float64)

    return draw


def prune_matrix(weight, evidence, count):
    """(mask bool[R, C], weight) of one matrix; `evidence`: what `gather` drew for it, `count`: a `counts.Count`."""
    from sparse_continual.pruning.select import keep

    return keep(evidence.to(weight.device), count), weight


METHOD = Method(
    prune_matrix,
    gather=gather,
    patterns=("unstructured", "N:M"),
    allocations=("uniform", "erk", "owl"),
    at_init=True,
)

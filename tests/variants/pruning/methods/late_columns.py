"""late_columns: the first inputs of every matrix go."""

from sparse_continual.pruning.method import Method

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}


def prune_matrix(weight, evidence, count):
    import torch

    from sparse_continual.pruning.select import keep

    return keep(torch.arange(weight.shape[1]).expand_as(weight).float(), count), weight


METHOD = Method(prune_matrix, patterns=("unstructured", "N:M"), allocations=("uniform", "deeper"))

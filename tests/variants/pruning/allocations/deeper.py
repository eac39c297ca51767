"""deeper: a matrix of decoder layer l keeps a share in proportion to l + `base`."""

from sparse_continual.pruning.allocation import Allocation
from sparse_continual.topologies.counts import spread
from sparse_continual.topologies.density import layer_of

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"base": {"type": "integer", "minimum": 1, "default": 1, "description": "of layer 0"}},
}


def kept(sizes, total, base=1):
    shares = [(base + layer_of(name)) * rows * columns for name, (rows, columns) in sizes.items()]
    return dict(zip(sizes, spread(total, shares), strict=True))


ALLOCATION = Allocation(kept)

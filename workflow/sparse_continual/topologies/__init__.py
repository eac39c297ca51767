"""Which weights exist: topology files, and the methods that make them.

    from sparse_continual.topologies import prune, Topology

Both are looked up when they are asked for: the Snakefile imports this package at every start, and torch
takes seconds.
"""

import importlib

PUBLIC = {"prune": "pruning", "Topology": "mask"}


def __getattr__(name: str):
    """`prune` (topologies/pruning.py) and `Topology` (topologies/mask.py)."""
    if name in PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

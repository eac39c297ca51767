"""Continual learning on language models whose connections are physically absent and fixed.

    from sparse_continual import prune, Topology, audit, metrics

These names do not change when modules move. Each is imported on first use, because importing torch takes seconds.
"""

import importlib

__version__ = "0.1.0"

PUBLIC = {
    "prune": ("pruning.prune", "prune"),
    "Topology": ("topologies.topology", "Topology"),
    "audit": ("auditing.audit", "audit"),
    "metrics": ("statistics.metrics", None),
}


def __getattr__(name: str):
    """A public name: a function or class of a module, or a whole module."""
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, member = PUBLIC[name]
    value = importlib.import_module(f"{__name__}.{module}")
    return vars(value)[member] if member else value

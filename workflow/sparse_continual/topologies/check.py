"""A topology's settings against a model's shape, before any model is made. No torch."""

from sparse_continual import registry
from sparse_continual.errors import UserError
from sparse_continual.topologies import calibration
from sparse_continual.topologies.counts import kept_counts, parse_pattern


def check(settings: dict, sizes: dict[str, tuple[int, int]]) -> dict[str, int]:
    """Name -> kept weights of each matrix of `sizes` (`counts.matrices`) under a topology's `settings`.

    `settings`: {method, pattern, sparsity, and what the method's SCHEMA has}; without a pattern, dense.

    Raises UserError for a method that is unknown or cannot do the pattern, a pattern that is malformed or
    does not fit a matrix (named), a sparsity that is missing or contradicts it, and a calibration file that
    is not there.
    """
    method = registry.load("topologies.methods", settings["method"])
    pattern = settings.get("pattern", "dense")
    kind = "N:M" if parse_pattern(pattern) else pattern
    if kind not in method.PATTERNS:
        found = f"pattern {pattern!r}" if "pattern" in settings else "no pattern"
        expected = " or ".join(method.PATTERNS)
        raise UserError(f"method {settings['method']}: found {found}, expected {expected}")
    if kind == "dense" and "sparsity" in settings:
        raise UserError(f"method {settings['method']}: found sparsity {settings['sparsity']}, expected none")
    calibration.check(settings.get("calibration", {}))
    return kept_counts(sizes, pattern, settings.get("sparsity"))

"""A topology's settings against a model's shape, before any model is made. No torch."""

from sparse_continual import registry
from sparse_continual.errors import UserError
from sparse_continual.topologies import calibration
from sparse_continual.topologies.counts import kept_counts, parse_pattern


def agreed(settings: dict):
    """The method's module, after a look at whether it defines what a topology's `settings` combine.

    `settings`: {method, pattern, counts, ...}; without a pattern, dense; without counts, exact.

    Raises UserError naming the method and what it does not define, and for a malformed pattern.
    """
    name, pattern = settings["method"], settings.get("pattern", "dense")
    method = registry.load("topologies.methods", name)
    kind = "N:M" if parse_pattern(pattern) else pattern
    found = f"pattern {pattern!r}" if "pattern" in settings else "no pattern"
    _one_of(name, kind, found, method.PATTERNS)
    if "counts" in settings:
        _one_of(
            name, settings["counts"], f"counts {settings['counts']!r}", getattr(method, "COUNTS", ("exact",))
        )
    return method


def _one_of(method: str, value, found: str, defined: tuple) -> None:
    if value not in defined:
        raise UserError(f"method {method}: found {found}, expected {' or '.join(defined)}")


def check(settings: dict, sizes: dict[str, tuple[int, int]]) -> dict[str, int]:
    """Name -> kept weights of each matrix of `sizes` (`counts.matrices`) under a topology's `settings`.

    `settings`: {method, pattern, sparsity, counts, and what the method's SCHEMA has}; without a pattern, dense.

    Raises UserError for a method that is unknown or does not define the combination, a pattern that is
    malformed or does not fit a matrix (named), a sparsity that is missing or contradicts it, and a calibration
    file that is not there.
    """
    agreed(settings)
    pattern = settings.get("pattern", "dense")
    if pattern == "dense" and "sparsity" in settings:
        raise UserError(f"method {settings['method']}: found sparsity {settings['sparsity']}, expected none")
    calibration.check(settings.get("calibration", {}))
    return kept_counts(sizes, pattern, settings.get("sparsity"))

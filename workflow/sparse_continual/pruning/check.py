"""Check a topology's settings against a model's shape, before any model is made. No torch."""

from sparse_continual import registry
from sparse_continual.errors import UserError
from sparse_continual.schema import check_schema
from sparse_continual.streams import calibration
from sparse_continual.topologies import structured_counts
from sparse_continual.topologies.counts import kept_total, matrices, parse_pattern, refuse_empty

ON_SPARSE = ("keep", "refuse")  # treatment of a model that lacks weights already; the first is the default


def agreed(settings: dict, users: tuple = ()):
    """(method, allocation's name, allocation's options) of a topology's `settings`, checked: the method must define the
    combination.

    settings: {method, pattern, allocation, counts, on_sparse, ...}. Defaults: pattern dense, counts exact, on_sparse
    keep, the first allocation that the method defines. An allocation is a name, or {name, its own settings}. users:
    methods that use this one.

    Raises UserError naming the method for a combination that it does not define, for a method that uses itself, for
    contradicting settings, for an unknown allocation or setting of one, and for a malformed pattern.
    """
    name, pattern = settings["method"], settings.get("pattern", "dense")
    if name in users:
        raise UserError(f"method {name}: found itself as the method that it uses, expected another method")
    method = registry.load("pruning.methods", name)
    kind = "N:M" if parse_pattern(pattern) else pattern
    stated = f"pattern {pattern!r}" if "pattern" in settings else "no pattern"
    if method.patterns or "pattern" in settings:
        _one_of(name, kind, stated, method.patterns)
    if "counts" in settings:
        _one_of(name, settings["counts"], f"counts {settings['counts']!r}", method.counts)
    if "on_sparse" in settings:
        prunes = kind != "dense" and not method.found
        stated = f"on_sparse {settings['on_sparse']!r:.40}"
        _one_of(name, settings["on_sparse"], stated, ON_SPARSE if prunes else ())
    chosen = settings.get("allocation", method.allocations[0])
    options = dict(chosen) if isinstance(chosen, dict) else {"name": chosen}
    allocation = options.pop("name", None)
    if not isinstance(allocation, str):
        raise UserError(
            f"method {name}: found allocation {chosen!r:.40}, expected a name, or {{name, its own settings}}, of "
            f"{' or '.join(method.allocations)}"
        )
    schema = registry.schema("pruning.allocations", allocation)
    _one_of(name, allocation, f"allocation {allocation!r}", method.allocations)
    if kind == "N:M" and allocation != "uniform":
        raise UserError(
            f"pattern {pattern}: found allocation {allocation!r}, expected uniform: every matrix keeps the same share"
        )
    for other in method.others(settings):
        agreed({**settings, "method": other, "allocation": chosen}, (*users, name))
    if method.check:
        method.check(settings)
    return method, allocation, options_of(f"allocation {allocation}", schema, options)


def is_found(topology: dict) -> bool:
    """Whether the topology is read from the zeros of its base, so that nothing is pruned."""
    return registry.load("pruning.methods", topology["method"]).found


def _one_of(method: str, value, stated: str, defined: tuple) -> None:
    if value not in defined:
        raise UserError(f"method {method}: found {stated}, expected {' or '.join(defined) or 'none'}")


def options_of(where: str, schema: dict, options: dict) -> dict:
    """`options` with the defaults of `schema`, except calibration, which callers pass as a tensor.

    Raises UserError naming `where` and each option that the schema lacks or forbids.
    """
    properties = {key: member for key, member in schema["properties"].items() if key != "calibration"}
    options = dict(options)
    lines = check_schema(where, options, {**schema, "properties": properties})
    if lines:
        raise UserError("; ".join(lines))
    return options


def needs_text(settings: dict) -> bool:
    """Whether a method of these settings reads calibration rows."""
    method, allocation, _ = agreed(settings)
    methods = [method, *(registry.load("pruning.methods", other) for other in method.others(settings))]
    inputs = registry.load("pruning.allocations", allocation).needs == "inputs"
    return inputs or any(method.needs_calibration for method in methods)


def variants(settings: dict) -> list[str]:
    """Modules that a topology of these `settings` looks up by name, besides the imports of its script."""
    method, allocation, _ = agreed(settings)
    methods = [settings["method"], *method.others(settings)]
    return [*(f"pruning.methods.{name}" for name in methods), f"pruning.allocations.{allocation}"]


def check(settings: dict, shape: dict) -> int | None:
    """Number of weights that all matrices of a `shape` (`counts.matrices`) keep under a topology's `settings`.

    With an empty `shape` (not known yet), only the checks that need no shape run, and the result is None. settings:
    {method, pattern, sparsity, allocation, counts, on_sparse, and the keys of the method's SCHEMA}; no pattern means
    dense. Under N:M the number is an upper bound: a model that lacks weights already keeps fewer.

    Raises UserError for an unknown method, a combination that the method does not define, a pattern that is malformed
    or does not fit a matrix (named), a sparsity that is missing or contradicts the pattern, an allocation that would
    empty a matrix, a structured export that changes the shape, and a missing calibration file.
    """
    _, allocation, options = agreed(settings)
    pattern = settings.get("pattern", "dense")
    if pattern == "dense" and "sparsity" in settings:
        raise UserError(f"method {settings['method']}: found sparsity {settings['sparsity']}, expected none")
    calibration.check(settings.get("calibration", {}))
    whole = _whole(settings) if pattern == "structured" else None
    if not shape:
        return None
    sizes = matrices(shape)
    if whole:
        return sum(
            structured_counts.kept_weights(
                sizes, shape["kv_heads"], settings.get("sparsity"), **whole
            ).values()
        )
    total = kept_total(sizes, pattern, settings.get("sparsity"))
    sharing = registry.load("pruning.allocations", allocation)
    if sharing.needs == "shapes":
        refuse_empty(sharing.kept(sizes, total, **options), allocation)
    return total


def _whole(settings: dict) -> dict:
    """{export, first, last} of a topology that removes whole heads and channels. Raises UserError for another shape."""
    options = structured_counts.SETTINGS
    values = {key: settings.get(key, member["default"]) for key, member in options.items()}
    if values["export"] != "masked":
        raise UserError(
            f"method {settings['method']}: found export {values['export']!r}, expected masked in a study, because its "
            "arms share a shape; for the smaller dense model call sparse_continual.prune and use the result as a base"
        )
    return values

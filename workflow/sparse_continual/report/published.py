"""The declarations of published checkpoints, beside the counts."""

from sparse_continual.report.html_table import table
from sparse_continual.report.words import Words, absent
from sparse_continual.topologies.counts import parse_pattern
from sparse_continual.topologies.density import common_pattern, implies, sparsity_agrees
from sparse_continual.topologies.zeros import GROUPS


def provenance(facts: dict, words: Words) -> dict:
    """The table of the study's published checkpoints, as the registry declares them; nothing in it was measured."""
    rows = [
        {
            "base": base,
            **declared,
            "unconfirmed": words.join(words.name("headers", key) for key in declared["unconfirmed"]),
        }
        for base, declared in facts.get("published", {}).items()
    ]
    return table(
        words,
        "published",
        rows,
        "base:code repo:code revision:code licence pruned_by pattern sparsity:number tokens_of_recovery:count"
        " distillation unconfirmed",
        caption=words("page.run.published"),
    )


def compared(facts: dict, densities, budget: list[dict]) -> list[dict]:
    """One row for every topology that was counted in a published checkpoint, from the frame `densities` of a stream.

    budget: rows of budget.csv, which have the number of all parameters.

    {topology, base, declared_pattern, declared_sparsity (None if not declared), pattern, sparsity, agrees}: `agrees` is
    "false" if the pattern or the sparsity (`sparsity_agrees`) contradicts the declaration.
    """
    rows = []
    for topology, base in facts.get("counted", {}).items():
        matrices_of_topology = densities[densities.topology == topology]
        if base not in facts["published"] or not len(matrices_of_topology):
            continue
        declared = facts["published"][base]
        matrices = list(
            zip(
                matrices_of_topology.pattern,
                matrices_of_topology.nonzeros / matrices_of_topology.weights,
                strict=True,
            )
        )
        pattern, sparsity = (
            common_pattern(matrices),
            1 - float(matrices_of_topology.nonzeros.sum() / matrices_of_topology.weights.sum()),
        )
        stated = {key: declared[key] for key in ("pattern", "sparsity") if not absent(declared[key])}
        agrees = not _another(stated.get("pattern"), pattern, matrices)
        if "sparsity" in stated:
            parameters = [int(float(row["parameters"])) for row in budget if row["topology"] == topology]
            absent_weights = int((matrices_of_topology.weights - matrices_of_topology.nonzeros).sum())
            overall = absent_weights / parameters[0] if parameters else None
            agrees &= sparsity_agrees(stated["sparsity"], sparsity, overall)
        rows.append(
            {
                "topology": topology,
                "base": base,
                "declared_pattern": stated.get("pattern"),
                "declared_sparsity": stated.get("sparsity"),
                "pattern": pattern,
                "sparsity": sparsity,
                "agrees": str(agrees).lower(),
            }
        )
    return rows


def _another(declared, pattern: str, matrices: list) -> bool:
    """Whether a model counted as `pattern`, with `matrices` (pattern, density), contradicts the declared pattern.

    Labels decide, so the N:M of a matrix that is thinner than `seen` is believed.
    """
    # the count has no pattern for whole absent lines: they can have any pattern
    if declared in (None, "structured", pattern):
        return False
    groups = parse_pattern(declared)
    if groups is None or pattern == "dense":
        return True
    kept, of = groups
    # the count tries few M, and a thin matrix that could have N:M by chance is not called N:M
    visible = kept / of / 2 if of in GROUPS else kept / of
    return any(visible < density < 1 and not implies(kind, declared) for kind, density in matrices)


def limits(facts: dict, streams: dict, budget: list[dict], words: Words) -> list[str]:
    """Sentences on the limits of contrasts of published checkpoints, and on wrong declarations."""
    contrasts = [f"`{c['name']}`" for c in facts["study"]["contrasts"] if c["estimand"] == "as_published"]
    sentences = [words("limits.published.contrasts", contrasts=words.join(contrasts))] if contrasts else []
    counted = streams.values() if facts.get("counted") else []
    rows = [row for tables in counted for row in compared(facts, tables["densities"], budget)]
    for row in {row["topology"]: row for row in rows if row["agrees"] == "false"}.values():
        sentences.append(
            words(
                "limits.published.declared",
                base=f"`{row['base']}`",
                declared=_stated(row["declared_pattern"], row["declared_sparsity"]),
                counted=_stated(row["pattern"], row["sparsity"]),
            )
        )
    return sentences


def _stated(pattern, sparsity) -> str:
    """A pattern and a sparsity, as far as they are declared: `2:4, 0.5`."""
    return ", ".join(([pattern] if pattern else []) + ([] if sparsity is None else [f"{sparsity:.3g}"]))

"""What may not be concluded, as sentences derived from the facts of the study."""

import math

from sparse_continual.report import rates
from sparse_continual.report.sentences import cannot_reach
from sparse_continual.statistics.verdict import MINIMUM_BLOCKS
from sparse_continual.streams.settings import filled
from sparse_continual.streams.sources.facts import MEMORY, SCHEMA

BITS_PER_WEIGHT = 2  # that a model can store (arXiv 2404.05405)
SAME_MODEL = 0.05  # relative difference in weights below which two matched controls are nearly one


def limits(facts: dict, budget: list[dict], streams: dict) -> list[str]:
    """Sentences on what the study cannot say.

    `facts` is the study's slice of config (report.smk), `budget` the rows of budget.csv, `streams` maps
    each stream's name to its tables `contrasts`, `summary`, `frontier`, `flags` and `runs`.
    """
    found = [_estimands(facts), _blocks(facts), _bases(facts, budget), _topologies(facts)]
    found += [line for name in streams for line in _load(name, facts, budget)]
    found += [_training(facts), *_ends(facts, streams), *rates.limits(facts, streams), _lora(facts)]
    found += [*_controls(budget), *_verdicts(streams), *_transfer(streams), *_retention(streams)]
    found += [*_flags(streams), *_flops(budget), *_streams(streams)]
    return [line for line in found if line]


def _estimands(facts):
    contrasts = [f"`{c['name']}`" for c in facts["study"]["contrasts"]]
    if not contrasts:
        return "No contrast was planned, so nothing is said about differences between conditions."
    return (
        f"Each contrast ({', '.join(contrasts)}) is a question of its own. None stands for another, they are"
        " not averaged, and “sparse models forget less” does not follow from any single one."
    )


def _blocks(facts):
    n, level = facts["study"]["blocks"], facts["study"]["statistics"]["level"]
    smallest = 2.0 ** (1 - n)
    if n < MINIMUM_BLOCKS or smallest >= level:
        return (
            f"With {n} block{'s' if n > 1 else ''} nothing can be shown, only described:"
            f" {cannot_reach(smallest, level)}. Tasks and items are no replications."
        )
    return (
        f"The unit of replication is the block (n = {n}). Tasks and items are no replications, however many."
    )


def _bases(facts, budget):
    sizes = sorted({int(float(row["parameters"])) for row in budget})
    size = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    if facts["one_base"]:
        names = ", ".join(f"`{name}`" for name in facts["bases"])
        return (
            f"All blocks start from the same weights ({names}, {size} parameters): they replicate streams"
            " and orders, not pretraining or pruning. Every sentence is for this checkpoint; other"
            " checkpoints may differ in sign."
        )
    return (
        "Every block has its own base, but all bases come from one generator and one kind of small model"
        f" ({size} parameters). Nothing follows for natural language, other data or larger models."
    )


def _topologies(facts):
    kinds = [
        f"`{name}` ({made['method']}, {made.get('pattern', 'unstructured')})"
        for name, made in facts["topologies"].items()
        if made["method"] != "dense"
    ]
    if not kinds:
        return "No sparse topology was run."
    return (
        f"Sparse means {', '.join(kinds)}. Other methods, patterns and densities were not run, and masks"
        " like these spread over all units, so nothing follows for modular topologies."
    )


def _load(name, facts, budget):
    stream = facts["streams"][name]
    if stream["source"] != "facts":
        return [
            f"The load of stream `{name}` on the weights was not varied; at another load the order of arms"
            " may turn."
        ]
    stream = filled(SCHEMA, stream)
    bits = stream["tasks"] * stream["people"] * sum(math.log2(len(values)) for values, _ in MEMORY.values())
    load = bits / min(float(row["nonzeros"]) for row in budget)
    if load < BITS_PER_WEIGHT / 2:
        return [
            f"Stream `{name}` asks for about {load:.2g} bits per nonzero weight in its smallest model, where"
            f" a model can hold about {BITS_PER_WEIGHT}: capacity is not expected to bind, and nothing"
            " follows for streams that fill it."
        ]
    return [
        f"Stream `{name}` asks for about {load:.2g} bits per nonzero weight: capacity may bind, at this load"
        " alone."
    ]


def _training(facts):
    stop = facts["study"]["training"]["stop"]
    if "loss" in stop:
        return (
            f"Tasks stop at a validation loss of {stop['loss']:g} nats or at {stop['cap']} steps: arms are"
            " compared near equal learning and may differ in steps and tokens."
        )
    amount = f"{stop['steps']} steps" if "steps" in stop else f"{stop['epochs']:g} epochs"
    return (
        f"Every task is trained for {amount}: arms are compared at equal training, and equal learning is"
        " only bounded by the gate. Other lengths may change the differences."
    )


def _ends(facts, streams):
    if facts["study"]["training"].get("ends", "frozen") == "frozen":
        return [
            "Embeddings, head and norms were frozen in all arms: nothing follows for models that train them."
        ]
    shares = [tables["runs"].ends_share.mean() for tables in streams.values()]
    return [
        "Embeddings, head and norms were trained in all arms and are dense in all of them; they carry"
        f" {100 * sum(shares) / len(shares):.0f} % of the squared update on average."
    ]


def _lora(facts):
    forms = {made.get("form", "masked") for made in facts["mechanisms"].values() if made["kind"] == "lora"}
    if not forms:
        return ""
    other = "".join(f"; the form `{form}` was not run" for form in ("masked", "side") if form not in forms)
    return f"Rank and alpha of LoRA were not tuned for each arm, only the learning rate was{other}."


def _controls(budget):
    """Pairs of dense controls matched on different counts that come out as nearly the same model."""
    matched = [row for row in budget if row["matched_on"]]
    return dict.fromkeys(
        f"`{a['condition']}` and `{b['condition']}` are nearly the same model ({float(a['nonzeros']):,.0f}"
        f" and {float(b['nonzeros']):,.0f} weights in blocks): their agreement is no replication."
        for i, a in enumerate(matched)
        for b in matched[i + 1 :]
        if (a["stream"], a["matched_to"]) == (b["stream"], b["matched_to"])
        and a["matched_on"] != b["matched_on"]
        and all(math.isclose(float(a[k]), float(b[k]), rel_tol=SAME_MODEL) for k in ("prunable", "nonzeros"))
    )


def _verdicts(streams):
    verdicts = {v for tables in streams.values() for v in tables["contrasts"].verdict}
    lines = []
    if "not distinguished" in verdicts:
        lines.append("“Not distinguished” is no evidence of equality: no equivalence test was planned.")
    if "gate failed" in verdicts:
        lines.append(
            "Where the learning gate failed, no statement about forgetting or transfer is made, whatever"
            " the estimate: a model that learns less has less to forget."
        )
    return lines


def _transfer(streams):
    lines = []
    for name, tables in streams.items():
        rows = tables["summary"]
        rows = rows[(rows.metric == "forward_transfer") & (rows.scale == "raw") & (rows.part == "all")]
        if len(rows) and ((rows.lower <= 0) & (rows.upper >= 0)).all():
            lines.append(
                f"In stream `{name}` no condition's forward transfer is distinguished from none, so contrasts"
                " on it compare near-zero quantities."
            )
    return lines


def _retention(streams):
    lines = {}
    for tables in streams.values():
        rows = tables["summary"]
        kept = set(rows[rows.metric == "base_retention"].condition)
        lost = [f"`{name}`" for name in dict.fromkeys(rows.condition) if name not in kept]
        if lost:
            of = f" under {', '.join(lost)}" if kept else ""
            lines[f"Retention of the base was not measured{of}: it declares no mixture."] = None
    return lines


def _flags(streams):
    lines = []
    for name, tables in streams.items():
        counts = tables["flags"].kind.value_counts()
        if "floor" in counts:
            lines.append(
                f"In stream `{name}`, {counts['floor']} series of scores never come more than 5 points above"
                " chance (appendix): forgetting on those can only be nil and is no sign of memory."
            )
        if "not learnt" in counts:
            lines.append(
                f"In stream `{name}`, {counts['not learnt']} series of scores are at chance right after"
                " their own training (appendix); they are kept in all means."
            )
    return lines


def _flops(budget):
    if any(float(row["training_executed"]) > 1.01 * float(row["training_theoretical"]) for row in budget):
        return [
            "No saving of time or memory is claimed: theoretical FLOPs count weights that exist, but the"
            " kernels execute dense products."
        ]
    return []


def _streams(streams):
    if len(streams) < 2:
        return ["One stream was run: nothing follows for other kinds of tasks."]
    return ["Streams are analysed each by itself; agreement between them was not tested."]

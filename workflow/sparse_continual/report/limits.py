"""What may not be concluded, as sentences derived from the facts of the study."""

from sparse_continual.statistics.verdict import MINIMUM_BLOCKS

# A model stores about 2 bits a parameter (arXiv 2404.05405); the source `facts` asks for 13 bits a person.
BITS_PER_WEIGHT = 2
BITS_PER_PERSON = 13


def limits(facts: dict, budget: list[dict], streams: dict) -> list[str]:
    """Sentences on what the study cannot say.

    `facts` is the study's slice of config (report.smk), `budget` the rows of budget.csv, `streams` maps
    each stream's name to its tables `contrasts`, `frontier`, `flags` and `runs`.
    """
    found = [_estimands(facts), _blocks(facts), _bases(facts, budget), _topologies(facts)]
    found += [line for name in streams for line in _load(name, facts, budget)]
    found += [_training(facts), *_ends(facts, streams), *_grid(facts, streams), *_verdicts(streams)]
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
    n = facts["study"]["blocks"]
    if n < MINIMUM_BLOCKS:
        return (
            f"With {n} block{'s' if n > 1 else ''} everything is descriptive: no exact test can reach .05"
            f" below {MINIMUM_BLOCKS} blocks. Tasks and items are no replications."
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
    load = (
        BITS_PER_PERSON * stream["people"] * stream["tasks"] / min(float(row["nonzeros"]) for row in budget)
    )
    if load < BITS_PER_WEIGHT / 2:
        return [
            f"Stream `{name}` asks for about {load:.2g} bits per nonzero weight in its smallest model, where"
            f" a model can hold about {BITS_PER_WEIGHT}: capacity does not bind here, and nothing follows"
            " for streams that fill it."
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


def _grid(facts, streams):
    rates = facts["study"]["tuning"]["learning_rates"]
    lines = []
    for edge, word in ((min(rates), "smallest"), (max(rates), "largest")):
        at_edge = sorted(
            {
                f"`{condition}`"
                for tables in streams.values()
                for condition in tables["frontier"][
                    tables["frontier"].chosen & (abs(tables["frontier"].learning_rate - edge) <= 1e-9 * edge)
                ].condition
            }
        )
        if at_edge and len(rates) > 1:
            lines.append(
                f"{', '.join(at_edge)} took the {word} learning rate of the grid ({edge:g}): a wider grid"
                " might choose another, and the learning rate moves forgetting strongly."
            )
    return lines


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

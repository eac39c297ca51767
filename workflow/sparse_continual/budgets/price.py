"""The costs of every condition, before anything is made: one row each, and a table for the terminal.

The hours estimate training on the streams and the trials of learning rates, without pretraining (budgets/plan.py adds
it) and scoring: per step a fixed time, which dominates at tiny size, plus executed FLOPs over throughput. The defaults
are those of one thread of a current server CPU in float32. With them a step of 16 x 128 tokens at 1M to 15M weights is
within a third of the measured time; set your own for other machines.
"""

from sparse_continual.budgets.pruning import NOTHING, making
from sparse_continual.errors import UserError
from sparse_continual.runs.mechanism import Price, Sizes, mechanism_class
from sparse_continual.show import UNKNOWN, aligned, number
from sparse_continual.topologies.counts import kept_total, matrices
from sparse_continual.topologies.structured_counts import kept_weights
from sparse_continual.training.arithmetic import (
    Shape,
    checkpoint_bytes,
    forward_flops,
    head_share,
    optimizer_bytes,
    parameters,
)

THROUGHPUT = 7e10  # FLOP/s
STEP_SECONDS = 0.013  # of Python, launches and optimiser per training step
TOKEN = 4  # bytes of a token in a replay buffer: int32


def price(conditions: list[dict], throughput=THROUGHPUT, step_seconds=STEP_SECONDS) -> list[dict]:
    """One row of plain data per condition.

    A condition: condition, base, topology, pattern ("dense" for dense), sparsity (None for dense and N:M), whole
    (number of blocks that a structured pattern skips), mechanism (its settings; its file has the price), locked, writes
    (all | masked | random) and `like` ({pattern, sparsity, whole} of the written places, unless all), ends (frozen |
    trained), shape (keys of `Shape`; a matched control's own), row_tokens, answer_tokens, train_items (rows of a task),
    steps (per task), batch_size, tasks, blocks, tuning_steps (of all trials), asked_steps (of all references, repeats
    and savings of the study; they count only in `hours`), match (None or {to, on, error}), making ({topology, text},
    the arguments of `making`, or None if no method makes the topology). If `nonzeros` is given, from counted weights,
    `pattern` only describes them.

    Tokens of training are upper bounds: rows count with their greatest length. Theoretical FLOPs count existing
    weights; an unlocked model's absent weights exist from its first step. FLOPs and hours are None if the FLOPs of a
    base of another family are not known.
    """
    return [_row(condition, throughput, step_seconds) for condition in conditions]


def _row(c: dict, throughput: float, step_seconds: float) -> dict:
    shape = Shape(**c["shape"])
    nonzeros = c["nonzeros"] if "nonzeros" in c else _planned(shape, c)
    existing = nonzeros if c["locked"] else shape.prunable
    sizes = sizes_of(c, _written(shape, c, existing))
    mechanism = mechanism_class(c["mechanism"]["kind"]).price(c["mechanism"], shape, existing, sizes)
    trained = mechanism.trained
    flops = _flops(shape, sizes, existing, mechanism)
    executed = flops["training_executed"]
    steps, step_tokens = c["steps"] * c["tasks"], c["batch_size"] * c["row_tokens"]
    runs = c["blocks"] * steps
    saved, buffer = checkpoint_bytes(trained), mechanism.buffer_rows * c["row_tokens"]
    match = c["match"] or {}
    return {
        "condition": c["condition"],
        "base": c["base"],
        "topology": c["topology"],
        "pattern": c["pattern"],
        "shape": describe(shape),
        "parameters": parameters(shape)["total"],
        "prunable": shape.prunable,
        "nonzeros": nonzeros,
        "density": nonzeros / shape.prunable,
        "trained": trained,
        **flops,
        "tokens_per_run": steps * step_tokens,
        "tokens_all": runs * step_tokens,
        "optimizer_bytes": optimizer_bytes(trained),
        "checkpoint_bytes": saved,
        "disk_bytes": saved * c["tasks"] * c["blocks"],
        "buffer_tokens": buffer,
        "buffer_bytes": TOKEN * buffer,
        "state_bytes": mechanism.state_bytes,
        **(making(shape=shape, **c["making"]) if c["making"] else NOTHING),
        **{
            key: None
            if executed is None
            else hours(
                many, executed * step_tokens + flops["task_flops"] / c["steps"], throughput, step_seconds
            )
            for key, many in (("hours", runs + c["asked_steps"]), ("tuning_hours", c["tuning_steps"]))
        },
        "matched_to": match.get("to", ""),
        "matched_on": match.get("on", ""),
        "matched_error": match.get("error", ""),
    }


def sizes_of(c: dict, written: int) -> Sizes:
    """The `Sizes` of a condition, as `price` takes it, that writes `written` prunable weights."""
    return Sizes(
        row_tokens=c["row_tokens"],
        head=head_share(c["row_tokens"], c["answer_tokens"]),
        batch_size=c["batch_size"],
        steps=c["steps"],
        tasks=c["tasks"],
        task_rows=c["train_items"],
        written=written,
        ends_trained=c["ends"] == "trained",
    )


def hours(steps: int, step_flops: float, throughput=THROUGHPUT, step_seconds=STEP_SECONDS) -> float:
    """Hours of one worker for `steps` training steps of `step_flops` executed FLOPs each."""
    return steps * (step_seconds + step_flops / throughput) / 3600


def _planned(shape: Shape, c: dict) -> int:
    """Number of kept weights of a shape under {pattern, sparsity, whole}."""
    sizes, sparsity = matrices(shape.settings()), c["sparsity"]
    if c["pattern"] == "structured":
        return sum(kept_weights(sizes, shape.kv_heads, sparsity, "masked", c["whole"], 0).values())
    return kept_total(sizes, c["pattern"], sparsity)


def _written(shape: Shape, c: dict, existing: int) -> int:
    """Number of prunable weights that training writes to, for mechanisms that write to weights."""
    return existing if c["writes"] == "all" else _planned(shape, c["like"])


def _flops(shape: Shape, sizes: Sizes, existing: int, mechanism: Price) -> dict[str, float | None]:
    """Theoretical and executed FLOPs per token, forward and in training, and the FLOPs that a mechanism executes once
    per task; None if they are not known."""
    kinds = {"theoretical": existing, "executed": None}
    try:
        return {
            **{
                f"forward_{kind}": forward_flops(shape, sizes.row_tokens, weights, sizes.head)["total"]
                for kind, weights in kinds.items()
            },
            **{f"training_{kind}": mechanism.step_flops(weights) for kind, weights in kinds.items()},
            "task_flops": mechanism.task_flops(None),
        }
    except UserError:  # the reason is in the shape, and the plan prints it
        return dict.fromkeys(
            [*(f"{way}_{kind}" for way in ("forward", "training") for kind in kinds), "task_flops"]
        )


def unknown_flops(shape: dict) -> list[str]:
    """Why FLOPs of a counted `shape` are not known, each reason once; [] if they are known."""
    counts = (shape.get("counted") or {}).get("flops", {}).values()
    return list(dict.fromkeys(why for why in counts if isinstance(why, str)))


def describe(shape: Shape) -> str:
    """A shape in a few characters: widths of hidden states and MLP, layers, query/key-value heads.

    For a base whose matrices differ from those of a Llama of these widths: model_type, width of hidden states, layers.
    """
    if shape.counted and not _llama_like(shape):
        return f"{shape.family} {shape.hidden_size} L{shape.layers}"
    return f"{shape.hidden_size}x{shape.intermediate_size} L{shape.layers} {shape.heads}/{shape.kv_heads}"


def _llama_like(shape: Shape) -> bool:
    """Whether a counted shape has the matrices of a Llama of its widths."""
    widths = (shape.intermediate_size, shape.heads, shape.kv_heads)
    return None not in widths and matrices(shape.settings()) == matrices(
        {**shape.settings(), "counted": None}
    )


def table(rows: list[dict]) -> str:
    """Two aligned plain-text tables, models and costs, at most 120 columns wide, and the totals."""
    models = [("condition", "pattern", "shape", "parameters", "prunable", "nonzeros", "density", "matched")]
    costs = [("condition", "trained", "fwd th", "fwd ex", "train th", "train ex", "tok/run", "tok all")]
    costs[0] += ("optim", "saved", "disk", "hours")
    for r in rows:
        name = _short(r["condition"], 20)
        matched = f"{r['matched_on']} {100 * r['matched_error']:+.2f} %" if r["matched_on"] else ""
        sizes = [number(r[key]) for key in ("parameters", "prunable", "nonzeros")]
        models.append((name, r["pattern"], r["shape"], *sizes, f"{r['density']:.3f}", matched))
        flops = [f"{kind}_{side}" for kind in ("forward", "training") for side in ("theoretical", "executed")]
        counts = [number(r[key]) for key in ("trained", *flops, "tokens_per_run", "tokens_all")]
        sizes = [number(r[key]) + "B" for key in ("optimizer_bytes", "checkpoint_bytes", "disk_bytes")]
        known = r["hours"] is not None
        costs.append((name, *counts, *sizes, f"{r['hours'] + r['tuning_hours']:.2f}" if known else UNKNOWN))
    training, tuning, disk = (
        sum(r[key] or 0 for r in rows) for key in ("hours", "tuning_hours", "disk_bytes")
    )
    unknown = [r["condition"] for r in rows if r["hours"] is None]
    kept = [
        f"{r['condition']} {number(r['state_bytes'])}B and {number(r['task_flops'])}FLOP a task"
        for r in rows
        if r["state_bytes"] or r["task_flops"]
    ]
    lines = [
        "Models. nonzeros: existing weights of block linears; the topologies must have exactly these.",
        *aligned(models, left=(0, 1, 2, 7)),
        "",
        "Costs. FLOPs per token: th(eoretical) by existing weights, ex(ecuted) by dense kernels. Hours with tuning.",
        *aligned(costs, left=(0,)),
        "",
        f"Together: {training:.2f} hours of one worker for training on the stream, {tuning:.2f} for tuning, "
        f"{number(disk)}B of weights.",
        *([f"Kept between tasks by the mechanism, and its own passes: {'; '.join(kept)}."] if kept else []),
        *([f"Without the hours of {', '.join(unknown)}, whose FLOPs are not known."] if unknown else []),
    ]
    return "\n".join(lines)


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"

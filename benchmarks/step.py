"""What a step on the values of a sparse model costs against a dense step of the same shape.

    python benchmarks/step.py

Three arms in one process, in a new random order in every round: the dense model, a dense twin of it
(whose ratio to the first shows the noise), and the 2:4 model trained by its values. Batches, loss,
clipping and optimizer are the workflow's own. Times are of the processor, on one thread, so that other
processes do not count. Moments are counted in the optimizers. Writes benchmarks/step.md.
"""

import argparse
import os
import platform
import random
import statistics
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

from sparse_continual.device import prepare
from sparse_continual.files import write
from sparse_continual.models.load import prunable
from sparse_continual.streams.lexicon import vocabulary
from sparse_continual.streams.tasks import make_split
from sparse_continual.study.config import checked
from sparse_continual.study.study import Study
from sparse_continual.training.batches import collate, loss_of
from sparse_continual.training.loop import adamw, step
from sparse_continual.training.trainables import AllPlaces, Ends, FixedPlaces

ROOT = Path(__file__).resolve().parents[1]
LARGER = {"hidden_size": 128, "intermediate_size": 384, "layers": 4, "heads": 4, "kv_heads": 4}  # 0.9M
TARGET = 1.05
RATE = 1e-3


def llama(shape: dict):
    """The generated base's model, untrained."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary()),
            hidden_size=shape["hidden_size"],
            intermediate_size=shape["intermediate_size"],
            num_hidden_layers=shape["layers"],
            num_attention_heads=shape["heads"],
            num_key_value_heads=shape["kv_heads"],
            tie_word_embeddings=True,
        )
    ).train()


def two_of_four(weight):
    """bool mask of the two largest of every four weights of a row; the others are set to zero."""
    groups = weight.detach().view(-1, 4)
    mask = torch.zeros_like(groups, dtype=torch.bool).scatter_(1, groups.abs().topk(2).indices, True)
    groups[~mask] = 0
    return mask.view_as(weight)


class Arm:
    """A model under training, with its optimizer and the processor time of its last steps."""

    def __init__(self, shape: dict, sparse: bool, split, batch_size: int):
        self.model, self.split, self.batch_size = llama(shape), split, batch_size
        linears = prunable(self.model)
        masks = {name: two_of_four(module.weight) for name, module in linears.items()} if sparse else None
        self.places = FixedPlaces(linears, masks) if sparse else AllPlaces(linears)
        Ends(self.model, linears, False)
        self.weights = sum(module.weight.numel() for module in linears.values())
        self.optimizer = adamw(self.places.parameters(), RATE)

    def seconds(self, steps: int) -> float:
        """Processor time of `steps` steps."""
        began = time.process_time()
        for number in range(steps):
            first = number * self.batch_size % (self.split.rows - self.batch_size)
            rows = range(first, first + self.batch_size)
            step(loss_of(self.model, collate(self.split, list(rows))), self.optimizer, self.places)
        return time.process_time() - began

    @property
    def moments(self) -> int:
        """Values that the optimizer keeps, counted."""
        return sum(t.numel() for state in self.optimizer.state.values() for t in state.values() if t.dim())


def compare(shape: dict, rows: dict, rounds: int, seconds: float) -> dict:
    """Ratios to the dense arm, round by round, and the counted moments. rows: {tokens, answer, batch}."""
    tokens = torch.randint(
        4, len(vocabulary()), (1024, rows["tokens"]), generator=torch.Generator().manual_seed(1)
    )
    split = make_split(tokens.numpy(), [rows["tokens"] - rows["answer"]] * len(tokens))
    arms = {name: Arm(shape, name == "sparse", split, rows["batch"]) for name in ("dense", "twin", "sparse")}
    for arm in arms.values():
        arm.seconds(5)
    steps = max(3, round(seconds / (arms["dense"].seconds(10) / 10)))
    times = {name: [] for name in arms}
    order = random.Random(0)
    for _ in range(rounds):
        for name in order.sample(sorted(arms), len(arms)):
            times[name].append(arms[name].seconds(steps) / steps)
    dense, sparse = arms["dense"], arms["sparse"]
    return {
        "weights": dense.weights,
        "milliseconds": 1000 * statistics.median(times["dense"]),
        "steps": steps,
        "moments": (sparse.moments, dense.moments),
        "nonzeros": sparse.places.values.numel(),
        **{
            name: [mine / its for mine, its in zip(times[name], times["dense"], strict=True)]
            for name in ("twin", "sparse")
        },
        "least": min(times["sparse"]) / min(times["dense"]),
    }


def quartiles(ratios: list) -> str:
    """median [quartiles]."""
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each arm in each round")
    arguments = parser.parse_args()
    prepare(1, 0)
    study = Study(checked(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))))
    source = study.config["streams"][study.streams[0]]["source"]
    row = study.priced(study.streams[0])[0]
    rows = {"tokens": row["row_tokens"], "answer": row["answer_tokens"], "batch": row["batch_size"]}
    default = study.base_shape(row["base"])
    lines = [
        "# A sparse step against a dense one",
        "",
        f"`python benchmarks/step.py --rounds {arguments.rounds} --seconds {arguments.seconds}`; "
        f"torch {torch.__version__}, one thread, {platform.machine()}.",
        f"Batches of {rows['batch']} rows of {rows['tokens']} tokens ({source}), ends frozen, 2:4. "
        "Ratios of processor time per step to the dense arm: median [quartiles] over rounds; least: of the "
        "shortest rounds.",
        "",
        "| block weights | dense step, ms | dense twin / dense | values / dense | least | moments, values / dense |",
        "|---|---|---|---|---|---|",
    ]
    missed = []
    for shape in (default, LARGER):
        found = compare(shape, rows, arguments.rounds, arguments.seconds)
        mine, its = found["moments"]
        if mine != 2 * found["nonzeros"] or its != 2 * found["weights"]:
            raise SystemExit(
                f"moments: found {mine} and {its}, expected twice {found['nonzeros']} and {found['weights']}"
            )
        lines.append(
            f"| {found['weights']:,} | {found['milliseconds']:.2f} | {quartiles(found['twin'])} "
            f"| {quartiles(found['sparse'])} | {found['least']:.3f} | {mine:,} / {its:,} = {mine / its:g} |"
        )
        deviation = abs(statistics.median(found["twin"]) - 1)
        if statistics.median(found["sparse"]) - deviation > TARGET:
            missed.append(f"{found['weights']:,} weights")
    verdict = f"missed at {', '.join(missed)}" if missed else "met"
    lines += ["", f"Target: median at most {TARGET}, less the twin's deviation from 1: {verdict}."]
    write(ROOT / "benchmarks" / "step.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

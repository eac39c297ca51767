"""How often the verdicts are wrong, on synthetic studies whose truth is known.

    python benchmarks/calibration.py

Every synthetic study is judged by the workflow's own `judge`, on the claims and contrasts of the default study, and
its words and intervals are compared with the truth. A score is the level of its block, which all arms share, plus
the arm's own deviation in that block, with the variance components that the default study itself showed. Where
blocks share a base, a part of both belongs to the base. Writes benchmarks/calibration.md.
"""

import argparse
import math
import os
import platform
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import yaml

from sparse_continual import registry
from sparse_continual.files import write
from sparse_continual.identity import seed_of
from sparse_continual.statistics import contrasts as rules
from sparse_continual.statistics import power
from sparse_continual.statistics.gate import LEARNING
from sparse_continual.study.config import checked
from sparse_continual.verdicts.claims import load
from sparse_continual.verdicts.judge import counted, gated, judge

ROOT = Path(__file__).resolve().parents[1]
SIZES = (6, 10, 20)
CHUNK = 500  # studies drawn at once
ALLOWED = 3  # Monte Carlo standard errors beyond a nominal rate
POINTS = 0.03  # between the power found and the plan's

# Variance components of results/default/people/statistics/metrics.csv (raw scores of ten arms on six blocks), as
# shares: SD of the blocks' levels; SD of each arm about arm + block (Grubbs, JASA 43 (1948) 243); correlation
# between the metrics of these residuals, scaled by arm and pooled. One negative variance (sparse_lora, learning)
# is set to the square of .01.
METRICS = ("forgetting", "forward_transfer", LEARNING)
BLOCK_SD = (0.031, 0.015, 0.019)
CORRELATION = ((1, -0.06, 0.56), (-0.06, 1, 0.28), (0.56, 0.28, 1))
ARM_SD = {
    "dense": (0.031, 0.006, 0.022),
    "sparse": (0.024, 0.010, 0.020),
    "unlocked": (0.030, 0.009, 0.020),
    "masked_writes": (0.027, 0.007, 0.018),
    "matched_nonzeros": (0.057, 0.023, 0.095),
    "matched_flops": (0.041, 0.014, 0.029),
    "dense_lora": (0.021, 0.011, 0.027),
    "sparse_lora": (0.030, 0.010, 0.010),
    "dense_replay": (0.015, 0.011, 0.026),
    "sparse_replay": (0.006, 0.004, 0.016),
}
DENSE = ("dense", "masked_writes", "matched_nonzeros", "matched_flops")
# Where blocks share a base, the part of each of these variances that is the base's. The default study has a base
# for every block and so cannot tell.
BASE_PART = 0.5

# True means of an arm that a scenario does not mention. Nothing is forgotten, so no arm forgets less than
# another; learning is alike.
ALIKE = {"forgetting": 0.0, "forward_transfer": 0.0, LEARNING: 0.8}


@dataclass(frozen=True)
class Scenario:
    """A truth: `means` is arm -> {metric: mean} where it differs from ALIKE.

    `noise` is `normal` or `skewed`; `effect` names the claim that is true by as much as the plan calls detectable.
    """

    name: str
    says: str
    means: dict = field(default_factory=dict)
    blocks_per_base: int = 1
    noise: str = "normal"
    effect: str = ""


class Design:
    """What the default study claims, and by which rules it is judged; exploratory claims only where asked for."""

    def __init__(self, exploratory: bool = False):
        config = checked(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")))
        self.claims = load(ROOT / "claims.yaml", config["study"], registry.names("figures"))
        if not exploratory:
            self.claims = [claim for claim in self.claims if claim["role"] != "exploratory"]
        self.contrasts = {c["name"]: c for c in config["study"]["contrasts"]}
        self.stream = config["study"]["streams"][0]
        self.level = config["study"]["statistics"]["level"]
        self.margin = config["study"]["statistics"]["learning_margin"]
        self.by_name = {claim["name"]: claim for claim in self.claims}
        self.family = [claim["name"] for claim in self.claims if counted(claim)]
        self.single = [claim for claim in self.claims if "contrast" in claim]
        used = dict.fromkeys(claim["contrast"] for claim in self.single)
        self.measured = dict.fromkeys(
            (claim["contrast"], metric) for claim in self.single for metric in (claim["metric"], LEARNING)
        )
        self.weights = {
            name: np.array(
                [(a in self.contrasts[name]["plus"]) - (a in self.contrasts[name]["minus"]) for a in ARM_SD],
                dtype=float,
            )
            for name in used
        }

    def settings(self, bases: dict) -> dict:
        """Of `judge`, for blocks with these bases."""
        return {
            "level": self.level,
            "learning_margin": self.margin,
            "phase": "demonstration",
            "registered": None,
            "stale": [],
            "bases": bases,
            "contrasts": list(self.contrasts.values()),
            "collapsed": {},
        }

    def plan(self, claim: dict, n: int) -> dict:
        """The workflow's own plan for a claim, given the true SD of its difference."""
        gate = (
            (self._sd(claim, LEARNING), self.margin)
            if gated(claim, self.contrasts[claim["contrast"]])
            else None
        )
        sd = self._sd(claim, claim["metric"])
        return power.plan(n, sd, claim["margin"], claim["margin"], self.level, len(self.family), gate)

    def _sd(self, claim: dict, metric: str) -> float:
        """The true SD of a claim's difference in `metric`."""
        number, weights = METRICS.index(metric), self.weights[claim["contrast"]]
        variance = float(weights**2 @ np.array([sd[number] ** 2 for sd in ARM_SD.values()]))
        variance += float(weights.sum() * BLOCK_SD[number]) ** 2  # of a level alone
        return math.sqrt(variance)


def scenarios(design: Design, n: int) -> list[Scenario]:
    """Those of studies with n units."""
    edge = {"sparse": {"forward_transfer": -design.by_name["transfer_kept"]["margin"]}}
    margin = design.by_name["important_source"]["margin"]

    def detectable(claim: str) -> float:
        return design.plan(design.by_name[claim], n)["detectable"]

    return [
        Scenario("nothing", "all arms alike, and the sparse one's transfer lower by the margin", edge),
        Scenario(
            "one member of four",
            "dense arms forget more than the sparse one by 30 points and learn less, but not the unlocked one",
            edge | {arm: {"forgetting": 0.3, LEARNING: 0.5} for arm in DENSE},
        ),
        Scenario(
            "at the margin",
            "the sparse arm forgets more than all others, and transfers more, by the claims' margin",
            {"sparse": {"forgetting": margin, "forward_transfer": margin}},
        ),
        Scenario("shared bases", "as `nothing`, two blocks on each of n bases", edge, blocks_per_base=2),
        Scenario(
            "learns less by the margin",
            "the sparse arm learns less by the learning margin, and forgets less by 15 points",
            {
                "sparse": {
                    "forgetting": -0.15,
                    LEARNING: ALIKE[LEARNING] - design.margin,
                }
            },
        ),
        Scenario(
            "learns half",
            "the sparse arm is R0 + (R - R0) / 2 of the others: it learns half and forgets half",
            {
                **{arm: {"forgetting": 0.55} for arm in ARM_SD},
                "sparse": {"forgetting": 0.275, LEARNING: ALIKE[LEARNING] / 2},
            },
        ),
        Scenario(
            "effect on one arm",
            "dense replay forgets less, by what the plan calls detectable, and learns more by 20 points",
            edge | {"dense_replay": {"forgetting": -detectable("not_a_necessity"), LEARNING: 1.0}},
            effect="not_a_necessity",
        ),
        Scenario(
            "interaction",
            "masked writes raise forgetting by what the plan calls detectable, and learn less by 20 points",
            edge | {"masked_writes": {"forgetting": detectable("more_than_writes"), LEARNING: 0.6}},
            effect="more_than_writes",
        ),
        Scenario(
            "not inferior",
            "the sparse arm's transfer is above the margin by what the plan calls detectable; it learns more",
            {
                "sparse": {
                    "forward_transfer": edge["sparse"]["forward_transfer"] + detectable("transfer_kept"),
                    LEARNING: 1.0,
                }
            },
            effect="transfer_kept",
        ),
        Scenario(
            "skewed",
            "as `nothing`, with exponential deviations of the sparse arm (skewness 2)",
            edge,
            noise="skewed",
        ),
    ]


def true_means(scenario: Scenario) -> np.ndarray:
    """(arms, metrics) in the order of ARM_SD and METRICS."""
    return np.array([[{**ALIKE, **scenario.means.get(arm, {})}[m] for m in METRICS] for arm in ARM_SD])


def true_differences(design: Design, scenario: Scenario) -> dict:
    """(contrast, metric) -> true mean difference."""
    means = true_means(scenario)
    return {
        (name, metric): round(float(weights @ means[:, i]), 12)
        for name, weights in design.weights.items()
        for i, metric in enumerate(METRICS)
    }


def true_words(design: Design, truth: dict) -> dict:
    """claim -> the words among shown, contradicted and equivalent that would be right.

    Who is said to forget less must not have learnt less by the learning margin; neither side may where both are
    said to be equivalent.
    """
    right = {}
    for claim in design.single:
        difference, name = truth[claim["contrast"], claim["metric"]], claim["contrast"]
        learning = 0.0 if rules.is_level(design.contrasts[name]) else truth[name, LEARNING]
        plus_learns, minus_learns = learning > -design.margin, learning < design.margin
        toward = difference * (-1 if claim["direction"] == "less" else 1)
        null = -claim["margin"] if claim["rule"] == "noninferiority" else 0.0
        held = {"less": plus_learns, "more": minus_learns}  # who must have, as the plus side forgets
        if claim["metric"] != "forgetting":
            held["more"] = plus_learns
        opposite = {"less": "more", "more": "less"}[claim["direction"]]
        right[claim["name"]] = {
            "shown": toward > null and held[claim["direction"]],
            "contradicted": toward < null and held[opposite],
            "equivalent": abs(difference) < claim.get("margin", 0) and plus_learns and minus_learns,
        }
    for claim in design.claims:
        if claim["rule"] == "all_of":
            members = [right[name] for name in claim["all_of"]]
            right[claim["name"]] = {word: all(member[word] for member in members) for word in members[0]}
    return right


def draw(design: Design, scenario: Scenario, n: int, studies: int, rng) -> tuple[dict, dict]:
    """({(contrast, metric): (studies, blocks) differences}, {block: base}) of `studies` studies of n units."""
    each, arms = scenario.blocks_per_base, len(ARM_SD)
    mixing = np.linalg.cholesky(np.array(CORRELATION, dtype=float)).T

    def deviations(count: int):
        z = rng.standard_normal((studies, arms, count, len(METRICS)))
        if scenario.noise == "skewed":
            z[:, list(ARM_SD).index("sparse")] = rng.exponential(size=(studies, count, len(METRICS))) - 1
        levels = rng.standard_normal((studies, 1, count, len(METRICS))) * BLOCK_SD
        return z @ mixing * np.array(list(ARM_SD.values()))[:, None, :] + levels

    values = deviations(n * each)
    if each > 1:
        of_base = np.repeat(deviations(n), each, axis=2)
        values = math.sqrt(1 - BASE_PART) * values + math.sqrt(BASE_PART) * of_base
    values += true_means(scenario)[:, None, :]
    found = {
        (name, metric): np.tensordot(design.weights[name], values[..., METRICS.index(metric)], (0, 1))
        for name, metric in design.measured
    }
    return found, {str(block): str(block // each) for block in range(n * each)}


def calibrate(design: Design, scenario: Scenario, n: int, studies: int) -> dict:
    """Rates over `studies` synthetic studies of n units.

    covered: claim -> share of its t intervals that hold the truth; together: share of studies whose simultaneous
    intervals all do; false: word -> share of studies with a claim that gets it wrongly, and `any` of them; worst:
    share of studies in which a claim gets a wrong word, of the claim with most; words: claim -> Counter of its
    words; misplaced: number of words that say of a claim what only its declaration can.
    """
    # one noise for all scenarios of a kind: they differ in the truth alone
    rng = np.random.default_rng(seed_of("calibration", n, scenario.blocks_per_base, scenario.noise))
    truth = true_differences(design, scenario)
    right = true_words(design, truth)
    words = {claim["name"]: Counter() for claim in design.claims}
    covered, false, together = Counter(), Counter(), 0
    for first in range(0, studies, CHUNK):
        count = min(CHUNK, studies - first)
        found, bases = draw(design, scenario, n, count, rng)
        settings, blocks = design.settings(bases), list(bases)
        for study in range(count):
            samples = {
                (design.stream, *key): dict(zip(blocks, values[study].tolist(), strict=True))
                for key, values in found.items()
            }
            wrong, all_covered = set(), True
            for row in judge(design.claims, samples, settings):
                claim, word = row["claim"], row["verdict"]
                words[claim][word] += 1
                if not right.get(claim, {}).get(word, True):
                    wrong.add(word)
                if (row["contrast"], row["metric"]) in truth:
                    true = truth[row["contrast"], row["metric"]]
                    covered[claim] += row["lower"] <= true <= row["upper"]
                    if row["role"] == "confirmatory":
                        all_covered &= bool(row["simultaneous_lower"] <= true <= row["simultaneous_upper"])
            together += all_covered
            false.update([*wrong, "any"] if wrong else [])
    return {
        "covered": {claim["name"]: covered[claim["name"]] / studies for claim in design.single},
        "together": together / studies,
        "false": {word: false[word] / studies for word in ("shown", "contradicted", "equivalent", "any")},
        "worst": max(
            words[claim][word] / studies
            for claim, by_word in right.items()
            for word, is_right in by_word.items()
            if not is_right and design.by_name[claim]["role"] != "component"
        ),
        "words": words,
        "misplaced": _misplaced(design, words),
    }


def _misplaced(design: Design, words: dict) -> int:
    """Words that a claim cannot have: with six units and a spread none is descriptive; others are declared."""
    count = 0
    for claim in design.claims:
        for word, times in words[claim["name"]].items():
            declared = {
                "exploratory": claim["role"] == "exploratory",
                "not tested": claim["rule"] == "untested",
            }
            only = [w for w, is_declared in declared.items() if is_declared]
            if only:
                count += times * (word not in only)
            elif claim["role"] != "component":  # a member that alone would be significant is exploratory
                count += times * (word in ("descriptive", *declared))
    return count


def bound(nominal: float, studies: int) -> float:
    """How far a rate may lie beyond `nominal` by chance."""
    return ALLOWED * math.sqrt(nominal * (1 - nominal) / studies)


def error_row(design: Design, scenario: Scenario, n: int, found: dict, studies: int) -> tuple[str, list[str]]:
    """(line of the table, what missed its nominal rate)."""
    lowest, false, held = min(found["covered"].values()), found["false"], scenario.noise == "normal"
    share = {
        w: sum(found["words"][c][w] for c in design.family) / studies / len(design.family) for w in _SILENT
    }
    missed = []
    if held and lowest < 1 - design.level - bound(design.level, studies):
        missed.append("coverage")
    if held and found["together"] < 1 - design.level - bound(design.level, studies):
        missed.append("joint coverage")
    if held and false["any"] > design.level + bound(design.level, studies):
        missed.append("false words")
    if found["misplaced"]:
        missed.append("misplaced words")
    line = (
        f"| {scenario.name} | {n} | {lowest:.4f} | {found['together']:.4f} | {false['shown']:.4f} "
        f"| {false['contradicted']:.4f} | {false['equivalent']:.4f} | {false['any']:.4f} | {found['worst']:.4f} "
        f"| {found['misplaced']} | {share['gate failed']:.3f} | {share['not distinguished']:.3f} "
        f"| {', '.join(missed) or ('yes' if held else 'not held to it')} |"
    )
    return line, [f"{scenario.name}, n = {n}: {what}" for what in missed]


_SILENT = ("gate failed", "not distinguished")  # words that say nothing of the truth


def power_rows(design: Design, scenario: Scenario, n: int, found: dict, studies: int) -> tuple[list, list]:
    """(lines, misses): `shown` where an effect is true, `equivalent` where nothing differs, beside the plan's."""
    rows = []
    if scenario.effect:
        rows.append((scenario.effect, "shown", 0.8))
    elif scenario.name == "nothing":
        truth = true_differences(design, scenario)
        for claim in design.single:
            if claim["role"] == "confirmatory" and truth[claim["contrast"], claim["metric"]] == 0:
                rows.append((claim["name"], "equivalent", design.plan(claim, n)["tost_power"]))
    lines, missed = [], []
    for name, word, planned in rows:
        share = found["words"][name][word] / studies
        met = abs(share - planned) <= POINTS
        plan, claim = design.plan(design.by_name[name], n), design.by_name[name]
        effect = (
            f"{100 * plan['detectable']:.2f}" if word == "shown" else f"0, margin {100 * claim['margin']:g}"
        )
        lines.append(
            f"| {name} | {word} | {n} | {100 * plan['sd']:.2f} | {effect} | {planned:.3f} | {share:.3f} "
            f"| {share - planned:+.3f} | {'yes' if met else 'no'} |"
        )
        missed += [] if met else [f"{name}, n = {n}: power {share:.3f}, planned {planned:.3f}"]
    return lines, missed


def rows_of(number: int, n: int, studies: int) -> tuple[str, list, list]:
    """(line of errors, lines of power, misses) of scenario `number` with n units."""
    design = Design()
    scenario = scenarios(design, n)[number]
    if scenario.name == "nothing":  # what is called exploratory is so by its declaration: seen once
        design = Design(exploratory=True)
    found = calibrate(design, scenario, n, studies)
    line, misses = error_row(design, scenario, n, found, studies)
    lines, more = power_rows(design, scenario, n, found, studies)
    return line, lines, misses + more


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=20_000, help="of each scenario and n")
    parser.add_argument("--processes", type=int, default=1, help="scenarios that are simulated at a time")
    arguments = parser.parse_args()
    studies, began = arguments.studies, time.time()
    confirmatory = Design()
    level = confirmatory.level
    errors, powers, missed = [], [], []
    said = {scenario.name: scenario.says for scenario in scenarios(confirmatory, SIZES[0])}
    tasks = [(number, n, studies) for n in SIZES for number in range(len(said))]
    with ProcessPoolExecutor(arguments.processes) as pool:
        for line, lines, misses in pool.map(rows_of, *zip(*tasks, strict=True)):
            errors.append(line)
            powers += lines
            missed += misses
            print(line, *lines, sep="\n", flush=True)
    lines = [
        "# Calibration of the verdicts",
        "",
        f"`python benchmarks/calibration.py --studies {studies}`; numpy {np.__version__}, "
        f"{arguments.processes} processes, "
        f"{platform.machine()}, {(time.time() - began) / 60:.0f} minutes.",
        "",
        f"{studies:,} synthetic studies of each scenario and number of units n, judged by the workflow on the claims "
        f"of the default study ({len(confirmatory.family)} in Holm's family) at level {level:g}, with its variance "
        "components (in the script). Units are blocks, or bases where blocks share them.",
        "",
        *(f"- **{name}**: {says}." for name, says in said.items()),
        "",
        "## False words and coverage",
        "",
        "Coverage: of the 95 % t intervals, the claim with the lowest; joint: studies whose simultaneous intervals all "
        "hold the truth. False: studies in which any claim wrongly gets the word. Worst: share of studies in which "
        "one claim is wrong, the worst of them. Misplaced: claims called descriptive, exploratory or not tested that "
        "are not, or the reverse. Gate failed and not distinguished say nothing of the truth: share of claims in the "
        f"family. Nominal: coverage and joint at least {1 - level:g}, any false word at most {level:g}, "
        f"none misplaced; each up to {ALLOWED} Monte Carlo standard errors ({bound(level, studies):.4f}).",
        "",
        "| scenario | n | coverage | joint | false shown | false contradicted | false equivalent | any false | worst "
        "| misplaced | gate failed | not distinguished | nominal |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        *errors,
        "",
        "## Power",
        "",
        "Share of studies in which the claim gets the word, beside the plan's figure for the test at level / claims. "
        f"SD, effect and margin in points. Met: within {100 * POINTS:g} points.",
        "",
        "| claim | word | n | SD | true difference | planned | found | off | met |",
        "|---|---|---|---|---|---|---|---|---|",
        *powers,
        "",
        f"Missed: {'; '.join(missed) if missed else 'nothing'}.",
    ]
    write(ROOT / "benchmarks" / "calibration.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""The arms of a contrast: arm against arm, the interaction of a 2 x 2, or the level of one arm.

Every contrast names its estimand, the kind of difference; estimands are never pooled.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sparse_continual.errors import UserError
from sparse_continual.registry import by_name, nearest

SIZES = ((1, 1), (2, 2), (1, 0))
CONTROL = "a sparse condition, and in minus the dense one that is like it otherwise"
MATCHED = CONTROL + ", with match on {} to a topology of the same pattern and sparsity"


@dataclass(frozen=True)
class Estimand:
    """A kind of difference between arms, and all facts about it.

    en, zh: (name, meaning) in the report
    differ: the keys of a condition in which two arms may differ; None: any key
    arms: the expected arms, for a message; "" if arms may differ in any key
    """

    en: tuple[str, str]
    zh: tuple[str, str]
    differ: frozenset[str] | None = None
    arms: str = ""


ESTIMANDS = {
    "lock": Estimand(
        en=(
            "lock (sparse against unlocked)",
            "the same sparse start, absent weights locked or free to grow: "
            "the one contrast of topology alone",
        ),
        zh=("锁定（稀疏对解锁）", "同一稀疏起点，缺失的权重保持锁定或允许生长：唯一只涉及拓扑的对比"),
        differ=frozenset({"locked"}),
        arms="one sparse condition, and the same with locked: false in minus (lora: with form: side in minus)",
    ),
    "writes": Estimand(
        en=("writes (2 × 2)", "which weights a model may write, apart from which exist"),
        zh=("写入（2 × 2）", "模型可以写入哪些权重，与哪些权重存在相区分"),
        differ=frozenset({"writes", "like"}),
        arms="conditions that differ in writes and like alone",
    ),
    "same_shape": Estimand(
        en=(
            "same shape",
            "the sparse model against the dense model of its own shape, which has more weights",
        ),
        zh=("同形状", "稀疏模型对同形状的稠密模型，后者权重更多"),
        differ=frozenset({"topology"}),
        arms=CONTROL,
    ),
    "matched_nonzeros": Estimand(
        en=(
            "matched nonzeros",
            "against a smaller dense model with as many weights as the sparse one has nonzeros",
        ),
        zh=("非零数匹配", "对一个更小的稠密模型，其权重数等于稀疏模型的非零数"),
        differ=frozenset({"topology", "match"}),
        arms=MATCHED.format("nonzeros"),
    ),
    "matched_flops": Estimand(
        en=("matched FLOPs", "against a smaller dense model of equal forward FLOPs per token"),
        zh=("FLOPs 匹配", "对一个更小的稠密模型，其每词元前向 FLOPs 相等"),
        differ=frozenset({"topology", "match"}),
        arms=MATCHED.format("flops"),
    ),
    "stacking": Estimand(
        en=(
            "stacking (2 × 2)",
            "whether a mechanism adds to sparsity: its effect on a sparse and on a dense model, "
            "and their interaction",
        ),
        zh=("叠加（2 × 2）", "某一机制能否与稀疏叠加：它在稀疏与稠密模型上的效应，及二者的交互"),
        differ=frozenset({"mechanism"}),
        arms="conditions that differ in mechanism alone, the one with finetune in minus",
    ),
    "load": Estimand(
        en=(
            "load (interaction)",
            "whether the difference changes with the bits asked for per nonzero weight",
        ),
        zh=("负荷（交互）", "差值是否随每个非零权重须存储的比特数而变"),
    ),
    "level": Estimand(
        en=("level of one arm", "whether one arm forgets, or gains, at all"),
        zh=("单臂水平", "单独一臂是否遗忘或获益"),
    ),
    "as_published": Estimand(
        en=(
            "as published",
            "published checkpoints as they are, which differ in tokens and recipe too: "
            "described, never tested",
        ),
        zh=("按发布原样", "按发布原样比较检查点，它们在词元数与训练方法上也不相同：只作描述，从不检验"),
    ),
    "other": Estimand(
        en=("other", "a comparison of its own"),
        zh=("其他", "自成一项的比较"),
    ),
}


def check(contrasts: list[dict], conditions: Iterable[str]) -> None:
    """Refuse contrasts that name unknown conditions or estimands, or that have a wrong number of arms.

    Raises UserError naming the contrast.
    """
    known, used = list(conditions), set()
    for contrast in contrasts:
        name, plus, minus = contrast["name"], contrast["plus"], contrast["minus"]
        estimand, streams = contrast["estimand"], contrast.get("streams")
        where = f"study.contrasts: {name}"
        if name in used:
            raise UserError(f"{where}: the name is used twice; give each contrast its own name")
        used.add(name)
        if estimand not in ESTIMANDS:
            raise UserError(
                f"{where}: estimand {estimand!r} is unknown; expected one of {', '.join(ESTIMANDS)}"
                f"{nearest(estimand, ESTIMANDS)}"
            )
        if (len(plus), len(minus)) not in SIZES:
            raise UserError(
                f"{where}: plus has {len(plus)} and minus {len(minus)} conditions; expected one against one,"
                " two against two for an interaction, or one against none for a level"
            )
        if (estimand == "level") != is_level(contrast):
            raise UserError(
                f"{where}: estimand {estimand} with {len(minus)} conditions in minus; a level has one"
                " condition in plus and none in minus, and such a contrast is a level"
            )
        if (estimand == "load") != (streams is not None):
            raise UserError(
                f"{where}: estimand {estimand} {'without' if streams is None else 'with'} streams; a load is"
                " the same contrast on two streams, and only a load names streams: [a, b]"
            )
        if streams is not None and len(set(streams)) != 2:
            raise UserError(f"{where}: streams is {', '.join(streams)}; expected two different streams")
        if len({*plus, *minus}) != len(plus) + len(minus):
            raise UserError(f"{where}: a condition appears twice; its conditions must differ")
        for condition in (*plus, *minus):
            if condition not in known:
                raise UserError(
                    f"{where}: condition {condition!r} is not in study.conditions{nearest(condition, known)}"
                )


def check_arms(config: dict) -> list[str]:
    """A line for every contrast of a `config` (with its defaults) whose arms do not fit its estimand.

    A contrast of two against two must consist of two pairs. In each pair the arms differ as the estimand allows, by the
    same change in the same settings. `writes` arms may also differ in being locked.
    """
    lines = []
    for contrast in config["study"]["contrasts"]:
        estimand, plus, minus = contrast["estimand"], contrast["plus"], contrast["minus"]
        if ESTIMANDS[estimand].differ is None or not minus:
            continue
        if len(minus) == 1:
            fits = _fits(estimand, plus[0], minus[0], config)
        else:
            fits = any(_interact(estimand, plus, order, config) for order in (minus, minus[::-1]))
        if not fits:
            differ = sorted(set().union(*(_differ(one, other, config) for one in plus for other in minus)))
            lines.append(
                f"study.contrasts: {contrast['name']}: found estimand {estimand} of {', '.join(plus)} less "
                f"{', '.join(minus)}, which differ in {', '.join(differ) or 'nothing'}; expected "
                f"{'in pairs ' if len(minus) > 1 else ''}{ESTIMANDS[estimand].arms}; "
                "for any other comparison use estimand other"
            )
    return lines


def _differ(one: str, other: str, config: dict) -> set[str]:
    """Keys in which two conditions differ."""
    plus, minus = config["conditions"][one], config["conditions"][other]
    return {key for key in plus | minus if plus.get(key) != minus.get(key)}


def _interact(estimand: str, plus: list, minus: list, config: dict) -> bool:
    """Whether plus[0] - minus[0] - (minus[1] - plus[1]) is an interaction of this estimand."""
    conditions = config["conditions"]
    allowed = ESTIMANDS[estimand].differ | ({"locked"} if estimand == "writes" else set())
    first, second = (_differ(one, other, config) for one, other in zip(plus, minus, strict=True))
    if not first or not second or not first | second <= allowed:
        return False
    if first != second:
        return True
    one, other, again, back = (conditions[arm] for arm in (plus[0], minus[0], minus[1], plus[1]))
    # the same change
    return all(one.get(key) == again.get(key) and other.get(key) == back.get(key) for key in first)


def _fits(estimand: str, one: str, other: str, config: dict) -> bool:
    """Whether the difference of two arms fits their estimand."""
    plus, minus = config["conditions"][one], config["conditions"][other]
    topologies, mechanisms = config["topologies"], config["mechanisms"]
    differ = _differ(one, other, config)
    sparse = topologies[plus["topology"]]["method"] != "dense"
    if estimand == "lock" and differ == {"mechanism"} and sparse:
        return _locked_by_mechanism(*(mechanisms[arm["mechanism"]] for arm in (plus, minus)))
    if not differ or not differ <= ESTIMANDS[estimand].differ:
        return False
    if estimand == "lock":
        return plus["locked"]
    if estimand == "stacking":
        return _mechanism_class(mechanisms[minus["mechanism"]]["kind"]).ACTS_ON is None
    if estimand == "writes":
        return "writes" in differ
    dense = topologies[minus["topology"]]["method"] == "dense"
    if estimand == "same_shape" or not (sparse and dense):
        return sparse and dense
    match = minus.get("match")
    if not (match and estimand == f"matched_{match['on']}"):
        return False
    topology, to = topologies[plus["topology"]], topologies[match["to"]]
    return all(topology.get(key) == to.get(key) for key in ("pattern", "sparsity"))


def _mechanism_class(kind: str):
    # by name, not by import: statistics come from tables and do not depend on the code that trains
    return by_name("runs.mechanism").mechanism_class(kind)


def _locked_by_mechanism(plus: dict, minus: dict) -> bool:
    """Whether two mechanisms of one kind differ in the setting that locks absent places, and in nothing else."""
    for key, values in _mechanism_class(plus["kind"]).LOCKED_BY.items():
        others = [{name: value for name, value in one.items() if name != key} for one in (plus, minus)]
        return (plus.get(key), minus.get(key)) == values and others[0] == others[1]
    return False


def is_level(contrast: dict) -> bool:
    """Whether the contrast is the level of one arm, tested against 0."""
    return not contrast["minus"]


def arms(contrast: dict) -> tuple[str, ...]:
    """The conditions of a contrast, those of plus first."""
    return (*contrast["plus"], *contrast["minus"])


def differences(values: dict[str, dict[str, float]], plus: list[str], minus: list[str]) -> dict[str, float]:
    """Sum of `plus` minus sum of `minus`, block by block.

    `values` is condition -> block -> value. Blocks in which an arm has no defined value (NaN) are left out. Raises
    UserError naming arms and blocks if the arms were run on different blocks: then the mean is no paired difference.
    """
    first, *others = (*plus, *minus)
    blocks = list(values[first])
    for arm in others:
        alone = set(values[arm]) ^ set(blocks)
        if alone:
            only = [(a, [b for b in values[a] if b in alone]) for a in (first, arm)]
            found = " and ".join(f"{a} alone has {', '.join(extra)}" for a, extra in only if extra)
            raise UserError(
                f"scores: {first} and {arm} were not run on the same blocks: {found}; expected every arm of"
                " a contrast on every block; delete the study's scores.csv and run again"
            )
    found = {b: sum(values[a][b] for a in plus) - sum(values[a][b] for a in minus) for b in blocks}
    return {b: float(d) for b, d in found.items() if not np.isnan(d)}


def units(differences: dict[str, float], bases: dict[str, str]) -> tuple[np.ndarray, str]:
    """The values that count as n, and their unit ("block" or "base").

    `bases` is block -> base. If blocks share several bases, differences are first averaged within each base: blocks of
    one base replicate streams, not topologies. If all blocks share one base, the unit is the block, and every
    statement holds for that base alone.
    """
    groups: dict[str, list[float]] = {}
    for block, difference in differences.items():
        groups.setdefault(bases[block], []).append(difference)
    if shared(bases):
        return np.array([np.mean(group) for group in groups.values()]), "base"
    return np.array(list(differences.values()), dtype=float), "block"


def shared(bases: dict[str, str]) -> bool:
    """Whether the unit is the base: there are several, and some blocks share one."""
    return 1 < len(set(bases.values())) < len(bases)

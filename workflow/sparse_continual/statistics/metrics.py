"""Metrics of continual learning as pure functions of one score matrix.

R has shape (T + 1, T). Row i holds the scores after training task i, row 0 the scores before the
stream; column j - 1 is the task in position j of that block's order. All columns are scored in all
rows, future tasks too. Scores are shares in [0, 1], chance-corrected with `correct`, or bits with `bits`.

Definitions and why these (of the many in use, one run can show three values of "forgetting"; who
computes which is in docs/foreign_metrics.md):
- forgetting is R[j,j] - R[T,j] without a maximum: the maximum over rows is biased upwards by the
  noise of the scores, and a noisier arm would look more forgetful (`forgetting_max` is kept beside);
- forward transfer starts from row 0 of the same weights, not from a random initialisation;
- averages over past or future tasks divide by T - 1, the number of terms;
- what a task would reach alone (`single`) or together with all before it (`joint`) comes from runs of
  their own, as a vector of T scores in the order of the columns.

`@metric` holds every fact about a metric; tables, claims, gates, report and figures read them from `METRICS`, in the
order of this file.

Every function raises ValueError naming the cell for a NaN, and for a wrong shape, and UserError
when the stream has fewer than two tasks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sparse_continual.errors import UserError

METRICS: dict[str, "Metric"] = {}
SCALES = ("raw", "corrected", "bits")


@dataclass(frozen=True)
class Metric:
    """A metric and all facts about it.

    function: of R, or of R and the scores of the reference runs in `needs`
    better: less or more
    en, zh: (name, meaning) in the report
    needs: matrix (R alone), single, joint or joint_last (reference runs), base (base scores), or the name of a table of
        a secondary outcome
    columns: of that table; `function` takes their cells of one run
    reads: the cells of R that `function` reads, bool (T + 1, T), from `Cells`; None unless needs is matrix
    primary: tested; the others are described only
    level: a level rather than a difference, without a value in bits, which have no zero of their own
    ratio: undefined in a block in which nothing was gained
    gate: the side that must be shown to learn no less. favoured: the side with the better value, because a side that
        learns less scores better; plus: always the plus side; none: the metric is about learning itself
    """

    function: Callable
    better: str
    en: tuple[str, str]
    zh: tuple[str, str]
    needs: str = "matrix"
    columns: tuple[str, ...] = ()
    reads: Callable | None = None
    primary: bool = False
    level: bool = False
    ratio: bool = False
    gate: str = "plus"


def metric(**facts):
    """Decorator: enter the function into `METRICS` under its name. facts: fields of `Metric`."""

    def enter(function):
        METRICS[function.__name__] = Metric(function, **facts)
        return function

    return enter


class Cells:
    """Index arrays of R, each (T + 1, T), for `Metric.reads`."""

    def __init__(self, T: int):
        self.after, column = np.indices((T + 1, T))
        self.position = column + 1
        self.start, self.end = self.after == 0, self.after == T
        self.own, self.old = self.after == self.position, self.position < T


def check(R) -> np.ndarray:
    """R as a float array of shape (T + 1, T), T >= 2, without NaN."""
    R = np.asarray(R, dtype=float)
    if R.ndim != 2 or R.shape[0] != R.shape[1] + 1:
        raise ValueError(f"R has shape {R.shape}, expected (T + 1, T) with the row before the stream first")
    if R.shape[1] < 2:
        raise UserError(
            f"metrics: the stream has {R.shape[1]} task, but forgetting and transfer need at least 2; add"
            " tasks to the stream"
        )
    if np.isnan(R).any():
        after, column = np.argwhere(np.isnan(R))[0]
        raise ValueError(f"R is NaN after task {after} for the task in position {column + 1}")
    return R


def correct(scores, chance, ceiling):
    """(scores - chance) / (ceiling - chance), elementwise: 0 is guessing, 1 is the best possible."""
    scores, chance, ceiling = (np.asarray(a, dtype=float) for a in (scores, chance, ceiling))
    if np.any(~(ceiling > chance)):
        raise ValueError("chance-correction: a ceiling is not above its chance level")
    return (scores - chance) / (ceiling - chance)


def bits(loss):
    """Minus the loss (nats per answer token) in bits, so that more is better and differences are bits kept."""
    return -np.asarray(loss, dtype=float) / np.log(2)


@metric(
    better="less",
    primary=True,
    reads=lambda at: at.old & (at.own | at.end),
    gate="favoured",
    en=(
        "forgetting",
        "mean over tasks but the last of: score right after its training less score at the end (primary)",
    ),
    zh=("遗忘", "对除最后一个以外的任务取平均：该任务训练刚结束时的得分减去终点时的得分（主要结局）"),
)
def forgetting(R) -> float:
    """Mean over j < T of R[j,j] - R[T,j]; negative when old tasks improved."""
    return float(_lost(check(R)).mean())


@metric(
    better="more",
    primary=True,
    reads=lambda at: (at.position > 1) & (at.start | (at.after == at.position - 1)),
    en=(
        "forward transfer",
        "mean over tasks but the first of: score right before its training less score before the "
        "stream (primary)",
    ),
    zh=(
        "前向迁移",
        "对除第一个以外的任务取平均：该任务训练即将开始时的得分减去任务流开始前的得分（主要结局）",
    ),
)
def forward_transfer(R) -> float:
    """Mean over j > 1 of R[j-1,j] - R[0,j]: what earlier tasks did for a task before it was trained."""
    R = check(R)
    return float(np.mean([R[j - 1, j - 1] - R[0, j - 1] for j in range(2, R.shape[1] + 1)]))


@metric(
    better="less",
    reads=lambda at: at.old & (at.start | at.own | at.end),
    ratio=True,
    gate="favoured",
    en=(
        "fraction lost",
        "share of what was gained on the tasks but the last that is lost at the end; empty if "
        "nothing was gained",
    ),
    zh=("所得损失比例", "除最后一个以外的任务上所得的部分中，到终点时失去的比例；若一无所得则为空"),
)
def fraction_lost(R) -> float:
    """Share of what was gained that is lost again: sum of R[j,j] - R[T,j] over sum of R[j,j] - R[0,j], j < T.

    NaN when the tasks gained nothing in sum, as there is then nothing to lose a share of.
    """
    R = check(R)
    return _share(_lost(R).sum(), R)


@metric(
    better="more",
    reads=lambda at: at.own,
    level=True,
    gate="none",
    en=("learning accuracy", "mean over tasks of the score right after its training"),
    zh=("学习准确率", "对任务取平均：该任务训练刚结束时的得分"),
)
def learning_accuracy(R) -> float:
    """Mean over j of R[j,j]: each task right after it was trained (Riemer et al. 2019)."""
    R = check(R)
    return float(np.diag(R[1:]).mean())


@metric(
    better="more",
    reads=lambda at: at.end,
    level=True,
    en=("average accuracy at the end", "mean over tasks of the score at the end"),
    zh=("终点平均准确率", "对任务取平均：终点时的得分"),
)
def average_accuracy(R) -> float:
    """Mean over j of R[T,j]: all tasks at the end of the stream (ACC of Lopez-Paz and Ranzato 2017)."""
    return float(check(R)[-1].mean())


@metric(
    better="more",
    reads=lambda at: at.after >= at.position,
    level=True,
    en=("anytime average", "mean of the tasks trained so far, averaged over the stream"),
    zh=("全程平均", "至今所训练任务的平均得分，再对整个任务流取平均"),
)
def anytime_average(R) -> float:
    """Mean over i >= 1 of the mean over j <= i of R[i,j]: the tasks seen so far, averaged over the stream."""
    R = check(R)
    return float(np.mean([R[i, :i].mean() for i in range(1, len(R))]))


@metric(
    better="more",
    reads=lambda at: at.old & (at.own | at.end),
    gate="favoured",
    en=("backward transfer", "minus forgetting"),
    zh=("后向迁移", "遗忘的相反数"),
)
def backward_transfer(R) -> float:
    """Mean over j < T of R[T,j] - R[j,j]: minus `forgetting`."""
    return -forgetting(R)


@metric(
    better="less",
    reads=lambda at: at.old & (at.after >= 1),
    gate="favoured",
    en=(
        "forgetting from the best score",
        "forgetting from the best score instead of the one right after training; biased upwards by noise",
    ),
    zh=("相对最佳得分的遗忘", "从最佳得分而非训练刚结束时的得分算起的遗忘；因噪声而偏高"),
)
def forgetting_max(R) -> float:
    """Mean over j < T of (max over 1 <= l < T of R[l,j]) - R[T,j] (Chaudhry et al. 2018)."""
    R = check(R)
    return float((R[1:-1].max(axis=0) - R[-1])[:-1].mean())


@metric(
    better="less",
    reads=lambda at: at.old & (at.own | at.end),
    gate="favoured",
    en=("forgetting of the worst task", "forgetting of the task that lost most; biased upwards by noise"),
    zh=("最差任务的遗忘", "损失最大的任务的遗忘；因噪声而偏高"),
)
def worst_forgetting(R) -> float:
    """Largest over j < T of R[j,j] - R[T,j]: of the task that lost most. Biased upwards by noise, as any maximum."""
    return float(_lost(check(R)).max())


@metric(
    better="more",
    reads=lambda at: at.old & (at.start | (at.after >= at.position)),
    ratio=True,
    gate="favoured",
    en=(
        "area under the retention curve",
        "share of what was gained that is held, averaged over the rest of the stream; empty if "
        "nothing was gained",
    ),
    zh=("保持曲线下面积", "所得部分中仍保持的比例，对任务流的其余部分取平均；若一无所得则为空"),
)
def retention_area(R) -> float:
    """Area under the retention curve: share of what was gained that is held, averaged over the rest of the stream.

    Per task j < T the area under R[i,j] - R[0,j] over i = j .. T (trapezoids) divided by T - j; the sum of
    these over the sum of R[j,j] - R[0,j]. 1: nothing is ever lost; `fraction_lost` looks at the end alone. NaN
    when the tasks gained nothing in sum.
    """
    R = check(R)
    T = R.shape[1]
    held = [np.trapezoid(R[j:, j - 1] - R[0, j - 1]) / (T - j) for j in range(1, T)]
    return _share(sum(held), R)


@metric(
    better="less",
    reads=lambda at: at.own,
    gate="none",
    en=("loss of plasticity", "fall per position of the score right after training"),
    zh=("可塑性损失", "训练刚结束时的得分随位置每后移一位的下降"),
)
def plasticity_loss(R) -> float:
    """Fall of R[j,j] per position j: minus the slope of its least-squares line over 1 .. T.

    Positive when later tasks are learnt less well: loss of plasticity as a decline of per-task performance over a
    stream (Dohare et al., Nature 632, 2024). One block mixes it with the difficulty of its tasks; balanced orders
    take that out of the mean over blocks. Against a fresh network: minus `forward_transfer_single`.
    """
    R = check(R)
    position = np.arange(R.shape[1]) - (R.shape[1] - 1) / 2
    return float(-(position @ np.diag(R[1:])) / (position @ position))


@metric(
    better="more",
    needs="single",
    en=(
        "forward transfer against single-task runs",
        "mean over tasks but the first of: score right after its training less that of a run on "
        "this task alone",
    ),
    zh=(
        "相对单任务运行的前向迁移",
        "对除第一个以外的任务取平均：训练刚结束时的得分减去单独训练该任务所得的得分",
    ),
)
def forward_transfer_single(R, single) -> float:
    """Mean over j > 1 of R[j,j] - single[j]: what earlier tasks did for the learning of a task.

    single: (T,) scores of runs from the same base on one task alone. Position 1 is left out, where both are the
    same run. Minus this is the loss of plasticity against a fresh network (Dohare et al., Nature 632, 2024).
    """
    R = check(R)
    return float((np.diag(R[1:]) - _reference(single, R, "single"))[1:].mean())


@metric(
    better="less",
    needs="joint",
    gate="none",
    en=(
        "intransigence",
        "mean over tasks of: score of a run on all tasks so far together less score right after its training",
    ),
    zh=("不易学性", "对任务取平均：将至今所有任务合并训练所得的得分减去该任务训练刚结束时的得分"),
)
def intransigence(R, joint) -> float:
    """Mean over k of joint[k] - R[k,k]: what learning tasks in turn cost the newest one (Chaudhry et al. 2018).

    joint: (T,) where entry k is the score on task k of one run trained on tasks 1 .. k together.
    """
    R = check(R)
    return float((_reference(joint, R, "joint") - np.diag(R[1:])).mean())


@metric(
    better="less",
    needs="joint_last",
    gate="none",
    en=("intransigence at the end", "the same of the last task alone"),
    zh=("终点不易学性", "同上，只取最后一个任务"),
)
def intransigence_last(R, joint) -> float:
    """joint - R[T,T]: intransigence for the last task alone, from one run on all tasks together.

    joint: score of that run on task T.
    """
    R = check(R)
    if np.isnan(joint):
        raise ValueError("joint score is NaN for the last task")
    return float(joint - R[-1, -1])


@metric(
    better="more",
    needs="savings",
    columns=("score_old", "score_base"),
    en=(
        "savings in relearning",
        "mean over old tasks of: score after a few steps from the end of the stream less score "
        "after the same steps from the base",
    ),
    zh=("重学节省", "对旧任务取平均：从任务流终点出发训练少量步数后的得分减去从基座出发训练同样步数后的得分"),
)
def savings(relearnt, learnt) -> float:
    """Mean over old tasks of relearnt - learnt: scores after equally few steps, from the end of the stream and
    from the base. Positive: something is left of a task even where its score is gone (Ebbinghaus' savings)."""
    relearnt, learnt = (np.asarray(a, dtype=float) for a in (relearnt, learnt))
    if relearnt.ndim != 1 or not len(relearnt) or relearnt.shape != learnt.shape:
        raise ValueError(
            f"savings: scores of shapes {relearnt.shape} and {learnt.shape}, expected one per task"
        )
    for name, scores in (("relearnt", relearnt), ("learnt", learnt)):
        if np.isnan(scores).any():
            raise ValueError(
                f"savings: the {name} score of task {int(np.argmax(np.isnan(scores))) + 1} is NaN"
            )
    return float((relearnt - learnt).mean())


@metric(
    better="more",
    needs="base",
    gate="favoured",
    en=(
        "retention of the base",
        "score on the base's own mixture at the end less before the stream; 0 keeps all",
    ),
    zh=("基座能力保持", "基座自身混合语料在终点时的得分减去任务流开始前的得分；0 表示全部保持"),
)
def base_retention(scores) -> float:
    """Last minus first of the base mixture's scores after 0..T: 0 keeps all, negative is loss."""
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 1 or len(scores) < 2:
        raise ValueError(f"scores of the base have shape {scores.shape}, expected (T + 1,) with T >= 1")
    if np.isnan(scores).any():
        raise ValueError(f"score of the base is NaN after task {int(np.argmax(np.isnan(scores)))}")
    return float(scores[-1] - scores[0])


def _lost(R) -> np.ndarray:
    """(T - 1,) R[j,j] - R[T,j] of j < T."""
    return (np.diag(R[1:]) - R[-1])[:-1]


def _share(part, R) -> float:
    """`part` as a share of the total gain of the tasks j < T; NaN if that is nothing."""
    gained = (np.diag(R[1:]) - R[0])[:-1].sum()
    return float(part / gained) if gained > 1e-12 else float("nan")


def _reference(scores, R, name: str) -> np.ndarray:
    scores = np.asarray(scores, dtype=float)
    if scores.shape != (R.shape[1],):
        raise ValueError(f"{name} scores have shape {scores.shape}, expected ({R.shape[1]},), one per task")
    if np.isnan(scores).any():
        raise ValueError(
            f"{name} score is NaN for the task in position {int(np.argmax(np.isnan(scores))) + 1}"
        )
    return scores


# Indexes over METRICS; define every metric above this line.
PRIMARY = tuple(name for name, each in METRICS.items() if each.primary)
RATIOS = frozenset(name for name, each in METRICS.items() if each.ratio)
LEVELS = frozenset(name for name, each in METRICS.items() if each.level)
OF_MATRIX = {name: each.function for name, each in METRICS.items() if each.needs == "matrix"}
OF_REFERENCE = {  # name -> (which reference runs it needs, function of R and their scores)
    name: (each.needs, each.function)
    for name, each in METRICS.items()
    if each.needs in ("single", "joint", "joint_last")
}
OF_TABLE = {name: each for name, each in METRICS.items() if each.columns}

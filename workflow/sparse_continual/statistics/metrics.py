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

Every function raises ValueError naming the cell for a NaN, and for a wrong shape, and UserError
when the stream has fewer than two tasks.
"""

import numpy as np

from sparse_continual.errors import UserError


def check(R) -> np.ndarray:
    """R as a float array of shape (T + 1, T), T >= 2, without NaN."""
    R = np.asarray(R, dtype=float)
    if R.ndim != 2 or R.shape[0] != R.shape[1] + 1:
        raise ValueError(f"R has shape {R.shape}, expected (T + 1, T) with the row before the stream first")
    if R.shape[1] < 2:
        raise UserError(
            f"metrics: the stream has {R.shape[1]} task, and forgetting and transfer need at least 2; give"
            " the stream more tasks"
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


def learning_accuracy(R) -> float:
    """Mean over j of R[j,j]: each task right after it was trained (Riemer et al. 2019)."""
    R = check(R)
    return float(np.diag(R[1:]).mean())


def average_accuracy(R) -> float:
    """Mean over j of R[T,j]: all tasks at the end of the stream (ACC of Lopez-Paz and Ranzato 2017)."""
    return float(check(R)[-1].mean())


def anytime_average(R) -> float:
    """Mean over i >= 1 of the mean over j <= i of R[i,j]: the tasks seen so far, averaged over the stream."""
    R = check(R)
    return float(np.mean([R[i, :i].mean() for i in range(1, len(R))]))


def forgetting(R) -> float:
    """Mean over j < T of R[j,j] - R[T,j]; negative when old tasks improved."""
    return float(_lost(check(R)).mean())


def worst_forgetting(R) -> float:
    """Largest over j < T of R[j,j] - R[T,j]: of the task that lost most. Biased upwards by noise, as any maximum."""
    return float(_lost(check(R)).max())


def backward_transfer(R) -> float:
    """Mean over j < T of R[T,j] - R[j,j]: minus `forgetting`."""
    return -forgetting(R)


def forgetting_max(R) -> float:
    """Mean over j < T of (max over 1 <= l < T of R[l,j]) - R[T,j] (Chaudhry et al. 2018)."""
    R = check(R)
    return float((R[1:-1].max(axis=0) - R[-1])[:-1].mean())


def fraction_lost(R) -> float:
    """Share of what was gained that is lost again: sum of R[j,j] - R[T,j] over sum of R[j,j] - R[0,j], j < T.

    NaN when the tasks gained nothing in sum, as there is then nothing to lose a share of.
    """
    R = check(R)
    return _share(_lost(R).sum(), R)


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


def forward_transfer(R) -> float:
    """Mean over j > 1 of R[j-1,j] - R[0,j]: what earlier tasks did for a task before it was trained."""
    R = check(R)
    return float(np.mean([R[j - 1, j - 1] - R[0, j - 1] for j in range(2, R.shape[1] + 1)]))


def forward_transfer_single(R, single) -> float:
    """Mean over j > 1 of R[j,j] - single[j]: what earlier tasks did for the learning of a task.

    single: (T,) scores of runs from the same base on one task alone. Position 1 is left out, where both are the
    same run. Minus this is the loss of plasticity against a fresh network (Dohare et al., Nature 632, 2024).
    """
    R = check(R)
    return float((np.diag(R[1:]) - _reference(single, R, "single"))[1:].mean())


def intransigence(R, joint) -> float:
    """Mean over k of joint[k] - R[k,k]: what learning tasks in turn cost the newest one (Chaudhry et al. 2018).

    joint: (T,) where entry k is the score on task k of one run trained on tasks 1 .. k together.
    """
    R = check(R)
    return float((_reference(joint, R, "joint") - np.diag(R[1:])).mean())


def intransigence_last(R, joint) -> float:
    """joint - R[T,T]: intransigence for the last task alone, from one run on all tasks together.

    joint: score of that run on task T.
    """
    R = check(R)
    if np.isnan(joint):
        raise ValueError("joint score is NaN for the last task")
    return float(joint - R[-1, -1])


def plasticity_loss(R) -> float:
    """Fall of R[j,j] per position j: minus the slope of its least-squares line over 1 .. T.

    Positive when later tasks are learnt less well: loss of plasticity as a decline of per-task performance over a
    stream (Dohare et al., Nature 632, 2024). One block mixes it with the difficulty of its tasks; balanced orders
    take that out of the mean over blocks. Against a fresh network: minus `forward_transfer_single`.
    """
    R = check(R)
    position = np.arange(R.shape[1]) - (R.shape[1] - 1) / 2
    return float(-(position @ np.diag(R[1:])) / (position @ position))


def base_retention(scores) -> float:
    """Last minus first of the base mixture's scores after 0..T: 0 keeps all, negative is loss."""
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 1 or len(scores) < 2:
        raise ValueError(f"scores of the base have shape {scores.shape}, expected (T + 1,) with T >= 1")
    if np.isnan(scores).any():
        raise ValueError(f"score of the base is NaN after task {int(np.argmax(np.isnan(scores)))}")
    return float(scores[-1] - scores[0])


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


def _lost(R) -> np.ndarray:
    """(T - 1,) R[j,j] - R[T,j] of j < T."""
    return (np.diag(R[1:]) - R[-1])[:-1]


def _share(part, R) -> float:
    """`part` as a share of what the tasks j < T gained in sum; NaN when that is nothing."""
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


PRIMARY = ("forgetting", "forward_transfer")
OF_MATRIX = {
    "forgetting": forgetting,
    "forward_transfer": forward_transfer,
    "fraction_lost": fraction_lost,
    "learning_accuracy": learning_accuracy,
    "average_accuracy": average_accuracy,
    "anytime_average": anytime_average,
    "backward_transfer": backward_transfer,
    "forgetting_max": forgetting_max,
    "worst_forgetting": worst_forgetting,
    "retention_area": retention_area,
    "plasticity_loss": plasticity_loss,
}
OF_REFERENCE = {  # name -> (which reference runs it needs, function of R and their scores)
    "forward_transfer_single": ("single", forward_transfer_single),
    "intransigence": ("joint", intransigence),
    "intransigence_last": ("joint_last", intransigence_last),
}
SCALES = ("raw", "corrected", "bits")
# Levels rather than differences: of these the scale of bits, which has no zero of its own, says nothing.
LEVELS = frozenset({"learning_accuracy", "average_accuracy", "anytime_average"})

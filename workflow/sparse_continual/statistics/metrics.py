"""Metrics of continual learning as pure functions of one score matrix.

R has shape (T + 1, T). Row i holds the scores after training task i, row 0 the scores before the
stream; column j - 1 is the task in position j of that block's order. All columns are scored in all
rows, future tasks too. Scores are shares in [0, 1], or chance-corrected with `correct`.

Definitions and why these (of the many in use, one run can show three values of "forgetting"):
- forgetting is R[j,j] - R[T,j] without a maximum: the maximum over rows is biased upwards by the
  noise of the scores, and a noisier arm would look more forgetful (`forgetting_max` is kept beside);
- forward transfer starts from row 0 of the same weights, not from a random initialisation;
- averages over past or future tasks divide by T - 1, the number of terms.

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


def learning_accuracy(R) -> float:
    """Mean over j of R[j,j]: each task right after it was trained."""
    R = check(R)
    return float(np.diag(R[1:]).mean())


def average_accuracy(R) -> float:
    """Mean over j of R[T,j]: all tasks at the end of the stream."""
    return float(check(R)[-1].mean())


def forgetting(R) -> float:
    """Mean over j < T of R[j,j] - R[T,j]; negative when old tasks improved."""
    R = check(R)
    return float((np.diag(R[1:]) - R[-1])[:-1].mean())


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
    learnt = np.diag(R[1:])[:-1]
    gained = (learnt - R[0, :-1]).sum()
    return float((learnt - R[-1, :-1]).sum() / gained) if gained > 1e-12 else float("nan")


def forward_transfer(R) -> float:
    """Mean over j > 1 of R[j-1,j] - R[0,j]: what earlier tasks did for a task before it was trained."""
    R = check(R)
    return float(np.mean([R[j - 1, j - 1] - R[0, j - 1] for j in range(2, R.shape[1] + 1)]))


def base_retention(scores) -> float:
    """Last minus first of the base mixture's scores after 0..T: 0 keeps all, negative is loss."""
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 1 or len(scores) < 2:
        raise ValueError(f"scores of the base have shape {scores.shape}, expected (T + 1,) with T >= 1")
    if np.isnan(scores).any():
        raise ValueError(f"score of the base is NaN after task {int(np.argmax(np.isnan(scores)))}")
    return float(scores[-1] - scores[0])


PRIMARY = ("forgetting", "forward_transfer")
OF_MATRIX = {
    "forgetting": forgetting,
    "forward_transfer": forward_transfer,
    "fraction_lost": fraction_lost,
    "learning_accuracy": learning_accuracy,
    "average_accuracy": average_accuracy,
    "backward_transfer": backward_transfer,
    "forgetting_max": forgetting_max,
}

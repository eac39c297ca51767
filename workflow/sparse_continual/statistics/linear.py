"""Metrics that are weighted sums of the cells of R, split into the terms of single tasks.

The terms serve to leave out a task, and to find how much of a metric's variance comes from the sample of items.
"""

from functools import lru_cache

import numpy as np

from sparse_continual.statistics import metrics

LINEAR = ("forgetting", "forward_transfer", "learning_accuracy")


@lru_cache
def weights(metric: str, T: int) -> np.ndarray:
    """W of shape (T + 1, T) with metric(R) = (W * R).sum() for every R; `metric` is one of LINEAR."""
    cells = np.eye((T + 1) * T).reshape(-1, T + 1, T)
    W = np.array([metrics.OF_MATRIX[metric](cell) for cell in cells]).reshape(T + 1, T)
    W.setflags(write=False)
    return W


def terms(metric: str, R) -> np.ndarray:
    """The term of the task in each position: float[T]. Their mean over tasks that have one is the metric; NaN for a
    task without a term, such as the last one for forgetting."""
    R = np.asarray(R, dtype=float)
    W = weights(metric, R.shape[1])
    counted = W.any(axis=0)
    return np.where(counted, (W * R).sum(axis=0) * counted.sum(), np.nan)

"""A worked matrix, and what four code bases compute of it under the same names.

Values are by hand, and were confirmed by running those code bases' own metric functions on it; the functions here are
written from their formulas, without their code.
"""

import numpy as np

# Four tasks; rows: before the stream, after task 1..4.
WORKED = np.array(
    [
        [0.40, 0.25, 0.30, 0.20],
        [0.80, 0.30, 0.20, 0.10],
        [0.70, 0.80, 0.35, 0.15],
        [0.75, 0.90, 0.85, 0.40],
        [0.85, 0.60, 0.65, 0.70],
    ]
)
SINGLE = [0.80, 0.85, 0.80, 0.75]
JOINT = [0.82, 0.88, 0.83, 0.80]
UNTRAINED = [0.25, 0.20, 0.25, 0.10]  # row 0 of a random initialisation, where others begin


def others(R=WORKED, untrained=UNTRAINED, single=SINGLE) -> dict[tuple[str, str], float]:
    """(their name, who) -> value."""
    T = len(R) - 1
    learnt, last = [R[j, j - 1] for j in range(1, T + 1)], list(R[T])
    before = [R[j - 1, j - 1] for j in range(2, T + 1)]
    backward = sum(last[j] - learnt[j] for j in range(T - 1))
    forward = sum(b - u for b, u in zip(before, untrained[1:], strict=True))
    lower = [[R[i, j] if j < i else 0.0 for j in range(T)] for i in range(1, T + 1)]  # padded with zeros
    best = [max(lower[i][j] for i in range(T)) for j in range(T - 1)]
    return {
        ("backward transfer", "Mammoth, Avalanche"): backward / (T - 1),
        ("backward transfer", "GEM, SAPT"): backward / T,
        ("forgetting", "Avalanche"): -backward / (T - 1),
        ("forgetting", "Mammoth"): sum(best[j] - last[j] for j in range(T - 1)) / (T - 1),
        ("forward transfer", "Avalanche, Mammoth's formula"): forward / (T - 1),
        ("forward transfer", "GEM"): forward / T,
        ("forward transfer", "SAPT, single-task form"): sum(np.subtract(learnt, single)) / T,
    }

"""Time and memory of the sign-flip test by the number of differences, and beside scipy's permutation test.

    python benchmarks/sign_flip.py

Every number of differences has a process of its own: processor seconds of one test, imports excluded, and the peak of
memory of the process, imports included. The ratio to `scipy.stats.permutation_test`, with as many draws, is measured
in one process, one call after the other. Writes benchmarks/sign_flip.md.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import scipy
from scipy import stats

from sparse_continual.files import write
from sparse_continual.statistics import paired

SIZES = (6, 20, 21, 44, 100, 1000)
COMPARED = (21, 44, 1000)
SECONDS, MEGABYTES = 10, 500  # allowed at 1,000 differences
ROUNDS = 3


def differences(n: int):
    """n made-up differences."""
    return np.random.default_rng(n).normal(0.2, 1, n)


def by_permutation(d):
    """The same test by scipy's permutation test."""
    return stats.permutation_test(
        (d,),
        lambda x, axis: np.abs(x.sum(axis=axis)),
        permutation_type="samples",
        vectorized=True,
        n_resamples=paired.DRAWS,
        batch=paired.AT_ONCE // len(d),
        alternative="greater",
        rng=np.random.default_rng(0),
    ).pvalue


def timed(function, d) -> tuple[float, float]:
    """(processor seconds, what `function` returns) of one call."""
    begun = time.process_time()
    found = function(d)
    return time.process_time() - begun, found


def one(n: int) -> None:
    """Print seconds, megabytes and the test of n differences as JSON."""
    seconds, flip = timed(paired.sign_flip, differences(n))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([seconds, peak, *flip]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return one(options.one)
    lines = [
        "# The sign-flip test by the number of differences",
        "",
        f"`python benchmarks/sign_flip.py`; numpy {np.__version__}, scipy {scipy.__version__}, one thread,"
        f" {platform.machine()}. Median of {ROUNDS} processes each [least, most].",
        "",
        "| differences | seconds | peak, MB | p | its standard error |",
        "|---|---|---|---|---|",
    ]
    for n in SIZES:
        line = [sys.executable, __file__, "--one", str(n)]
        found = [json.loads(subprocess.check_output(line, text=True)) for _ in range(ROUNDS)]
        seconds, peaks = ([row[column] for row in found] for column in (0, 1))
        lines.append(
            f"| {n:,} | {median(seconds):.3f} [{min(seconds):.3f}, {max(seconds):.3f}] | {max(peaks):.0f} |"
            f" {found[0][2]:.3g} | {found[0][4]:.2g} |"
        )
    met = max(seconds) <= SECONDS and max(peaks) <= MEGABYTES
    lines += [
        "",
        f"Target at {SIZES[-1]:,} differences, {SECONDS} s and {MEGABYTES} MB: {'met' if met else 'missed'}.",
        "",
        "| differences | permutation_test / sign_flip, seconds | p of permutation_test | p of sign_flip |",
        "|---|---|---|---|",
    ]
    for n in COMPARED:
        d = differences(n)
        rounds = [(timed(by_permutation, d), timed(paired.sign_flip, d)) for _ in range(ROUNDS)]
        ratios = [other[0] / own[0] for other, own in rounds]
        lines.append(
            f"| {n:,} | {median(ratios):.1f} [{min(ratios):.1f}, {max(ratios):.1f}] | {rounds[0][0][1]:.3g} |"
            f" {rounds[0][1][1].p:.3g} |"
        )
    write(Path(__file__).with_suffix(".md"), "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

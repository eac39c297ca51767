"""Hidden states through one linear layer: dense, CSR and 2:4 side by side, by density, shape and number of tokens.

    python benchmarks/inference.py [--rounds 9] [--seconds 0.05]                      (one thread of this CPU)
    python benchmarks/inference.py --device cuda --rounds 21 >> benchmarks/inference.md

Every round times the dense product, the dense one again (the twin, which shows the noise) and each sparse form in
turn, so that a slow moment hits all of them; printed is the time over the dense one's of the same round, median
[quartiles] over rounds. On a CPU in float32 and in processor time, on a GPU in float16 and by CUDA events. 2:4 is
`torch.sparse.to_sparse_semi_structured`, which only GPUs from Ampere on have. Every product is compared with the dense
one before it is timed.
"""

import argparse
import platform
import statistics
import time
import warnings

import torch

SHAPES = {
    "cpu": [(1024, 1024), (2816, 1024), (4096, 4096)],
    "cuda": [(4096, 4096), (14336, 4096), (4096, 14336)],
}
TOKENS = {"cpu": [1, 16, 128], "cuda": [1, 16, 512, 4096]}
DENSITIES = [0.5, 0.3, 0.1, 0.05, 0.01]


def matrices(rows, columns, device, dtype):
    """(name, density, dense matrix with its zeros, a function of states [tokens, columns] that gives what the
    layer puts out)."""
    generator = torch.Generator().manual_seed(0)
    full = torch.randn(rows, columns, generator=generator) / columns**0.5
    order = torch.rand(rows, columns, generator=generator)
    for density in DENSITIES:
        weight = torch.where(order < density, full, 0).to(device, dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls its CSR support a beta
            csr = weight.to_sparse_csr()
            csr = torch.sparse_csr_tensor(
                csr.crow_indices().int(), csr.col_indices().int(), csr.values(), csr.shape
            )
        yield "CSR", density, weight, lambda states, csr=csr: (csr @ states.T).T
    if device == "cuda":
        groups = order.view(-1, 4)
        kept = torch.zeros_like(groups, dtype=torch.bool).scatter_(1, groups.argsort(1)[:, :2], True)
        weight = torch.where(kept.view_as(full), full, 0).to(device, dtype)
        half = torch.sparse.to_sparse_semi_structured(weight)
        yield "2:4", 0.5, weight, lambda states: torch.nn.functional.linear(states, half)


def seconds(work, least, device):
    """Seconds of one call of `work`: as many calls as `least` seconds take, and at least one."""
    calls, spent = 0, 0.0
    while spent < least:
        many = max(1, calls)
        if device == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
        else:
            begun = time.process_time()
        for _ in range(many):
            work()
        if device == "cuda":
            end.record()
            torch.cuda.synchronize()
            spent += start.elapsed_time(end) / 1000
        else:
            spent += time.process_time() - begun
        calls += many
    return spent / calls


def quartiles(ratios):
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def compare(rows, columns, tokens, device, rounds, least):
    """Print a line per form of a matrix: its time over the dense one's."""
    dtype = torch.float16 if device == "cuda" else torch.float32
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(tokens, columns, generator=generator).to(device, dtype)
    for name, density, weight, product in matrices(rows, columns, device, dtype):
        works = {key: lambda w=weight: torch.nn.functional.linear(states, w) for key in ("dense", "twin")}
        try:
            found = product(states)
        except RuntimeError as error:  # a form that has no kernel for this number of tokens
            reason = str(error).splitlines()[0]
            print(
                f"| {rows} x {columns} | {tokens} | {name} | {density:g} | | | none: {reason} |", flush=True
            )
            continue
        torch.testing.assert_close(
            found, works["dense"](), rtol=1e-2, atol=1e-2 if device == "cuda" else 1e-4
        )
        works["sparse"] = lambda: product(states)  # noqa: B023 - used up before the next product
        found = [{key: seconds(work, least, device) for key, work in works.items()} for _ in range(rounds)]
        dense = 1000 * statistics.median(one["dense"] for one in found)
        twin, ratio = (quartiles([one[key] / one["dense"] for one in found]) for key in ("twin", "sparse"))
        print(
            f"| {rows} x {columns} | {tokens} | {name} | {density:g} | {dense:.3f} | {twin} | {ratio} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.05, help="least time of one measurement")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    name = torch.cuda.get_device_name() if asked.device == "cuda" else f"one thread, {platform.machine()}"
    print(f"\ntorch {torch.__version__}; {name}; {asked.rounds} rounds, at least {asked.seconds:g} s each\n")
    print("| matrix | tokens | form | density | dense, ms | twin / dense | form / dense |")
    print("|---|---|---|---|---|---|---|")
    for rows, columns in SHAPES[asked.device]:
        for tokens in TOKENS[asked.device]:
            compare(rows, columns, tokens, asked.device, asked.rounds, asked.seconds)


if __name__ == "__main__":
    with torch.inference_mode():
        main()

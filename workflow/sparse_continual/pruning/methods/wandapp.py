"""wandapp: Wanda with the gradients of each decoder block, and a short training of the block towards its dense output
(Wanda++, Yang et al. 2025, arXiv 2503.04992; the authors' code is not public).

Regional gradients: score (alpha * G + a) * |W|, a the norm of each input over all calibration tokens as in
Wanda, G_ij = sqrt(mean over sequences of (d ||f(X)||_2 / dW_ij)^2), f the decoder block; compared as in Wanda.
Regional optimisation: `rounds` times, draw `samples` sequences, prune by the score (G as it was, a of these
sequences), and take one RMSprop step per sequence on sum (f_pruned(X) - f_dense(X))^2; absent weights move too
and may return. Then G and a are measured again on all sequences, and the block is pruned for good, matrix by matrix;
inputs are measured again after each pruned matrix (`sequential: false`: all at once, as Wanda).

Knobs: `calibration`, `alpha`, `rounds` (0: gradients alone), `samples`, `learning_rate`, `normalise`, `sequential`. a
grows with the root of the number of tokens, G does not: the authors' alpha is for 128 x 2048 tokens; `normalise:
tokens` scales a to that number. Their rate of 3e-7 is for 7B models: small models need far larger rates; choose it by
the error on calibration text.
Cost: about 2 forward and backward passes of every block over the rows, and 4 forward ones; memory: two copies
of one block and its gradients. Limits: as Wanda; overfits few rows.
"""

from sparse_continual.pruning.method import Method
from sparse_continual.streams.calibration import SCHEMA as CALIBRATION

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "calibration": CALIBRATION,
        "alpha": {"type": "number", "minimum": 0, "default": 100, "description": "weight of the gradient"},
        "rounds": {
            "type": "integer",
            "minimum": 0,
            "default": 5,
            "description": "rounds of regional optimisation",
        },
        "samples": {
            "type": "integer",
            "minimum": 1,
            "default": 32,
            "description": "sequences drawn per round",
        },
        "learning_rate": {
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 3e-7,
            "description": "RMSprop's learning rate in regional optimisation",
        },
        "normalise": {
            "enum": ["none", "tokens"],
            "default": "none",
            "description": "tokens: scale input norms to 128 x 2048 tokens",
        },
        "sequential": {
            "type": "boolean",
            "default": True,
            "description": "measure again after each pruned matrix of the block",
        },
    },
}
TOKENS = 128 * 2048  # of the authors' calibration text


def passes(options, text):
    """Passes of the walk, the gradients and the optimisation (pruning/cost.py)."""
    drawn = options["rounds"] * min(options["samples"], text.sequences) * text.tokens
    # gradients, and with optimisation also its targets and a second time the gradients
    read, learnt = (3 * text.size, 2 * text.size) if drawn else (text.size, text.size)
    optimised = text.passes(read=text.blocks * (read + 2 * drawn), learnt=text.blocks * (learnt + drawn))
    return text.walked(text.readings if options["sequential"] else 1) + optimised


def prune_matrix(weight, evidence, count):
    """(mask bool[R, C], weight) of one matrix; `evidence`: (input norms [C], alpha * gradients [R, C])."""
    from sparse_continual.pruning.select import keep

    norms, gradients = evidence
    return keep((gradients + norms) * weight.float().abs(), count, "row"), weight


def prune_block(block, job, alpha, rounds, samples, learning_rate, normalise, sequential):
    """Optimise and prune the matrices of one block."""
    import torch

    from sparse_continual.errors import UserError
    from sparse_continual.identity import seed_of
    from sparse_continual.models.load import matrix_of
    from sparse_continual.pruning.input_statistics import Squares

    everything = range(len(block.inputs))

    def norms_of(squares, rows):
        read = sum(block.inputs[row].shape[1] for row in rows)
        return squares.norms() * ((TOKENS / read) ** 0.5 if normalise == "tokens" else 1)

    def choose(name, squares, rows):
        job.prune_one(prune_matrix, name, (norms_of(squares, rows), alpha * gradients[name]))

    gradients = regional_gradients(block)
    if rounds:
        targets = [block.run(row) for row in everything]
        weights = [module.weight for module in block.linears.values()]
        optimizer = torch.optim.RMSprop(weights, lr=learning_rate)
        generator = torch.Generator().manual_seed(seed_of("regional optimisation", job.seed, block.name))
        for _ in range(rounds):
            drawn = torch.randperm(len(block.inputs), generator=generator)[:samples].tolist()
            squares = block.measure(Squares, drawn)
            for name in block.linears:
                choose(name, squares[name], drawn)
            for row in drawn:
                with torch.enable_grad():
                    loss = (block.run(row).float() - targets[row].float()).square().sum()
                    slopes = torch.autograd.grad(loss, weights, materialize_grads=True)
                if not torch.isfinite(loss):
                    raise UserError(f"{block.name}: regional optimisation diverged; lower `learning_rate`")
                for (name, module), gradient in zip(block.linears.items(), slopes, strict=True):
                    if name in job.existing:  # weights that did not exist do not return
                        gradient = gradient.masked_fill(~matrix_of(module, job.existing[name]), 0)
                    module.weight.grad = gradient
                optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        gradients = regional_gradients(block)
    waiting = list(block.linears)
    while waiting:
        squares = block.measure(Squares)
        first = squares[waiting[0]]
        # matrices with the same inputs do not change each other's inputs
        chosen = [name for name in waiting if squares[name] is first] if sequential else waiting
        for name in chosen:
            choose(name, squares[name], everything)
        waiting = [name for name in waiting if name not in chosen]


def regional_gradients(block):
    """Name -> float32 [R, C]: root mean square over the rows of the gradient of the norm of the block's output."""
    import torch

    from sparse_continual.models.load import matrix_of

    weights = [module.weight for module in block.linears.values()]
    sums = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
    for row in range(len(block.inputs)):
        with torch.enable_grad():
            slopes = torch.autograd.grad(block.run(row).float().norm(), weights, materialize_grads=True)
        for total, gradient in zip(sums, slopes, strict=True):
            total += gradient.float().square()
    roots = [(total / len(block.inputs)).sqrt() for total in sums]
    return {n: matrix_of(m, root) for (n, m), root in zip(block.linears.items(), roots, strict=True)}


METHOD = Method(
    prune_matrix,
    prune_block=prune_block,
    passes=passes,
    patterns=("unstructured", "N:M"),
    allocations=("uniform", "erk", "owl"),
    needs_calibration=True,
)

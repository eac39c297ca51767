"""Device, number format and determinism of every job that runs a model: equal in all arms of a study."""

import os
import random

from sparse_continual.errors import UserError

DTYPE = (
    "float32"  # of all weights in memory; bfloat16 would leave most of them unchanged at small learning rates
)


def device_of(gpus: int) -> str:
    """The device of a job with `gpus` GPUs.

    Raises UserError if torch cannot use them.
    """
    if not gpus:
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        raise UserError(
            f"the resource gpu of this job is {gpus}, but torch {torch.__version__} finds no CUDA device; install "
            "torch for CUDA, send the job to a node with a GPU, or train on the CPU with --set-resources RULE:gpu=0"
        )
    return "cuda"


def refuse_device(device) -> None:
    """Raise UserError for Apple's GPU: its kernels lack float64 and are not deterministic."""
    if str(device).startswith("mps"):
        raise UserError(
            f"device: found {device}, which lacks float64 and deterministic kernels; use cpu or cuda"
        )


def prepare(threads: int, seed: int) -> None:
    """Make this process deterministic: threads, denormals, deterministic kernels, seeds."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic kernels need it on a GPU
    torch.set_num_threads(threads)
    # AdamW's moments of unused rows become denormal, which makes it ten times slower
    torch.set_flush_denormal(True)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed % 2**63)
    random.seed(seed)

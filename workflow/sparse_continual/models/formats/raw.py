"""Tensors as unsigned integers: numpy has no bfloat16 and no float8, and torch cannot mask either of them."""

import numpy as np
import torch

WORDS = {1: (torch.uint8, np.uint8), 2: (torch.int16, np.uint16), 4: (torch.int32, np.uint32)}
WORDS[8] = (torch.int64, np.uint64)


def to_words(tensor: torch.Tensor) -> np.ndarray:
    """The bits of a tensor of real numbers, as unsigned integers of its width, in its shape and memory."""
    same, unsigned = WORDS[tensor.element_size()]
    return tensor.detach().view(same).numpy().view(unsigned)


def of_words(words: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """The tensor of `dtype` with these bits, in the same memory."""
    return torch.from_numpy(words.view(words.dtype.str.replace("u", "i"))).view(dtype)

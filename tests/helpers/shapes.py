"""Shapes of small Llamas, and a linear layer with a low-rank adapter."""

import torch

from sparse_continual.training.arithmetic import Shape

RANK = 4
SHAPES = [
    Shape(32, 48, 2, 4, 4, 50, tied=True),
    Shape(48, 80, 3, 6, 2, 70, tied=False),
    Shape(32, 56, 2, 4, 1, 40, tied=True, head_size=12),
]


class Adapted(torch.nn.Module):
    """y = W x + B A x, W frozen."""

    def __init__(self, linear):
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.first = torch.nn.Linear(linear.in_features, RANK, bias=False)
        self.second = torch.nn.Linear(RANK, linear.out_features, bias=False)

    def forward(self, inputs):
        return self.linear(inputs) + self.second(self.first(inputs))

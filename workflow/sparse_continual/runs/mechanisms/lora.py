"""Low-rank adaptation (LoRA: Hu et al., arXiv 2106.09685) of every block matrix, one for the whole stream.

form `masked` (default): weight = W + mask * (alpha / rank) B A. The product is cut to the existing places, so that
merging keeps the topology; on a dense model the mask is all ones and this is ordinary LoRA. The cut product is not
low-rank and about sqrt(density) smaller: the rate is tuned per arm. form `side`: peft's adapter beside the matrix,
dense for every topology; its parameters are counted as trained values.

The adapter is carried from task to task, not merged and renewed. Knobs: rank, alpha, form. Cost: the product is formed
at every step (`masked`), rank * (in + out) trained values per matrix. Limits: no mixtures that keep the matrices of
several experts in one parameter.
"""

import math

from sparse_continual.errors import UserError
from sparse_continual.identity import seed_of
from sparse_continual.runs.mechanism import Mechanism as Base
from sparse_continual.runs.mechanism import Price
from sparse_continual.training.arithmetic import (
    ends,
    lora_training_flops,
    lora_values,
    masked_lora_training_flops,
)

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["rank"],
    "properties": {
        "rank": {"type": "integer", "minimum": 1, "description": "rank of the product"},
        "alpha": {
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 16,
            "description": "the product is scaled by alpha / rank",
        },
        "form": {
            "enum": ["masked", "side"],
            "default": "masked",
            "description": "masked: cut to the topology; side: peft's dense adapter beside the matrix",
        },
    },
}


def product(module, exists, rank: int, scale: float, generator):
    """W -> W + mask * scale B A, for torch's parametrization of a linear's weight. A has one column per input, also if
    the weight is stored transposed (GPT-2's Conv1D).
    """
    import torch

    from sparse_continual.models.load import matrix_of

    class Product(torch.nn.Module):
        def __init__(self):
            super().__init__()
            weight = matrix_of(module)  # [outputs, inputs]
            self.transposed = weight is not module.weight
            rows, columns = weight.shape
            bound = 1 / math.sqrt(columns)  # kaiming_uniform_(a=sqrt(5)), as in the paper's code and in peft
            a = (2 * torch.rand(rank, columns, generator=generator) - 1) * bound
            self.A = torch.nn.Parameter(a.to(weight))
            self.B = torch.nn.Parameter(torch.zeros(rows, rank).to(weight))
            self.register_buffer("mask", None if exists is None else exists.to(weight))

        def forward(self, weight):
            """The matrix that the model uses."""
            product = scale * (self.B @ self.A)
            product = product.T if self.transposed else product
            return weight + (product if self.mask is None else product * self.mask)

    return Product()


class Mechanism(Base):
    """Trains A and B; the base's matrices do not change."""

    ACTS_ON = "places"
    WRITES = ("all",)
    LOCKED_BY = {"form": ("masked", "side")}

    @classmethod
    def price(cls, settings, shape, nonzeros, sizes):
        """The price of adapters on every block matrix."""
        rank, common = settings["rank"], {"ends_trained": sizes.ends_trained, "head": sizes.head}

        def step_flops(weights):
            if settings["form"] == "side":
                return lora_training_flops(shape, sizes.row_tokens, rank, weights, **common)
            tokens = sizes.batch_size * sizes.row_tokens
            return masked_lora_training_flops(shape, sizes.row_tokens, rank, tokens, weights, **common)

        values = lora_values(shape, rank)
        return Price(values + (ends(shape) if sizes.ends_trained else 0), step_flops)

    def attach(self):
        """Masked products by parametrization, or peft's adapters.

        Raises UserError for a parameter that holds the matrices of several experts.
        """
        from sparse_continual.models.load import Stack
        from sparse_continual.training.trainables import Tensors

        for name, module in self.setting.linears.items():
            if isinstance(module, Stack):
                raise UserError(
                    f"mechanism lora: {name} holds the matrices of {len(module.weight)} experts, expected linears "
                    "alone; use finetune or replay, or a base without experts"
                )
        return Tensors(self._masked() if self.masked else self._side())

    @property
    def masked(self):
        """Whether the product is cut to the existing places."""
        return self.settings["form"] == "masked"

    def _masked(self):
        import torch

        setting, named = self.setting, {}
        for name, module in setting.linears.items():
            generator = torch.Generator().manual_seed(seed_of("lora", setting.seed, name))
            exists = None if setting.exists is None else setting.exists[name]
            scale = self.settings["alpha"] / self.settings["rank"]
            added = product(module, exists, self.settings["rank"], scale, generator)
            torch.nn.utils.parametrize.register_parametrization(module, "weight", added)
            named |= {f"{name}.A": added.A, f"{name}.B": added.B}
        return named

    def _side(self):
        import torch
        from peft import LoraConfig, inject_adapter_in_model

        setting = self.setting
        torch.manual_seed(seed_of("lora", setting.seed))
        inject_adapter_in_model(
            LoraConfig(
                r=self.settings["rank"],
                lora_alpha=self.settings["alpha"],
                target_modules=[name.removesuffix(".weight") for name in setting.linears],
            ),
            setting.model,
        )
        for parameter in self.ends.parameters():
            parameter.requires_grad_(True)  # peft froze all parameters but its own
        return {name: p for name, p in setting.model.named_parameters() if ".lora_" in name}

    def untouched(self):
        """All of the base's matrices."""
        for name, module in self.setting.linears.items():
            yield name, module.parametrizations.weight.original if self.masked else module.weight

    def weights(self):
        """The matrices with the adapter merged in."""
        if self.masked:
            return super().weights()
        merged = {}
        for name in self.setting.linears:
            layer = self.setting.model.get_submodule(name.removesuffix(".weight"))
            merged[name] = (layer.base_layer.weight + layer.get_delta_weight("default")).detach()
        return {**merged, **self.ends.state()}

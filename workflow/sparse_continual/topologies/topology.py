"""A topology in memory: which weights of each prunable matrix exist."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from sparse_continual.errors import UserError
from sparse_continual.models.checkpoint import by
from sparse_continual.models.load import prunable, refuse_other_models
from sparse_continual.topologies import file as topology_file


@dataclass
class Topology:
    """`masks`: name of a weight parameter -> bool of its shape, True where the weight exists: [rows, columns], or
    [experts, rows, columns] for experts in one parameter.

    `record`: plain data on how it was made (settings, calibration digest, count per matrix). It is not part of the
    topology's identity; the file holds only its calibration digest. `cost`: seconds and the process's peak memory in
    bytes, which differ from run to run. `FILE`: name of its file in a model's folder.
    """

    FILE = "topology.safetensors"

    masks: dict[str, torch.Tensor]
    pattern: str
    method: str
    record: dict = field(default_factory=dict)
    cost: dict = field(default_factory=dict, compare=False)

    @property
    def density(self) -> float:
        """Existing weights over possible weights, counted over all matrices."""
        masks = self.masks.values()
        return sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)

    @property
    def sha256(self) -> str:
        """SHA-256 over name, shape and packed bits of the matrices sorted by name."""
        return self._packed().sha256

    def save(self, path) -> None:
        """Write the topology file, whole or not at all. Raises UserError for a `path` that is a folder."""
        if Path(path).is_dir():
            raise UserError(
                f"{path}: is a folder, expected the name of a file, for example {Path(path) / self.FILE}"
            )
        topology_file.save(path, self._packed())

    @classmethod
    def load(cls, path) -> "Topology":
        """The topology file at `path`. Raises UserError naming it when it is missing or damaged."""
        packed = topology_file.load(path)
        masks = {name: torch.from_numpy(packed.mask(name)) for name in packed.shapes}
        return cls(masks, packed.pattern, packed.method, dict(packed.facts))

    def check(self, model) -> None:
        """Check that `model` has the topology's matrices and no other, and that every absent weight is exactly zero.

        Raises UserError naming the tensor that is missing on either side, has another shape, or has absent weights
        that are not zero, and as `models.load.prunable`.
        """
        refuse_other_models(model)
        tensors = dict(model.named_parameters())
        for name, mask in self.masks.items():
            if name not in tensors:
                raise UserError(f"{name}: the topology has this matrix, the model has not")
            weight = tensors[name].detach()
            if weight.shape != mask.shape:
                raise UserError(f"{name}: the model's is {by(weight.shape)}, the topology's {by(mask.shape)}")
            wrong = int((weight[~mask.to(weight.device)] != 0).sum())
            if wrong:
                raise UserError(f"{name}: {wrong} weights that the topology says are absent are not zero")
        for name in prunable(model):  # a matrix outside the topology would count as dense, or grow
            if name not in self.masks:
                raise UserError(
                    f"{name}: the model has this matrix, the topology has not; use the topology of this model"
                )

    def _packed(self) -> topology_file.Bits:
        arrays = {name: mask.cpu().numpy() for name, mask in self.masks.items()}
        shapes = {name: array.shape for name, array in arrays.items()}
        packed = {name: topology_file.pack(array) for name, array in arrays.items()}
        facts = {key: self.record[key] for key in topology_file.FACTS if self.record.get(key)}
        return topology_file.Bits(shapes, packed, self.pattern, self.method, facts)

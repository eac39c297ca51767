"""Training in which absent weights do not exist: no parameter, no kept gradient, no optimizer moment.

The trainable of a set of matrices is one vector of `values`, the entries at fixed places in row-major order. The
matrices stay dense buffers for the matmuls: a hook gathers each matrix's gradient at its places and frees the dense
one; after the optimizer's step the values are scattered back. Entries outside the places are never written: zeros of a
sparse model, or the frozen dense weights for `writes: masked`. Executed FLOPs are those of the dense shape.
"""

import torch

from sparse_continual.errors import UserError


class FixedPlaces:
    """The entries of `linears` at `places`, as one trainable vector.

    linears: {weight name: nn.Linear}; places: {weight name: bool tensor of the weight's shape, True
    where a weight may be written}, of equal keys.
    """

    def __init__(self, linears: dict, places: dict):
        if linears.keys() != places.keys():
            odd = sorted(linears.keys() ^ places.keys())[0]
            raise UserError(
                f"{odd}: in the model or in the topology, but not in both; this topology belongs to another model"
            )
        self.linears, self.places, self.spans, end = linears, {}, {}, 0
        for name, module in linears.items():
            if places[name].shape != module.weight.shape:
                raise UserError(
                    f"{name}: the topology has shape {tuple(places[name].shape)}, the model "
                    f"{tuple(module.weight.shape)}; this topology belongs to another model"
                )
            inside = places[name].to(module.weight.device).flatten().nonzero().flatten()
            # half the bytes of int64; torch gathers and scatters with int32 as fast
            self.places[name] = inside.to(torch.int32) if module.weight.numel() < 2**31 else inside
            self.spans[name] = (end, end + len(inside))
            end += len(inside)
        (values,) = self.gathered({name: module.weight.detach() for name, module in linears.items()})
        self.values = torch.nn.Parameter(values)
        self.gradient = torch.zeros_like(self.values)
        self.hooks = []
        for name, module in linears.items():
            module.weight.requires_grad_(True)
            self.hooks.append(module.weight.register_post_accumulate_grad_hook(self._gather(name)))

    def _gather(self, name):
        inside, span = self.places[name], self.gradient[slice(*self.spans[name])]

        def gather(weight):
            torch.index_select(weight.grad.reshape(-1), 0, inside, out=span)
            weight.grad = None

        return gather

    @property
    def named(self) -> dict:
        """{"values": values}, the only trainable tensor."""
        return {"values": self.values}

    def gathered(self, matrices: dict) -> list:
        """The entries of `matrices` {weight name: tensor of the weight's shape} as in `named`."""
        parts = [torch.index_select(matrices[name].reshape(-1), 0, at) for name, at in self.places.items()]
        return [torch.cat(parts)]

    def parameters(self) -> list:
        """The tensors of `named`."""
        return list(self.named.values())

    def release(self) -> None:
        """Stop training: remove the hooks. Call before the matrices get other trainables."""
        for hook in self.hooks:
            hook.remove()
        for module in self.linears.values():
            module.weight.requires_grad_(False)

    def collect(self) -> None:
        """Hand the gathered gradient to the optimizer. Call after every backward pass."""
        self.values.grad = self.gradient

    @torch.no_grad()
    def refresh(self) -> None:
        """Write the values into the matrices. Call after every optimizer step."""
        for name, module in self.linears.items():
            module.weight.view(-1).scatter_(0, self.places[name], self.values[slice(*self.spans[name])])
        self.gradient.zero_()  # a matrix that the next pass skips (an expert) must not keep its old gradient

    def state(self) -> dict:
        """{weight name: its values in row-major order}: what is saved, without absent weights."""
        return {name: self.values.detach()[a:b].clone() for name, (a, b) in self.spans.items()}

    @torch.no_grad()
    def load(self, state: dict) -> None:
        """Restore values that `state` returned and write them into the matrices."""
        for name, (a, b) in self.spans.items():
            self.values[a:b] = state[name]
        self.refresh()


class Tensors:
    """Parameters trained in place, {name: parameter}: adapters, for example."""

    def __init__(self, named: dict):
        self.named = named
        for parameter in named.values():
            parameter.requires_grad_(True)

    def parameters(self) -> list:
        """The tensors of `named`."""
        return list(self.named.values())

    def release(self) -> None:
        """Stop training. Call before other tensors are trained."""
        for parameter in self.parameters():
            parameter.requires_grad_(False)

    def collect(self) -> None:
        """Do nothing: the gradients are in the parameters already."""

    def refresh(self) -> None:
        """Do nothing: the optimizer writes the parameters themselves."""

    def state(self) -> dict:
        """{name: tensor}."""
        return {name: parameter.detach().clone() for name, parameter in self.named.items()}

    @torch.no_grad()
    def load(self, state: dict) -> None:
        """Restore tensors that `state` returned."""
        for name, parameter in self.named.items():
            parameter.copy_(state[name])


class AllPlaces(Tensors):
    """Every entry of `linears` trainable in place: an ordinary dense model, or an unlocked sparse one."""

    def __init__(self, linears: dict):
        super().__init__({name: module.weight for name, module in linears.items()})

    def gathered(self, matrices: dict) -> list:
        """`matrices` {weight name: tensor of the weight's shape} as in `named`."""
        return [matrices[name] for name in self.named]


class Ends:
    """Embeddings, head, norms and biases: all parameters that are not block matrices.

    trained: whether they are written; frozen ones keep no gradient and no moment.
    """

    def __init__(self, model, linears: dict, trained: bool):
        self.named = {name: p for name, p in model.named_parameters() if name not in linears}
        self.trained = trained
        for parameter in self.named.values():
            parameter.requires_grad_(trained)

    def parameters(self) -> list:
        """The trainable ones: all or none."""
        return list(self.named.values()) if self.trained else []

    def state(self) -> dict:
        """{name: tensor} of the trainable ones, names led by `ends.`."""
        return {f"ends.{name}": p.detach().clone() for name, p in self.named.items()} if self.trained else {}

    @torch.no_grad()
    def load(self, state: dict) -> None:
        """Restore tensors that `state` returned."""
        if self.trained:
            for name, parameter in self.named.items():
                parameter.copy_(state[f"ends.{name}"])

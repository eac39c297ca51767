"""Statistics of a matrix's inputs, summed while the model reads its calibration rows.

Several methods share them, so that each method stays one file. Torch is imported inside functions, because every start
loads the methods for their settings.
"""

from sparse_continual.errors import UserError

EXACT = 4096  # inputs up to which second moments are held in float64
PANEL = 128  # rows of a symmetric product that are computed together


class Squares:
    """Sum of squares of each of `columns` inputs over all tokens: `squares`, float64 [columns]."""

    def __init__(self, columns: int, device):
        import torch

        self.squares = torch.zeros(columns, dtype=torch.float64, device=device)

    def add(self, inputs) -> None:
        """Add the inputs [..., columns] of one sequence."""
        import torch

        rows = inputs.reshape(-1, inputs.shape[-1]).to(torch.float64, copy=True)
        self.squares += rows.square_().sum(0)

    def norms(self):
        """float32 [columns]: the norm of each input over all tokens."""
        return self.squares.sqrt().float()


class SecondMoments:
    """X X^T of the inputs of one or more matrices that read the same ones.

    `QUICK`: products of one sequence are in single precision, and only the sum over sequences is in double. This is for
    methods with damping, which is far above the rounding of single precision.
    """

    QUICK = False

    def __init__(self, columns: int, device):
        import torch

        dtype = torch.float64 if columns <= EXACT else torch.float32
        self._products = torch.zeros(columns, columns, dtype=dtype, device=device)
        self.sequences = 0
        self.notes = {}  # for the record: damping, dead inputs
        self._factors = {}

    def add(self, inputs) -> None:
        """Add the inputs [..., columns] of one sequence."""
        import torch

        quick = torch.promote_types(inputs.dtype, torch.float32)
        inputs = inputs.reshape(-1, inputs.shape[-1]).to(quick if self.QUICK else self._products.dtype)
        for at in range(0, inputs.shape[1], PANEL):  # on and above the diagonal; `products` mirrors the rest
            self._products[at : at + PANEL, at:] += inputs[:, at : at + PANEL].T @ inputs[:, at:]
        self.sequences += 1

    @property
    def products(self):
        """X X^T [columns, columns] of all sequences that were added."""
        for at in range(PANEL, len(self._products), PANEL):
            self._products[at:, at - PANEL : at] = self._products[at - PANEL : at, at:].T
        return self._products

    def hessian(self):
        """H = 2 / n * X X^T [columns, columns] over n sequences; the layer error is 1/2 tr((v - w) H (v - w)^T)."""
        return self.products * (2 / self.sequences)

    def factor(self, damping: float):
        """(U [columns, columns] upper with H^-1 = U^T U, dead bool[columns]: inputs that were always zero).

        Dead inputs get 1 on H's diagonal; then `damping` times the mean of the diagonal is added to all of it.

        Raises UserError when H is not finite or its factorisation fails; there is no fallback.
        """
        if damping not in self._factors:
            self._factors[damping] = self._factorise(damping)
        return self._factors[damping]

    def _factorise(self, damping: float):
        import torch

        hessian = self.hessian()
        diagonal = hessian.diagonal()
        dead = diagonal == 0
        diagonal[dead] = 1
        diagonal += damping * diagonal.mean()
        factor, failed = torch.linalg.cholesky_ex(hessian)
        if not failed:
            factor, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(factor), upper=True)
        if failed or not torch.isfinite(factor).all():
            raise UserError(
                f"the inputs' second moments cannot be factorised at damping {damping}: the model's activations are "
                "broken, or `damping` is too small"
            )
        self.notes |= {"damping": damping, "dead": int(dead.sum())}
        return factor, dead

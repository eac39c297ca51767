"""What a caller hands to `prune` besides the model, looked at first: what is of another type ends as one line."""

from collections.abc import Mapping

import numpy as np
import torch

from sparse_continual.errors import UserError

TOKENS = "token ids, int64 [sequences, tokens], or a list of 1-D tensors"


def sparsity(value):
    """`value` as Python's own number; of numpy's the decimal number that it is written as. None stays None.

    Raises UserError for what is no number; whether it fits is for the pattern to say.
    """
    if isinstance(value, (np.integer, np.floating)):
        return float(str(value))
    if value is not None and (not isinstance(value, (int, float)) or isinstance(value, bool)):
        raise UserError(f"sparsity {value!r:.40}: expected a number, 0 <= sparsity < 1, for example 0.5")
    return value


def seed(value) -> int:
    """`value` as Python's own integer. Raises UserError for what is none."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise UserError(f"seed {value!r:.40}: expected an integer, for example 0")
    return int(value)


def rows(model, method: str, calibration) -> list:
    """Checked calibration rows: 1-D int64 tensors."""
    if calibration is not None:
        _refuse_no_rows(calibration)
    if calibration is None or not len(calibration):
        raise UserError(f"method {method}: found no calibration sequences, expected at least one")
    vocabulary = model.get_input_embeddings().weight.shape[0]
    longest = getattr(model.config, "max_position_embeddings", None)
    found = list(calibration)
    for number, row in enumerate(found):
        where = f"calibration sequence {number}"
        if not torch.is_tensor(row) or row.dim() != 1 or row.dtype not in (torch.int64, torch.int32):
            mend = _mend(row, "give those of each sequence as a 1-D tensor")
            raise UserError(f"{where}: found {_kind(row)}, expected token ids, int64 [tokens]; {mend}")
        if len(row) < 2:
            raise UserError(f"{where}: too short: found {len(row)} tokens, expected at least 2")
        if longest and len(row) > longest:
            raise UserError(f"{where}: found {len(row)} tokens, the model reads at most {longest}")
        if row.min() < 0 or row.max() >= vocabulary:
            worst = int(row.min()) if row.min() < 0 else int(row.max())
            raise UserError(
                f"{where}: found token id {worst}, the model's vocabulary has {vocabulary}; the text was made "
                "with another tokenizer"
            )
    return found


def _refuse_no_rows(calibration) -> None:
    """Raise UserError for what has no rows to be taken one by one, or other things than rows."""
    if isinstance(calibration, Mapping):  # of a tokenizer
        raise UserError(
            f'calibration: found {_kind(calibration)}, expected {TOKENS}; pass its ["input_ids"] as a tensor'
        )
    if not isinstance(calibration, (torch.Tensor, list, tuple)) or (
        torch.is_tensor(calibration) and not calibration.dim()
    ):
        mend = _mend(calibration, "make it a list of tensors (torch.as_tensor of each sequence)")
        raise UserError(f"calibration: found {_kind(calibration)}, expected {TOKENS}; {mend}")


def _kind(found) -> str:
    return f"{found.dtype} of shape {list(found.shape)}" if torch.is_tensor(found) else type(found).__name__


def _mend(found, otherwise: str) -> str:
    return "have a tokenizer make them" if isinstance(found, str) else otherwise

"""Validate the arguments of `prune`; wrong types raise a one-line UserError."""

from collections.abc import Mapping

import numpy as np
import torch

from sparse_continual.errors import UserError

TOKENS = "token ids, int64 [sequences, tokens], a list of 1-D tensors, or what a tokenizer returned"


def sparsity(value):
    """`value` as a Python float or int; a numpy number by its decimal text. None stays None.

    Raises UserError for a value that is not a number. The pattern checks the range.
    """
    if isinstance(value, (np.integer, np.floating)):
        return float(str(value))
    if value is not None and (not isinstance(value, (int, float)) or isinstance(value, bool)):
        raise UserError(f"sparsity {value!r:.40}: expected a number, 0 <= sparsity < 1, for example 0.5")
    return value


def seed(value) -> int:
    """`value` as a Python int. Raises UserError for a value that is not an integer."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise UserError(f"seed {value!r:.40}: expected an integer, for example 0")
    return int(value)


def rows(model, method: str, calibration) -> list:
    """Calibration rows, checked: 1-D int64 tensors, without the padding that an attention mask marks."""
    if calibration is not None:
        _refuse_no_rows(calibration)
    if calibration is None or not len(calibration):
        raise UserError(f"method {method}: found no calibration sequences, expected at least one")
    vocabulary = model.get_input_embeddings().weight.shape[0]
    longest = getattr(model.config, "max_position_embeddings", None)
    unpadded, unmarked = _unpadded(calibration)
    for number, row in enumerate(unpadded):
        where = f"calibration sequence {number}"
        if not torch.is_tensor(row) or row.dim() != 1 or row.dtype not in (torch.int64, torch.int32):
            remedy = _remedy(row, "give those of each sequence as a 1-D tensor")
            raise UserError(f"{where}: found {_kind(row)}, expected token ids, int64 [tokens]; {remedy}")
        if len(row) < 2:
            raise UserError(f"{where}: too short: found {len(row)} tokens, expected at least 2")
        if longest and len(row) > longest:
            raise UserError(f"{where}: found {len(row)} tokens, the model reads at most {longest}")
        if row.min() < 0 or row.max() >= vocabulary:
            worst = int(row.min()) if row.min() < 0 else int(row.max())
            raise UserError(
                f"{where}: found token id {worst}, but the model's vocabulary has {vocabulary} tokens; use the "
                "model's own tokenizer"
            )
    if unmarked:
        _refuse_padding(torch.stack(unpadded), model.config)
    return unpadded


def _unpadded(calibration) -> tuple[list, bool]:
    """(rows without padding, whether the rows have one length and may hold padding that no mask marks)."""
    if isinstance(calibration, Mapping):  # from a tokenizer
        return _unpadded_encoding(calibration)
    if torch.is_tensor(calibration):
        return list(calibration), calibration.dim() == 2
    rows = []
    for member in calibration:  # an encoding per text, or a row
        rows += _unpadded_encoding(member)[0] if isinstance(member, Mapping) else [member]
    return rows, False


def _unpadded_encoding(encoding) -> tuple[list, bool]:
    """`_unpadded` of {input_ids, attention_mask}: the tokens of each row whose mask is 1."""
    rows = _members(encoding, "input_ids")
    if encoding.get("attention_mask") is None:
        lengths = {len(row) for row in rows if row.dim() == 1}
        return rows, len(rows) > 1 and len(lengths) == 1
    masks = _members(encoding, "attention_mask")
    if [row.shape for row in rows] != [mask.shape for mask in masks]:
        raise UserError(
            "calibration: input_ids and attention_mask have different shapes; give both as the tokenizer returned them"
        )
    for number, mask in enumerate(masks):
        where = f"calibration sequence {number}: attention_mask"
        if not ((mask == 0) | (mask == 1)).all():
            raise UserError(
                f"{where}: found other values than 0 and 1, expected 1 for text and 0 for padding"
            )
        text = mask.nonzero().flatten()
        if len(text) and int(text[-1] - text[0]) + 1 != len(text):
            raise UserError(f"{where}: found 0 between ones, expected padding only before or after the text")
    return [row[mask.to(row.device) == 1] for row, mask in zip(rows, masks, strict=True)], False


def _members(encoding, key: str) -> list:
    """1-D tensors that a tokenizer returned under `key`, for one text or for several."""
    value = encoding.get(key)
    try:
        if isinstance(value, (list, tuple)) and not all(isinstance(one, int) for one in value):
            members = [torch.as_tensor(one) for one in value]
        else:
            whole = torch.as_tensor(value)
            members = list(whole if whole.dim() > 1 else whole[None])
    except (TypeError, ValueError, RuntimeError):
        members = []
    if not members or any(member.dim() != 1 for member in members):
        raise UserError(
            f"calibration: found {key} {_kind(value)}, expected {{input_ids, attention_mask}} as a tokenizer returns "
            "them, one row of token ids per text"
        )
    return members


def _refuse_padding(rows, config) -> None:
    """Raise UserError if `rows` [sequences, tokens] begin or end with tokens that look like padding.

    Without a mask this is a guess. These count as padding: the config's pad token at the end of a row (two of it if it
    is also a start or end token); two end tokens; two tokens 0, which fill tensors by hand; any other token that is at
    the same end of two rows, twice in one of them, and nowhere else.
    """
    pad, start, end = (getattr(config, f"{kind}_token_id", None) for kind in ("pad", "bos", "eos"))
    ends = set(end) if isinstance(end, (list, tuple)) else {end}
    for place, table in (("ends", rows.flip(1)), ("begins", rows)):
        first = table[:, 0]
        runs = (table == first[:, None]).cumprod(1).sum(1)
        for number, (token, run) in enumerate(zip(first.tolist(), runs.tolist(), strict=True)):
            padding = token == pad and token not in ends | {start}
            padding |= run > 1 and token in {pad, 0} | ends
            if run > 1 and token != start and not padding:
                equal = first == token
                padding = int(equal.sum()) > 1 and int((table == token).sum()) == int(runs[equal].sum())
            if padding:
                raise UserError(
                    f"calibration sequence {number}: {place} with {run} times token {token}, which looks like padding, "
                    "and padding would be measured as text; pass the tokenizer's output, input_ids with its "
                    "attention_mask, or a list of 1-D tensors without padding (a list is not checked for padding)"
                )


def _refuse_no_rows(calibration) -> None:
    """Raise UserError if `calibration` is not a sequence of rows."""
    if isinstance(calibration, Mapping):
        return
    if not isinstance(calibration, (torch.Tensor, list, tuple)) or (
        torch.is_tensor(calibration) and not calibration.dim()
    ):
        remedy = _remedy(calibration, "make it a list of tensors (torch.as_tensor of each sequence)")
        raise UserError(f"calibration: found {_kind(calibration)}, expected {TOKENS}; {remedy}")


def _kind(value) -> str:
    return f"{value.dtype} of shape {list(value.shape)}" if torch.is_tensor(value) else type(value).__name__


def _remedy(value, otherwise: str) -> str:
    return "have a tokenizer make them" if isinstance(value, str) else otherwise

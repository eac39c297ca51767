"""Batches of token rows, the loss on them, and which rows belong to which training step.

Rows are padded on the right: under a causal mask no counted token sees the padding, so no attention mask is needed. The
order of rows is a pure function of (seed, step), so that resuming needs only the step.
"""

from functools import lru_cache
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F

from sparse_continual.errors import UserError
from sparse_continual.identity import seed_of
from sparse_continual.streams.tasks import Split

IGNORED = -100
CHUNK = 256  # steps of a mixture drawn at once

_kept: WeakKeyDictionary = WeakKeyDictionary()


class Batches:
    """A split's rows on a device; a batch is one gather from its flat tokens, and no padding is stored."""

    def __init__(self, split: Split, device="cpu"):
        self.tokens = torch.from_numpy(split.tokens.astype(np.int64)).to(device)
        self.starts = torch.from_numpy(split.starts[:-1]).to(device)
        self.lengths = torch.from_numpy(np.diff(split.starts)).to(device)
        self.answers = torch.from_numpy(split.answers.astype(np.int64)).to(device)
        self.columns = torch.arange(int(np.diff(split.starts).max(initial=0)), device=device)

    def batch(self, rows) -> dict:
        """{input_ids, labels}: long[rows, longest]; labels are -100 before the answer and after the end."""
        rows = torch.as_tensor(rows, device=self.tokens.device)
        lengths = self.lengths[rows, None]
        columns = self.columns[: int(lengths.max())]
        inside = columns < lengths
        at = self.starts[rows, None] + columns
        ids = self.tokens[at.clamp_(max=len(self.tokens) - 1)]
        counted = inside & (columns >= self.answers[rows, None])
        return {"input_ids": ids.masked_fill(~inside, 0), "labels": ids.masked_fill(~counted, IGNORED)}


def collate(split: Split, rows, device="cpu") -> dict:
    """{input_ids, labels} of the numbered rows, as `Batches.batch`. The split stays on the device while it lives."""
    by_device = _kept.setdefault(split, {})
    key = str(device)
    if key not in by_device:
        by_device[key] = Batches(split, device)
    return by_device[key].batch(rows)


def refuse_beyond(model, split: Split, name: str) -> None:
    """Raise UserError if the split called `name` has a token without an embedding in `model`.

    A module without `get_input_embeddings` is not checked.
    """
    if not hasattr(model, "get_input_embeddings"):
        return
    highest, rows = int(split.tokens.max(initial=0)), model.get_input_embeddings().weight.shape[0]
    if highest >= rows:
        raise UserError(
            f"{name}: found token id {highest}, but the model's embedding has {rows} rows; another tokenizer built "
            "these rows: build them with the tokenizer beside the model's weights"
        )


def logits_and_targets(model, batch: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """(float logits[B, P, V], long targets[B, P]) at the P positions that predict some row's counted token.

    The head runs only at those positions, which is exact: a logit depends only on the hidden state of its position.
    """
    following = batch["labels"][:, 1:]
    positions = (following != IGNORED).any(0).nonzero().squeeze(1)
    logits = model(input_ids=batch["input_ids"], use_cache=False, logits_to_keep=positions).logits
    return logits.float(), following[:, positions]


def loss_of(model, batch: dict) -> torch.Tensor:
    """Mean cross-entropy, in nats, over the counted tokens of the batch; a scalar with gradient."""
    logits, targets = logits_and_targets(model, batch)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


@lru_cache(maxsize=16)
def _permutation(rows: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng(seed_of("rows", seed, epoch)).permutation(rows)


def _span(rows: int, seed: int, first: int, count: int) -> np.ndarray:
    """Rows number first..first+count-1 of an endless sequence of epochs, each without replacement."""
    places = np.arange(first, first + count)
    epochs = places // rows
    epoch_rows = [_permutation(rows, seed, int(e))[places[epochs == e] % rows] for e in np.unique(epochs)]
    return np.concatenate(epoch_rows) if epoch_rows else places


def batch_rows(rows: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """int64[batch_size]: the rows of step `step` (from 0). Epochs follow without a gap or a short batch."""
    return _span(rows, seed, step * batch_size, batch_size)


@lru_cache(maxsize=4)
def _entries(shares: tuple, batch_size: int, seed: int, chunk: int) -> np.ndarray:
    """int64[CHUNK, entries]: how many rows each step of a chunk takes from each entry of a mixture."""
    rng = np.random.default_rng(seed_of("mixture", seed, chunk))
    return rng.multinomial(batch_size, np.array(shares) / sum(shares), size=CHUNK)


@lru_cache(maxsize=4)
def _before(shares: tuple, batch_size: int, seed: int, chunk: int) -> np.ndarray:
    """int64[entries]: rows taken from each entry before a chunk."""
    total = np.zeros(len(shares), np.int64)
    for earlier in range(chunk):
        total += _entries(shares, batch_size, seed, earlier).sum(0)
    return total


def mixture_rows(sizes, shares, batch_size: int, seed: int, step: int) -> list[tuple[int, np.ndarray]]:
    """[(entry, int64 rows)] of one step of pretraining. Each row's entry is drawn with probability share / sum of
    shares; every entry's rows come in epochs without replacement. Entries without rows in this step are left out.
    """
    shares = tuple(shares)
    chunk, within = divmod(step, CHUNK)
    counts = _entries(shares, batch_size, seed, chunk)
    first = _before(shares, batch_size, seed, chunk) + counts[:within].sum(0)
    return [
        (entry, _span(sizes[entry], seed_of("entry", seed, entry), int(first[entry]), int(count)))
        for entry, count in enumerate(counts[within])
        if count
    ]

"""Distillation in recovery: the model follows the distribution and the hidden states of its dense parent.

Logits (Hinton et al. 2015, arXiv 1503.02531, section 2): temperature^2 KL(teacher || student) per predicted
token, both distributions softened. SquareHead (Kurtic et al. 2023, arXiv 2310.06927; IST-DASLab/SparseFinetuning):
per decoder block MSE(student, teacher) / MSE(teacher, 0) of the hidden states over all real tokens, summed over
blocks. As in the authors' code the states are transformers' `hidden_states` after each block (the last one normed)
without the embeddings. A teacher's energy below ENERGY counts as ENERGY, so that a block whose states are all zeros
gives a finite loss; this changes no other loss.

Cost: one forward pass of the teacher a step, and its weights in memory. Limits: teacher and student read the same
tokens, and have the same number of blocks and the same width.
"""

import torch

from sparse_continual.training.batches import IGNORED, logits_and_targets

ENERGY = 1e-6  # least sum of squares of a teacher's block: far below one token of a trained model


def divergence(student, teacher, temperature=1.0):
    """temperature^2 KL(teacher || student) in nats, [...], of logits [..., V]."""
    log_p, log_q = (torch.log_softmax(logits / temperature, -1) for logits in (teacher, student))
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(-1)


def squarehead(student, teacher, real):
    """Sum over blocks of the squared distance to the teacher relative to the teacher's own square, a scalar.

    student, teacher: hidden states of each block, [B, L, width]; real: bool[B, L], False at padding.
    """
    real = real.unsqueeze(-1)
    terms = [
        ((s - t).square() * real).sum() / (t.square() * real).sum().clamp(min=ENERGY)
        for s, t in zip(student, teacher, strict=True)
    ]
    return torch.stack(terms).sum()


class Distillation:
    """loss(model, batch) of a student: cross-entropy as `batches.loss_of`, plus the weighted terms of a teacher.

    teacher: a model, which is not trained; logits, squarehead: weights of the terms, None for an unused one. `parts`:
    of every batch so far, the unweighted terms, numbers by name.
    """

    def __init__(self, teacher, logits=None, squarehead=None, temperature=1.0):
        self.teacher, self.logits, self.squarehead = teacher.eval(), logits, squarehead
        self.temperature, self.parts = temperature, []

    def __call__(self, model, batch: dict):
        with torch.no_grad():
            teacher = _Reading(self.teacher, self.squarehead)
            teacher_logits, _ = logits_and_targets(teacher, batch)
        student = _Reading(model, self.squarehead)
        logits, targets = logits_and_targets(student, batch)
        text = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED
        )
        loss, parts = text, {"text": text}
        if self.logits:
            counted = targets != IGNORED
            each = divergence(logits, teacher_logits, self.temperature)
            parts["logits"] = (each * counted).sum() / counted.sum()
            loss = loss + self.logits * parts["logits"]
        if self.squarehead:
            parts["squarehead"] = squarehead(student.states, teacher.states, _real(batch["labels"]))
            loss = loss + self.squarehead * parts["squarehead"]
        self.parts.append({name: term.item() for name, term in parts.items()})
        return loss


class _Reading:
    """A model as `logits_and_targets` calls it; it keeps the hidden states after each block at the `wanted` places."""

    def __init__(self, model, keeps_states):
        self.model, self.wanted = model, bool(keeps_states)

    def __call__(self, **inputs):
        read = self.model(**inputs, output_hidden_states=self.wanted)
        self.states = read.hidden_states[1:] if self.wanted else ()
        return read


def _real(labels):
    """bool[B, L]: the real tokens of each row. The last real token is always predicted; padding follows."""
    places = torch.arange(labels.shape[1], device=labels.device)
    last = torch.where(labels != IGNORED, places, -1).amax(1, keepdim=True)
    return places <= last

"""Option scores without the prior of each option: a secondary outcome, never used for tuning.

A model that has drifted to favour one label loses score without having lost the task. So each option's loss is reduced
by its loss under a content-free prompt: the common start and end of the task's prompts (start token and cue). Sources:
contextual calibration (Zhao et al., arXiv 2102.09690), there with "N/A" as content and on probabilities; as a
difference of log-likelihoods it is the domain conditional PMI of Holtzman et al., arXiv 2104.08315.
"""

import numpy as np

from sparse_continual.errors import UserError
from sparse_continual.streams.tasks import Split, Task, make_split
from sparse_continual.training.measure import Measured, judge_options, measure, option_losses

# digits of a difference of losses in nats; further digits are rounding of float32 and would break ties at random
DIGITS = 5


def calibrated(model, task: Task, batch_size: int) -> Measured:
    """The test split of a task of kind "options": scores by calibrated losses; losses as from `measure`."""
    training = model.training
    model.eval()
    try:
        losses = option_losses(model, task.test, batch_size)
    finally:
        model.train(training)
    judged = judge_options(task.test, np.round(losses - prior(model, task, batch_size), DIGITS))
    return Measured(judged.score, judge_options(task.test, losses).loss)


def prior(model, task: Task, batch_size: int) -> np.ndarray:
    """float64[rows of the test split]: mean loss of each row's answer under the content-free prompt.

    Raises UserError for a task whose prompts have no token in common: the content-free prompt would be empty.
    """
    prompt = content_free(task.test)
    if not prompt:
        raise UserError(
            f"task {task.name!r}: its prompts share neither start nor end, so there is no content-free prompt; "
            "expected a start token or a cue; remove study.secondary.calibrated_options"
        )
    answers = [tuple(task.test.row(i)[task.test.answers[i] :].tolist()) for i in range(task.test.rows)]
    options = sorted(set(answers))
    alone = make_split([[*prompt, *option] for option in options], [len(prompt)] * len(options))
    by_token = Task(task.name, "tokens", alone, alone, alone, task.parts)  # its loss is each row's own
    losses = dict(zip(options, measure(model, by_token, "test", batch_size).loss, strict=True))
    return np.array([losses[answer] for answer in answers])


def content_free(split: Split) -> list[int]:
    """The common first tokens of all prompts of `split`, then their common last tokens. Where these would overlap in
    the shortest prompt, the tokens count once, as a beginning. If all prompts are equal: that prompt."""
    prompts = sorted({tuple(split.row(i)[: split.answers[i]].tolist()) for i in range(split.rows)}, key=len)
    shortest, first = prompts[0], prompts[-1]
    start = 0
    while start < len(shortest) and all(p[start] == first[start] for p in prompts):
        start += 1
    end = 0
    while end < len(shortest) - start and all(p[-1 - end] == first[-1 - end] for p in prompts):
        end += 1
    return list(shortest[:start] + shortest[len(shortest) - end :])

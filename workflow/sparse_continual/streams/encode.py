"""Text to token rows, with any tokenizer.

A row is [bos] prompt answer. Prompt and answer are encoded apart, so the boundary is exact and all
options of an item see the same prompt.
"""

from dataclasses import dataclass

from sparse_continual.errors import UserError
from sparse_continual.streams.tasks import Split, make_split

UNKNOWN_SHARE = 0.5


class Encoder:
    """A tokenizer as the sources need it. `bos`: list with the start token, empty where there is none."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        self._answers = {}

    def texts(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, nothing added. Long texts are no error here, so no warning either."""
        if not texts:
            return []
        return self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]

    def answer(self, text: str) -> list[int]:
        """Token ids of `text` as the continuation, after a space, of something.

        Whether the space belongs to the word, to a mark before it or to nothing depends on the
        tokenizer, so the ids are what `text` adds behind a word.
        """
        if text not in self._answers:
            (head,), (both,) = self.texts(["a"]), self.texts([f"a {text}"])
            found = both[len(head) :] if both[: len(head)] == head else self.texts([f" {text}"])[0]
            self._answers[text] = found
        return self._answers[text]

    def refuse_unknown(self, rows: list[list[int]], what: str) -> None:
        """Raise UserError when more than half the tokens of `rows` are the unknown token."""
        unknown = self.tokenizer.unk_token_id
        total = sum(map(len, rows))
        lost = sum(row.count(unknown) for row in rows)
        if lost > UNKNOWN_SHARE * total:
            raise UserError(
                f"{what}: {lost} of {total} tokens are unknown to the tokenizer; expected at most half; "
                "use a base whose tokenizer was made for such text (a generated one knows its words only)"
            )


def exact_split(encoder: Encoder, prompts: list[str], answers: list[str], parts=None) -> Split:
    """One row per item: the prompt, then its answer."""
    rows, starts = [], []
    for prompt, answer in zip(encoder.texts(prompts), answers, strict=True):
        rows.append(encoder.bos + prompt + encoder.answer(answer))
        starts.append(len(encoder.bos) + len(prompt))
    return make_split(rows, starts, parts=parts)


@dataclass
class Overflow:
    """What to do with an item longer than `max_tokens`, and how often it was done.

    policy: "error", "truncate_input" (cut the end of the sentence; cue and answer stay whole) or "drop".
    """

    max_tokens: int
    policy: str
    cut: int = 0
    dropped: int = 0


def options_split(
    encoder: Encoder,
    sentences: list[str],
    cue: str,
    options: list[str],
    correct: list[int],
    names: list[str],
    overflow: Overflow,
    only_right: bool,
) -> Split:
    """Rows [bos] sentence cue option: one per option, or the right one alone where `only_right`.

    correct: index of the right option of each sentence. names: file and item, for errors.
    Room is always kept for the longest option, so that all options of an item, and of its task in
    training and test, see the same words. `overflow` counts the items cut and dropped.

    Raises UserError when an item is too long under policy "error", or `max_tokens` leaves no room at all.
    """
    (cue_ids,), option_ids = encoder.texts([cue]), [encoder.answer(option) for option in options]
    fixed = len(encoder.bos) + len(cue_ids) + max(map(len, option_ids))
    room = overflow.max_tokens - fixed
    if room < 1:
        raise UserError(
            f"{names[0]}: max_tokens is {overflow.max_tokens}, start, cue and longest label take {fixed}; "
            f"set max_tokens to more than {fixed}"
        )
    encoded = encoder.texts(sentences)
    encoder.refuse_unknown(encoded, names[0])
    rows, answers, items, right = [], [], [], []
    for number, sentence in enumerate(encoded):
        if len(sentence) > room:
            if overflow.policy == "error":
                raise UserError(
                    f"{names[number]}: {len(sentence) + fixed} tokens found, {overflow.max_tokens} allowed; "
                    "raise max_tokens, or set overflow to truncate_input or drop"
                )
            if overflow.policy == "drop":
                overflow.dropped += 1
                continue
            overflow.cut += 1
            sentence = sentence[:room]
        prompt = encoder.bos + sentence + cue_ids
        chosen = [option_ids[correct[number]]] if only_right else option_ids
        rows.extend(prompt + option for option in chosen)
        answers.extend(len(prompt) for _ in chosen)
        items.extend(len(right) for _ in chosen)
        right.append(0 if only_right else correct[number])
    return make_split(rows, answers, items, right)

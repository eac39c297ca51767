"""Text to token rows, with any tokenizer.

A row is [start] prompt answer. Prompt and answer are encoded separately, so the boundary is exact and all options of an
item see the same prompt. Nothing follows the answer, even if the tokenizer ends a text with a token of its own.
"""

from dataclasses import dataclass

from sparse_continual.errors import UserError
from sparse_continual.streams.tasks import Split, make_split
from sparse_continual.streams.tokens import count_marks, encode, marks_of, start_of

UNKNOWN_SHARE = 0.5


class Encoder:
    """A tokenizer with the operations that the sources need.

    settings: of the source; `start_token` as in `tokens.start_of`. `bos`: ids that begin every row, [] for none.
    `marks`: text of each control token -> its id.
    """

    def __init__(self, tokenizer, settings: dict):
        self.tokenizer = tokenizer
        self.bos = start_of(tokenizer, settings.get("start_token", "auto"))
        self.marks = marks_of(tokenizer)
        self._answers = {}

    def texts(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, nothing added; marks of control tokens are read as plain text (`tokens.encode`)."""
        return encode(self.tokenizer, texts, self.marks)

    def answer(self, text: str) -> list[int]:
        """Token ids of `text` as a continuation after a space.

        Whether the space belongs to the word, to a mark before it or to nothing depends on the tokenizer, so the ids
        are those that `text` adds after a word.
        """
        if text not in self._answers:
            (head,), (both,) = self.texts(["a"]), self.texts([f"a {text}"])
            ids = both[len(head) :] if both[: len(head)] == head else self.texts([f" {text}"])[0]
            self._answers[text] = ids
        return self._answers[text]

    def refuse_unknown(self, rows: list[list[int]], what: str) -> None:
        """Raise UserError if more than half the tokens of `rows` are the unknown token."""
        unknown = self.tokenizer.unk_token_id
        total = sum(map(len, rows))
        lost = sum(row.count(unknown) for row in rows)
        if lost > UNKNOWN_SHARE * total:
            raise UserError(
                f"{what}: {lost} of {total} tokens are unknown to the tokenizer; expected at most half; "
                "use a base with a tokenizer for such text (a generated one knows only its own words)"
            )


def exact_split(encoder: Encoder, prompts: list[str], answers: list[str], parts=None) -> Split:
    """One row per item: the prompt, then its answer.

    Raises UserError if the tokenizer does not know the words, cannot distinguish two answers or drops one, and if a row
    has nothing before its answer.
    """
    encoded, by_answer = encoder.texts(prompts), {answer: encoder.answer(answer) for answer in answers}
    encoder.refuse_unknown([*encoded, *by_answer.values()], "prompts and answers of this source")
    refuse_alike(by_answer, "the answers of this source")
    rows, starts = [], []
    for prompt, answer in zip(encoded, answers, strict=True):
        rows.append(encoder.bos + prompt + by_answer[answer])
        starts.append(len(encoder.bos) + len(prompt))
    if 0 in starts:
        raise UserError(f"prompt {prompts[starts.index(0)]!r}: {NOTHING_BEFORE}")
    return make_split(rows, starts, parts=parts)


NOTHING_BEFORE = (
    "the tokenizer reads it as no token, so nothing precedes the answer; use a base with another tokenizer, or "
    "set start_token: always"
)


def refuse_alike(options: dict[str, list[int]], what: str) -> None:
    """Raise UserError if a tokenizer cannot distinguish two options, or drops one: no score could judge them.

    options: text -> its token ids; what: a phrase with verb and place, for the error. An option that begins another one
    is allowed: options are compared by their mean loss per token, so length gives no preference.
    """
    numbers: dict = {}
    for number, (text, ids) in enumerate(options.items(), 1):
        if not ids:
            raise UserError(
                f"{what}: the tokenizer reads number {number}, {text!a}, as no token at all; reword it, or use a base "
                "with another tokenizer"
            )
        first, other = numbers.setdefault(tuple(ids), (number, text))
        if first != number:
            raise UserError(
                f"{what}: the tokenizer cannot distinguish number {first}, {other!a}, and number {number}, {text!a}: "
                f"it reads both as token ids {list(ids)}; reword one of them, or use a base with another tokenizer"
            )


@dataclass
class Handled:
    """How to handle an item longer than `max_tokens`, and how many items were handled in which way.

    policy: "error", "truncate_input" (cut the end of the sentence; cue and answer stay whole) or "drop". marks: number
    of items whose sentence holds the mark of a control token, which is read as plain text; control: those of them for
    which the tokenizer has no other reading, so that the control token stays.
    """

    max_tokens: int
    policy: str
    cut: int = 0
    dropped: int = 0
    marks: int = 0
    control: int = 0


def options_split(
    encoder: Encoder,
    sentences: list[str],
    cue: str,
    options: list[str],
    correct: list[int],
    names: list[str],
    handled: Handled,
    only_right: bool,
) -> Split:
    """Rows [start] sentence cue option: one per option, or only the right one with `only_right`.

    correct: index of the right option of each sentence. names: file and item, for errors. Room is always kept for the
    longest option, so that all options of an item, and of its task in training and test, see the same words. `handled`
    counts the items.

    Raises UserError if an item is too long under policy "error", if `max_tokens` leaves no room at all, and if the
    tokenizer reads a sentence as no token.
    """
    (cue_ids,), option_ids = encoder.texts([cue]), [encoder.answer(option) for option in options]
    fixed = len(encoder.bos) + len(cue_ids) + max(map(len, option_ids))
    room = handled.max_tokens - fixed
    if room < 1:
        raise UserError(
            f"{names[0]}: max_tokens is {handled.max_tokens}, start, cue and longest label take {fixed}; "
            f"set max_tokens to more than {fixed}"
        )
    encoded = encoder.texts(sentences)
    encoder.refuse_unknown(encoded, names[0])
    rows, answers, items, right = [], [], [], []
    for number, sentence in enumerate(encoded):
        if not sentence:
            raise UserError(
                f"{names[number]}: the tokenizer reads the sentence {sentences[number]!a:.60} as no token at all; "
                "remove the item, or use a base with another tokenizer"
            )
        if len(sentence) > room:
            if handled.policy == "error":
                raise UserError(
                    f"{names[number]}: {len(sentence) + fixed} tokens found, {handled.max_tokens} allowed; "
                    "raise max_tokens, or set overflow to truncate_input or drop"
                )
            if handled.policy == "drop":
                handled.dropped += 1
                continue
            handled.cut += 1
            sentence = sentence[:room]
        marks, control = count_marks(sentences[number], sentence, encoder.marks)
        handled.marks += marks > 0
        handled.control += control > 0
        prompt = encoder.bos + sentence + cue_ids
        chosen = [option_ids[correct[number]]] if only_right else option_ids
        rows.extend(prompt + option for option in chosen)
        answers.extend(len(prompt) for _ in chosen)
        items.extend(len(right) for _ in chosen)
        right.append(0 if only_right else correct[number])
    return make_split(rows, answers, items, right)

"""A tokenizer's control tokens: their marks in a user's text, and the tokens that it adds at the start of a text.

A mark such as `</s>` or `<|im_start|>` in a sentence is text that somebody wrote. transformers reads it as the control
token unless `split_special_tokens` is set. Some tokenizers have no other reading: a word-level vocabulary holds `</s>`
as one word. So marks are encoded as plain text, and those that stay control tokens are counted.

Source of `split_special_tokens`: transformers' PreTrainedTokenizerBase.
"""

import re

from sparse_continual.errors import UserError
from sparse_continual.streams.lexicon import Words, vocabulary

DELIMITER = re.compile(r"<[|｜].*[|｜]>")  # chat delimiters that a tokenizer does not declare as special


def marks_of(tokenizer) -> dict[str, int]:
    """Text of each control token -> its id: tokens declared as special, and chat delimiters."""
    return {
        token.content: number
        for number, token in getattr(tokenizer, "added_tokens_decoder", {}).items()
        if token.special or DELIMITER.fullmatch(token.content)
    }


def as_text(text: str, marks) -> dict:
    """Keyword arguments with which a tokenizer encodes `text`: nothing added, `marks` read as plain text.

    A text without marks is encoded in the usual way: some tokenizers also read their other added tokens differently
    when they split special tokens. Long texts are allowed, so they give no warning.
    """
    split = {"split_special_tokens": True} if any(mark in text for mark in marks) else {}
    return {"add_special_tokens": False, "verbose": False, **split}


def encode(tokenizer, texts: list[str], marks) -> list[list[int]]:
    """Token ids of each text, as `as_text` says."""
    how = [as_text(text, marks) for text in texts]
    ids_of_texts: list = [None] * len(texts)
    for kind in {len(options): options for options in how}.values():
        places = [place for place, options in enumerate(how) if options == kind]
        encoded = tokenizer([texts[place] for place in places], **kind)["input_ids"]
        for place, ids in zip(places, encoded, strict=True):
            ids_of_texts[place] = ids
    return ids_of_texts


def count_marks(text: str, ids, marks: dict[str, int]) -> tuple[int, int]:
    """(marks of control tokens in `text`, number of these tokens that its `ids` still hold)."""
    present = [mark for mark in marks if mark in text]
    kept = {marks[mark] for mark in present}
    return sum(text.count(mark) for mark in present), sum(one in kept for one in ids) if kept else 0


def generated(tokenizer) -> bool:
    """Whether this is the vocabulary of the generated sources.

    Bases that are generated here read a start token in every row, although their tokenizer adds none.
    """
    known = getattr(tokenizer, "get_vocab", dict)()
    return isinstance(tokenizer, Words) or known.keys() == set(vocabulary())


def added(tokenizer) -> tuple[list[int], list[int]]:
    """(ids before, ids after) that `tokenizer(text)` itself adds to a text."""
    alone, whole = (tokenizer(["a"], add_special_tokens=add)["input_ids"][0] for add in (False, True))
    for start in range(len(whole) - len(alone) + 1):
        if alone and whole[start : start + len(alone)] == alone:
            return whole[:start], whole[start + len(alone) :]
    return [], []


def start_of(tokenizer, choice: str = "auto") -> list[int]:
    """Ids at the start of every row of a base with this tokenizer.

    choice: "auto" (the tokens that the tokenizer itself adds at the start), "always" (those, or else the start token
    that it names), "never".

    Raises UserError for "always" if the tokenizer names no start token.
    """
    if choice == "never":
        return []
    named = tokenizer.bos_token_id
    if generated(tokenizer):
        return [named]
    before = added(tokenizer)[0]
    if choice == "auto" or before:
        return before
    if named is None:
        raise UserError(
            "start_token: found always, but the base's tokenizer names no start token; remove the key, or add "
            "bos_token to its tokenizer_config.json"
        )
    return [named]

"""A small tokenizer of byte pairs with control tokens, as published models have them."""

from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from sparse_continual.streams import lexicon

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>"]
TEMPLATES = {"none": "$A", "start": "<s> $A", "both": "<s> $A </s>", "end": "$A </s>", "two": "<s> <pad> $A"}


def byte_level():
    """A tokenizer of byte pairs, trained on a few words, before anything was added to it."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(
        [f"{first} {last} plays" for first in lexicon.FIRST for last in lexicon.LAST], trainer
    )
    return made


def fast(template="none", **special):
    """It as transformers has it, with control tokens; template: what it adds to a text itself (TEMPLATES)."""
    backend = byte_level()
    ids = {mark: backend.token_to_id(mark) for mark in SPECIAL}
    backend.post_processor = processors.TemplateProcessing(
        single=TEMPLATES[template], special_tokens=list(ids.items())
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"} | special
    names = {key: value for key, value in names.items() if value}
    made = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    made.add_special_tokens({"additional_special_tokens": SPECIAL[4:]}, replace_extra_special_tokens=False)
    return made

"""untrained: a Llama with the generated vocabulary as it is drawn, the same for all blocks."""

from sparse_continual.bases.source import Source
from sparse_continual.streams.lexicon import vocabulary

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"width": {"type": "integer", "minimum": 8, "default": 16, "description": "hidden units"}},
}


def check(settings):
    from sparse_continual.errors import UserError

    if settings["width"] % 8:
        raise UserError(f"width: found {settings['width']}, expected a multiple of 8")


def fingerprint(settings):
    return {}


def shape(settings, lengths=()):
    width = settings["width"]
    heads = {"layers": 2, "heads": 2, "kv_heads": 2}
    own = {"hidden_size": width, "intermediate_size": 2 * width, **heads}
    return {**own, "vocabulary": len(vocabulary()), "tied": True}


def obtain(settings, seed, folder, mixture):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from sparse_continual.models.load import save_model
    from sparse_continual.streams.lexicon import tokenizer

    torch.manual_seed(seed)
    known = shape(settings)
    config = LlamaConfig(
        vocab_size=known["vocabulary"],
        hidden_size=known["hidden_size"],
        intermediate_size=known["intermediate_size"],
        num_hidden_layers=known["layers"],
        num_attention_heads=known["heads"],
        num_key_value_heads=known["kv_heads"],
        tie_word_embeddings=True,
    )
    save_model(LlamaForCausalLM(config), tokenizer(), folder)
    return {"shape": known}


SOURCE = Source(check=check, fingerprint=fingerprint, shape=shape, obtain=obtain)

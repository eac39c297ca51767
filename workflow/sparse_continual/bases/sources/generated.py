"""A small Llama (transformers' own class) pretrained here, from scratch, on the base's own mixture.

Every block makes its own model, so that blocks replicate topologies and not only streams. The vocabulary is the lexicon
of the generated sources; embeddings are tied. Cost: `pretraining.steps` times `pretraining.batch_size` rows; 0.13M
parameters take about half a minute on one core. Its limit is its size: its findings about forgetting hold for models of
this size on this kind of text.
"""

from sparse_continual.bases.source import Source

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["shape", "pretraining"],
    "properties": {
        "shape": {
            "type": "object",
            "description": "widths and depth of the Llama",
            "additionalProperties": False,
            "required": ["hidden_size", "intermediate_size", "layers", "heads", "kv_heads"],
            "properties": {
                "hidden_size": {
                    "type": "integer",
                    "minimum": 4,
                    "description": "width of the residual stream",
                },
                "intermediate_size": {"type": "integer", "minimum": 4, "description": "width of the MLP"},
                "layers": {"type": "integer", "minimum": 1, "description": "decoder blocks"},
                "heads": {
                    "type": "integer",
                    "minimum": 1,
                    "description": "query heads; must divide hidden_size",
                },
                "kv_heads": {
                    "type": "integer",
                    "minimum": 1,
                    "description": "key-value heads; must divide heads",
                },
            },
        },
        "initial_weights": {
            "enum": ["normal", "scaled"],
            "description": "SD of the block matrices before pretraining: normal (the default): 0.02; scaled: "
            "1 / sqrt(inputs), without which queries and keys have almost no gradient at the start, so that snip at "
            "init removes nearly all their weights",
        },
        "pretraining": {
            "type": "object",
            "description": "training on the mixture from scratch: linear warm-up, then a cosine to a tenth",
            "additionalProperties": False,
            "required": ["steps", "batch_size", "learning_rate"],
            "properties": {
                "steps": {"type": "integer", "minimum": 1, "description": "optimizer steps"},
                "batch_size": {"type": "integer", "minimum": 1, "description": "rows per step"},
                "learning_rate": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "description": "highest learning rate of the schedule",
                },
                "warmup": {
                    "type": "integer",
                    "minimum": 0,
                    "default": 0,
                    "description": "steps of linear warm-up",
                },
            },
        },
    },
}
POSITIONS = 256  # longest row that the rotary embedding is built for


def check(settings: dict) -> None:
    """Raise UserError when heads do not divide the widths."""
    from sparse_continual.errors import UserError

    shape = settings["shape"]
    for part, whole in (("heads", "hidden_size"), ("kv_heads", "heads")):
        if shape[whole] % shape[part]:
            raise UserError(
                f"shape.{part}: found {shape[part]}, expected a divisor of {whole} = {shape[whole]}"
            )
    if shape["hidden_size"] // shape["heads"] % 2:
        raise UserError(
            f"shape.heads: a head of {shape['hidden_size'] // shape['heads']} units is odd, and rotary "
            "positions pair units; choose heads so that hidden_size / heads is even"
        )


def fingerprint(settings: dict) -> dict:
    """{}: no input besides the config."""
    return {}


def shape(settings: dict, lengths=()) -> dict:
    """Shape settings of the model; FLOPs follow from them, for all `lengths`."""
    from sparse_continual.streams.lexicon import vocabulary

    return {**settings["shape"], "vocabulary": len(vocabulary()), "tied": True}


def obtain(settings: dict, seed: int, folder, mixture) -> dict:
    """Pretrain the model of `settings` and save it with its tokenizer into `folder`.

    mixture: [(share, training Split)]. Settings without `pretraining` are those of the initial model, the start of a
    topology made at init: it is saved without training. Returns facts: steps, tokens, final_loss; {} for the initial
    model.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from sparse_continual.identity import seed_of
    from sparse_continual.models.load import prunable, save_model
    from sparse_continual.streams.lexicon import tokenizer
    from sparse_continual.training.loop import train_on_mixture
    from sparse_continual.training.trainables import AllPlaces, Ends

    words, shape = tokenizer(), settings["shape"]
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=shape["hidden_size"],
        intermediate_size=shape["intermediate_size"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"],
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    torch.manual_seed(seed_of("initial weights", seed))
    model = LlamaForCausalLM(config)
    facts, linears = {}, prunable(model)
    if settings.get("initial_weights") == "scaled":
        for module in linears.values():
            torch.nn.init.normal_(module.weight, std=module.in_features**-0.5)
    if "pretraining" in settings:
        facts = train_on_mixture(
            model, AllPlaces(linears), Ends(model, linears, True), mixture, settings["pretraining"], seed
        )
    save_model(model, words, folder)
    return facts


SOURCE = Source(check=check, fingerprint=fingerprint, shape=shape, obtain=obtain, generated=True)

"""Every architecture family at tiny size."""

import torch

from sparse_continual.models.load import prunable

COMMON = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA = {**COMMON, "intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 64}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
FAMILIES = {  # settings, matrices per block, and the shape of the first, outputs by inputs
    "Llama": (LLAMA, 7, (32, 32)),
    "Mistral": ({**LLAMA, "sliding_window": 8}, 7, (32, 32)),
    "Qwen2": (
        {**LLAMA, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
        7,
        (32, 32),
    ),
    "Qwen3": ({**LLAMA, "head_dim": 12}, 7, (48, 32)),
    "Phi": (LLAMA, 6, (32, 32)),
    "Phi3": ({**LLAMA, **SPECIAL}, 4, (32, 32)),
    "OPT": ({**COMMON, "ffn_dim": 48, "max_position_embeddings": 64, "word_embed_proj_dim": 32}, 6, (32, 32)),
    "GPTNeoX": ({**COMMON, "intermediate_size": 48, "max_position_embeddings": 64}, 4, (96, 32)),
    "GPT2": (
        {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, **SPECIAL},
        4,
        (96, 32),
    ),
    "Mpt": (
        {
            "vocab_size": 64,
            "d_model": 32,
            "n_layers": 2,
            "n_heads": 4,
            "max_seq_len": 64,
            "expansion_ratio": 2,
        },
        4,
        (96, 32),
    ),
}


def build(family):
    import transformers

    kind = {"GPT2": "GPT2LMHead"}.get(family, f"{family}For")
    model = getattr(transformers, f"{kind}CausalLM" if kind.endswith("For") else f"{kind}Model")
    torch.manual_seed(0)
    made = model(getattr(transformers, f"{family}Config")(**FAMILIES[family][0])).eval()
    for module in prunable(made).values():
        torch.nn.init.normal_(module.weight, std=0.2)
        if module.bias is not None:
            torch.nn.init.normal_(module.bias, std=0.2)
    return made

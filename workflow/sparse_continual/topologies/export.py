"""Settings of methods that remove whole heads and channels: what the result is, and which blocks stay whole."""

SETTINGS = {
    "export": {
        "enum": ["compact", "masked"],
        "default": "compact",
        "description": "compact: the model becomes a smaller dense one; masked: same shapes, whole lines absent",
    },
    "first": {
        "type": "integer",
        "minimum": 0,
        "default": 0,
        "description": "first blocks that are left whole",
    },
    "last": {
        "type": "integer",
        "minimum": 0,
        "default": 0,
        "description": "last blocks that are left whole",
    },
}

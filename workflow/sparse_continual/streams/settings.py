"""Settings of a source, completed by the defaults that its schema documents."""


def filled(schema: dict, settings: dict) -> dict:
    """`settings` over the schema's defaults, without keys of the section (`source`, `share`)."""
    known = schema["properties"]
    defaults = {key: rule["default"] for key, rule in known.items() if "default" in rule}
    return {**defaults, **{key: value for key, value in settings.items() if key in known}}

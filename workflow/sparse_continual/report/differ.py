"""The differences between the two sides of a contrast, in words."""

from sparse_continual.report.sentences import arms, form
from sparse_continual.report.words import Words


def differ(contrast: dict, conditions: dict, chosen: dict[str, str], words: Words) -> str:
    """The differences between the two sides of a contrast: settings of their conditions, and the `chosen` rates.

    For an interaction, the differences within its two pairs.
    """
    kind, names = form(contrast), arms(contrast)
    if kind == "level":
        return words("differ.level", **names)
    if kind == "interaction":
        rates = [chosen[names[key].strip("`")] for key in "abcd"]
        sentence = words("differ.rates", rates=words.join(rates)) if len(set(rates)) > 1 else ""
        return words("differ.interaction", rates=sentence, **names)
    a, b = (
        _in_words(conditions[name], chosen[name], words) for name in (*contrast["plus"], *contrast["minus"])
    )
    parts = [
        words("differ.each", key=words(f"differ.keys.{key}"), left=a[key], right=b[key])
        for key in a
        if a[key] != b[key]
    ]
    return words(f"differ.{kind}", what=words.both(parts) or words("differ.nothing"), **names)


def _in_words(condition: dict, rate: str, words: Words) -> dict[str, str]:
    """The settings of a condition in the reader's words."""
    match, like = condition.get("match"), condition.get("like")
    return {
        "base": condition["base"],
        "topology": condition["topology"],
        "locked": words(f"differ.locked.{str(condition.get('locked', True)).lower()}"),
        "writes": words(f"differ.writes.{condition.get('writes', 'all')}", like=like),
        "shape": words("differ.shape.matched", **match) if match else words("differ.shape.own"),
        "mechanism": condition["mechanism"],
        "rate": rate,
    }

"""The words of the page in one language; sentences are templates, and rules elsewhere choose among them.

A catalogue is `templates/<language>.yaml`: groups of groups of templates, named by dotted keys. All
catalogues have the same keys and the same `{fields}`. What English docstrings and captions say next to
the code (columns, figures) is translated in `templates/meanings.<language>.yaml`, where a
catalogue has one. Names and meanings of metrics come from `statistics.metrics`.
"""

import math
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.registry import nearest
from sparse_continual.statistics.metrics import METRICS

TEMPLATES = Path(__file__).parent / "templates"
LANGUAGES = ("en", "zh")


class Words:
    """The catalogue of one language: `words("verdicts.shown")`, `words("p.equal", value=".01")`."""

    def __init__(self, language: str):
        """Raises UserError for a language without a catalogue."""
        if language not in LANGUAGES:
            raise UserError(
                f"report.language: found {language!r}{nearest(language, LANGUAGES)}, expected one of"
                f" {', '.join(LANGUAGES)}"
            )
        self.language = language
        self.catalogue = _read(TEMPLATES / f"{language}.yaml")
        meanings = TEMPLATES / f"meanings.{language}.yaml"
        self.meanings = _read(meanings) if meanings.exists() else {}
        words = {name: getattr(metric, language) for name, metric in METRICS.items()}
        self.catalogue["metrics"] = {name: label for name, (label, _) in words.items()}
        self.meanings["metrics"] = {name: meaning for name, (_, meaning) in words.items()}

    def __call__(self, key: str, /, **fields) -> str:
        """The template under the dotted `key`, its fields filled.

        Raises KeyError for a key that the catalogue lacks, or a field that the template wants.
        """
        found = self.catalogue
        for part in key.split("."):
            found = found[part]
        return found.format(**fields)

    def name(self, group: str, value) -> str:
        """The word for `value` in an open group (metrics, headers); the value itself where none is set."""
        return self.catalogue[group].get(str(value), str(value).replace("_", " "))

    def meaning(self, group: str, key: str, english: str) -> str:
        """What `key` means, where it was translated; else the `english` that stands with the code."""
        return self.meanings.get(group, {}).get(key, english)

    def count(self, key: str, n, /, **fields) -> str:
        """`key`.one or `key`.other, by the number `n`."""
        return self(f"{key}.{'one' if n == 1 else 'other'}", n=f"{int(n):,}", **fields)

    def join(self, items) -> str:
        """The items as a list in a sentence."""
        return self("join.list").join(items)

    def both(self, items) -> str:
        """The items, joined by "and"."""
        return self("join.and").join(items)

    def percent(self, share: float) -> str:
        return self("numbers.percent", value=f"{100 * share:g}")

    def p(self, p: float) -> str:
        """`p = .012`, `p < .001`, or `p = 1`."""
        text = probability(p)
        return f"p {text}" if text.startswith("<") else f"p = {text}"


def signed(share: float) -> str:
    """A share as points with one decimal and its sign, which 0.0 has not."""
    size = points(share)
    return size if size == "0.0" else f"{'−' if share < 0 else '+'}{size}"


def points(share: float) -> str:
    """A share as points with one decimal and no sign."""
    return f"{100 * abs(share):.1f}"


def digits(value: float) -> str:
    """A number with three digits: `0.012`, `18.9`, `7,140`; in powers of ten from a million on and below 0.0001."""
    rounded = float(f"{value:.3g}")
    return (f"{rounded:,.0f}" if 1e3 <= abs(rounded) < 1e6 else f"{value:.3g}").replace("-", "−")


def probability(p: float) -> str:
    """A p value: `.012`, `< .001`, or `1`."""
    if round(p, 3) >= 1:
        return "1"
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def decimal(value: float) -> str:
    """A probability or level without its leading zero: `.05`."""
    return f"{value:g}".replace("0.", ".", 1)


def absent(value) -> bool:
    """Whether a cell of a table is empty."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _read(path: Path) -> dict:
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))

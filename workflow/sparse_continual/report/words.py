"""The words of the page in one language; sentences are templates, and rules elsewhere choose among them.

A catalogue is `templates/<language>.yaml`: groups of groups of templates, named by dotted keys. All
catalogues have the same keys and the same `{fields}`. Captions of figures are in English beside the code and translated
in `templates/meanings.<language>.yaml`, if a catalogue has one. Metrics (`statistics.metrics`), estimands
(`statistics.contrasts`) and columns (`tables`) hold their words in all languages.
"""

import math
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.registry import nearest
from sparse_continual.show import probability
from sparse_continual.statistics.contrasts import ESTIMANDS
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
        self.catalogue["metrics"] = {name: self.of_language(metric)[0] for name, metric in METRICS.items()}
        estimands = {name: self.of_language(estimand) for name, estimand in ESTIMANDS.items()}
        self.catalogue["estimands"] = {name: word for name, (word, _) in estimands.items()}
        self.catalogue["estimand_meanings"] = {name: meaning for name, (_, meaning) in estimands.items()}

    def __call__(self, key: str, /, **fields) -> str:
        """The template under the dotted `key`, its fields filled.

        Raises KeyError for a key that the catalogue lacks, or a missing field of the template.
        """
        entry = self.catalogue
        for part in key.split("."):
            entry = entry[part]
        return entry.format(**fields)

    def of_language(self, described):
        """The words in this language of a metric, an estimand or a column, which hold the words of all languages."""
        return getattr(described, self.language)

    def name(self, group: str, value) -> str:
        """The word for `value` in an open group (metrics, headers); the value itself if there is none."""
        return self.catalogue[group].get(str(value), str(value).replace("_", " "))

    def meaning(self, group: str, key: str, english: str) -> str:
        """The translated meaning of `key`, else the `english` beside the code."""
        return self.meanings.get(group, {}).get(key, english)

    def count(self, key: str, n, /, **fields) -> str:
        """`key`.one or `key`.other, depending on the number `n`."""
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


def absent(value) -> bool:
    """Whether a cell of a table is empty."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _read(path: Path) -> dict:
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))

"""The catalogues of words: the same in every language, and nothing missing."""

import re
import string

import pytest

from sparse_continual import registry, tables
from sparse_continual.errors import UserError
from sparse_continual.report.guard import STRONG
from sparse_continual.report.words import LANGUAGES, TEMPLATES, Words
from sparse_continual.show import digits, points, signed
from sparse_continual.statistics.metrics import METRICS
from sparse_continual.verdicts.verdict import WORDS

CATALOGUES = {language: Words(language) for language in LANGUAGES}


def flat(group, path=()):
    for key, value in group.items():
        yield from flat(value, (*path, key)) if isinstance(value, dict) else [((*path, key), value)]


def fields(template):
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def test_three_digits():
    found = [digits(value) for value in (3.7256, 18.93, 999.6, 7139.99, 999_900, -0.01234, 2.5e7, 3e-6, 0.0)]
    assert found == ["3.73", "18.9", "1,000", "7,140", "1e+06", "−0.0123", "2.5e+07", "3e−06", "0"]


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_every_language_has_the_same_keys_and_fields(language):
    english, other = dict(flat(CATALOGUES["en"].catalogue)), dict(flat(CATALOGUES[language].catalogue))
    assert english.keys() == other.keys()
    assert all(isinstance(text, str) for text in (*english.values(), *other.values()))
    assert {key for key in english if fields(english[key]) != fields(other[key])} == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_verdict_has_a_word_a_meaning_and_a_sentence(language):
    catalogue = CATALOGUES[language].catalogue
    assert set(catalogue["verdicts"]) == set(catalogue["verdict_meanings"]) == set(WORDS)
    keys = {word.replace(" ", "_") for word in WORDS}
    assert keys <= set(catalogue["sentences"])
    assert keys - {"not_tested"} == set(catalogue["sentences"]["all_of"])
    for word in STRONG + ("not distinguished",):
        sentences = dict(flat({"x": catalogue["sentences"][word.replace(" ", "_")]}))
        assert all("{head}" in text and "{estimate}" in text for text in sentences.values())


def test_no_chinese_sentence_was_left_in_english():
    same = {
        key
        for key, text in flat(CATALOGUES["zh"].catalogue)
        if text == dict(flat(CATALOGUES["en"].catalogue))[key] and re.search("[a-z]{4}", fieldless(text))
    }
    assert {key[-1] for key in same} <= {"hedges_g", "update_norm", "relative_update"}


def fieldless(text):
    return re.sub(r"{\w+}", "", text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_of_metrics_are_those_of_the_metrics(language):
    assert set(METRICS) == set(CATALOGUES[language].catalogue["metrics"])


def test_captions_metrics_and_columns_have_words_in_every_language():
    assert set(CATALOGUES["zh"].meanings) == {"figures"}
    assert set(CATALOGUES["zh"].meanings["figures"]) == set(registry.names("figures"))
    columns = [column for table in tables.every().values() for column in table.columns]
    for described in (*METRICS.values(), *columns):
        words = [described.en, described.zh]
        assert all(all(each) if isinstance(each, tuple) else each for each in words), described
        assert re.search("[\u4e00-\u9fff]", str(described.zh)) or "−" in described.zh, described


def test_an_unknown_language_names_the_nearest():
    with pytest.raises(
        UserError, match=r"report.language: found 'eng' \(did you mean 'en'\?\), expected one of"
    ):
        Words("eng")


def test_a_missing_key_or_field_is_a_fault():
    with pytest.raises(KeyError):
        CATALOGUES["en"]("sentences.proven")
    with pytest.raises(KeyError):
        CATALOGUES["en"]("sentences.not_tested")


@pytest.mark.parametrize(
    ("p", "text"), [(0.0004, "p < .001"), (0.0312, "p = .031"), (1.0, "p = 1"), (0.9999, "p = 1")]
)
def test_p(p, text):
    assert CATALOGUES["en"].p(p) == text


def test_points():
    assert [signed(share) for share in (-0.0412, 0.0005, 0.0004, -0.0004)] == ["−4.1", "+0.1", "0.0", "0.0"]
    assert points(-0.3) == "30.0"


def test_catalogues_are_all_there():
    assert {path.name for path in TEMPLATES.glob("??.yaml")} == {f"{language}.yaml" for language in LANGUAGES}

"""Published comparisons through our intervals: the example file, summaries, logs, words, and mistakes."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from sparse_continual.config import ConfigError
from sparse_continual.errors import UserError
from sparse_continual.statistics.reanalysis import reanalyse

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "studies" / "reanalysis.yaml"


def rows(text):
    """Cells of the table of comparisons."""
    lines = [line for line in text.split("\n\n")[2].splitlines()][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def side(method="A", **own):
    return {"method": method, "source": "a paper, Table 1", "confirmed": True, **own}


def entry(plus, minus, **own):
    blocks = [f"order {number}" for number in range(1, len(plus) + 1)]
    given = {"plus": side(values=list(plus)), "minus": side("B", values=list(minus))}
    return {"name": "A - B", "blocks": blocks, **given, **own}


def run(tmp_path, *entries, **own):
    path = tmp_path / "reanalysis.yaml"
    path.write_text(yaml.safe_dump({"comparisons": list(entries), **own}))
    return reanalyse(path)


def mistakes(tmp_path, *entries, **own):
    with pytest.raises(ConfigError) as caught:
        run(tmp_path, *entries, **own)
    return [line.removeprefix(f"{tmp_path / 'reanalysis.yaml'}: ") for line in caught.value.lines]


def test_the_three_published_comparisons():
    first, second, third = rows(reanalyse(EXAMPLE))
    assert first[2:7] == ["3", "+3.10", "4.70", "[-8.58, +14.78]", "0.372"]
    assert second[2:6] == ["3", "+0.33", "3.25", "[-7.73, +8.40]"]
    assert third[2:6] == ["3", "-0.37", "4.16", "[-10.69, +9.96]"]
    assert all(row[-1].startswith("descriptive: n = 3;") for row in (first, second, third))
    assert all(row[7].endswith("(0.250)") for row in (first, second, third))


def test_values_that_were_not_seen_in_their_source_are_marked():
    text = reanalyse(EXAMPLE)
    marked = ["(unconfirmed values)" in row[0] for row in rows(text)]
    content = yaml.safe_load(EXAMPLE.read_text())["comparisons"]
    assert marked == [not (c["plus"]["confirmed"] and c["minus"]["confirmed"]) for c in content]
    assert text.count("**Not confirmed**") == 2


def test_interval_and_p_against_scipy(tmp_path):
    rng = np.random.default_rng(1)
    plus, minus = rng.normal(70, 3, 8).round(2), rng.normal(68, 3, 8).round(2)
    (row,) = rows(run(tmp_path, entry(plus.tolist(), minus.tolist())))
    test = stats.ttest_rel(plus, minus)
    interval = test.confidence_interval(0.95)
    exact = stats.permutation_test(
        (plus, minus), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    )
    assert row[5] == f"[{interval.low:+.2f}, {interval.high:+.2f}]"
    assert row[6] == f"{test.pvalue:.3f}"
    assert row[7] == f"{exact.pvalue:.3f} (0.008)"


def test_a_summary_gives_the_interval_of_its_values(tmp_path):
    own = {"n": 3, "mean": 3.1, "sd": 4.7, "source": "a paper", "confirmed": True}
    (row,) = rows(run(tmp_path, {"name": "O-LoRA - LFPT5", "summary": own}))
    assert row[2:8] == ["3", "+3.10", "4.70", "[-8.58, +14.78]", "0.372", "needs single values"]
    own = {**own, "n": 12}
    (row,) = rows(run(tmp_path, {"name": "many", "summary": own}))
    half = stats.t.ppf(0.975, 11) * 4.7 / 12**0.5
    assert row[5] == f"[{3.1 - half:+.2f}, {3.1 + half:+.2f}]"
    assert row[-1] == "exploratory: the interval excludes 0"


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        ([3.0], "descriptive: n = 1;"),
        ([3.0, 3.2, 3.1, 2.9, 3.0], "descriptive: n = 5;"),  # however clear
        ([3.0, 3.2, 3.1, 2.9, 3.0, 3.1], "exploratory: the interval excludes 0 and the exact test agrees"),
        (
            [3.0, -3.2, 3.1, 2.9, -3.0, 3.1],
            "exploratory: not distinguished, which is no evidence of equality",
        ),
        # p = .039 of the t test, .0625 of the sign-flip test
        (
            [2.5, 2.1, 0.5, -0.1, 0.6, 1.2],
            "exploratory: the interval excludes 0, but the exact test does not",
        ),
        ([3.0, 3.0, 3.0, 3.0, 3.0, 3.0], "exploratory: no variance"),
        ([0.0, 0.0, 0.0, 0.0, 0.0, 3.0], "descriptive: n = 6;"),  # one alone differs: no exact p below 1
    ],
)
def test_words_by_rule(tmp_path, differences, words):
    text = run(tmp_path, entry([60 + d for d in differences], [60] * len(differences)))
    assert rows(text)[0][-1].startswith(words)
    for claim in ("shown", "significant", "forgets less", "equivalent"):
        assert claim not in text


def test_what_could_have_been_seen(tmp_path):
    text = run(tmp_path, entry([75.4, 75.7, 76.3], [67.6, 72.6, 77.9], checkpoint="T5-large"))
    assert (
        f"a true difference of {3.26 * 4.7:.1f} points is found four times in five" in text
    )  # 3.26 SD at n = 3
    assert "All blocks start from T5-large: what is found holds for this checkpoint." in text


def test_the_level_sets_the_interval(tmp_path):
    (row,) = rows(run(tmp_path, entry([75.4, 75.7, 76.3], [67.6, 72.6, 77.9]), level=0.1))
    half = stats.t.ppf(0.95, 2) * 4.7 / 3**0.5
    assert row[5] == f"[{3.1 - half:+.2f}, {3.1 + half:+.2f}]"


def logs(folder, R, name):
    """Avalanche's matrix as JSON, with the row before the stream."""
    (folder / name).write_text(json.dumps(R))
    return name


def test_logs_by_importer(tmp_path):
    a = [logs(tmp_path, [[0.1, 0.1], [0.6, 0.1], [0.5, 0.7]], "a1.json")]
    a += [logs(tmp_path, [[0.1, 0.1], [0.8, 0.1], [0.5, 0.7]], "a2.json")]
    b = [logs(tmp_path, [[0.6, 0.1], [0.4, 0.9]], f"b{n}.json") for n in (1, 2)]  # no row before the stream
    own = {"plus": side(importer="avalanche", logs=a), "minus": side("B", importer="avalanche", logs=b)}
    given = {"name": "A - B", "blocks": ["seed 1", "seed 2"], **own}
    text = run(tmp_path, {**given, "metric": "forgetting"})
    assert rows(text)[0][1:4] == ["forgetting", "2", "+0.00"]  # .1 and .3 against .2 and .2, in points
    assert "| seed 2 | 30.00 | 20.00 | +10.00 |" in text
    assert "keeps no row from before the stream" in text
    with pytest.raises(
        UserError, match=r"b1.json: forward_transfer cannot be computed: the scores before the"
    ):
        run(tmp_path, {**given, "metric": "forward_transfer"})
    assert mistakes(tmp_path, {**given, "metric": "forgeting"}) == [
        "A - B: metric 'forgeting' is unknown (did you mean 'forgetting'?)"
    ]
    given["minus"]["importer"] = "mamoth"
    with pytest.raises(UserError, match="no variant 'mamoth' .did you mean 'mammoth'"):
        run(tmp_path, {**given, "metric": "forgetting"})


@pytest.mark.parametrize(
    ("importer", "log", "words"),
    [
        ("avalanche", "log.txt", "expected eval_results.csv of CSVLogger"),
        ("avalanche", "log.json", "expected eval_results.csv of CSVLogger"),
        ("avalanche", "log.csv", "expected eval_results.csv of CSVLogger"),
        ("mammoth", "logs.pyd", "expected a line of logs.pyd"),
        ("o_lora", "outputs", "expected folders <k>-<task> with all_results.json"),
        ("trace", "outputs", "expected"),
    ],
)
def test_a_binary_log_is_told_what_is_expected(tmp_path, importer, log, words):
    (tmp_path / log).write_bytes(b"\x80\x05\xff\x00pickle")
    own = {"importer": importer, "logs": [log]}
    with pytest.raises(UserError) as caught:
        run(
            tmp_path,
            {"name": "A - B", "blocks": ["1"], "plus": side(**own), "minus": side("B", **own)}
            | {"metric": "forgetting"},
        )
    assert log in str(caught.value) and words in str(caught.value) and "\n" not in str(caught.value)


def test_mistakes_are_named(tmp_path):
    good = entry([1.0, 2.0], [3.0, 4.0])
    assert mistakes(
        tmp_path, {**good, "summary": {"n": 3, "mean": 1, "sd": 1, "source": "s", "confirmed": True}}
    ) == ["A - B: expected plus and minus, or a summary, and not both"]
    assert mistakes(tmp_path, {key: good[key] for key in ("name", "blocks", "plus")}) == [
        "A - B: expected plus and minus, or a summary, and not both"
    ]
    assert mistakes(tmp_path, {**good, "plus": side(values=[1.0])}) == [
        "A - B: A: 1 values or logs for 2 blocks; expected one for each of blocks"
    ]
    assert mistakes(tmp_path, {**good, "plus": side(values=[1.0, 2.0], importer="trace")}) == [
        "A - B: A: expected values, or logs with their importer, and not both"
    ]
    (line,) = mistakes(tmp_path, {**good, "plus": side(values=[1.0, 200.0])})
    assert line.startswith("comparisons.0.plus.values.1: found 200.0, expected at most 100")
    (line,) = mistakes(tmp_path, {**good, "plus": {**side(values=[1.0, 2.0]), "sauce": "s"}})
    assert "unknown key 'sauce' (did you mean 'source'?)" in line
    for value in (float("nan"), float("inf")):
        (line,) = mistakes(tmp_path, {**good, "plus": side(values=[1.0, value])})
        assert f"{value}, expected" in line
        own = {"n": 3, "mean": value, "sd": 1.0, "source": "s", "confirmed": True}
        assert mistakes(tmp_path, {"name": "A - B", "summary": own}) == [
            f"A - B: summary.mean: found {value}, expected a finite number"
        ]
    assert mistakes(tmp_path, good, level=float("nan")) == ["level: found nan, expected a finite number"]
    assert mistakes(tmp_path) == ["comparisons: found [], expected at least 1 entries"]


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="none.yaml: cannot be read"):
        reanalyse(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("comparisons: [")
    with pytest.raises(UserError, match="bad.yaml: not valid YAML"):
        reanalyse(tmp_path / "bad.yaml")
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(ConfigError, match="empty.yaml: top level: found None, expected object"):
        reanalyse(tmp_path / "empty.yaml")

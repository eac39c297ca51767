"""Published comparisons through our intervals: the example file, summaries, logs, words, and mistakes."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from sparse_continual.errors import ConfigError, UserError
from sparse_continual.reanalysis.reanalysis import reanalyse

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
    assert "All blocks start from T5-large: the finding holds for this checkpoint." in text


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
    b = [
        logs(tmp_path, [[0.6, 0.1], [0.4, 0.8 + n / 10]], f"b{n}.json") for n in (1, 2)
    ]  # no row before the stream
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


TASKS = ["dbpedia", "amazon", "yahoo", "agnews"]
SCORES = [98.0, 60.0, 75.0, 90.0]
SAID = "**The two sides are the same**"


def o_lora(folder, name, tasks=TASKS, n=None, lost=5.0):
    """Outputs of O-LoRA after the first n tasks; every task loses `lost` points with each later one.

    Average accuracy 80.75 - 1.5 x lost, forgetting 2 x lost.
    """
    for k, task in enumerate(tasks[:n], 1):
        row = {
            f"predict_exact_match_for_{t}": SCORES[j] - lost * (k - 1 - j) for j, t in enumerate(tasks[:k])
        }
        (folder / name / f"{k}-{task}").mkdir(parents=True)
        (folder / name / f"{k}-{task}" / "all_results.json").write_text(json.dumps(row))
    return name


def mammoth(folder, name, rows):
    lines = []
    for i, row in enumerate(rows, 1):
        lines += [f"Accuracy for {i} task(s): [Domain-IL]: 1 %", f"\tRaw accuracy values: Domain-IL {row}"]
    (folder / name).write_text("\n".join(lines))
    return name


def of_logs(plus, minus, importer="o_lora", other=None, metric="average_accuracy"):
    return {
        "name": "A - B",
        "metric": metric,
        "blocks": [f"order {number}" for number in range(1, len(plus) + 1)],
        "plus": side(importer=importer, logs=plus),
        "minus": side("B", importer=other or importer, logs=minus),
    }


def test_logs_that_belong_together(tmp_path):
    plus = [o_lora(tmp_path, "a1"), o_lora(tmp_path, "a2", TASKS[::-1], lost=4.0)]
    minus = [o_lora(tmp_path, "b1", lost=7.0), o_lora(tmp_path, "b2", TASKS[::-1], lost=8.0)]
    text = run(tmp_path, of_logs(plus, minus, metric="forgetting"))
    assert rows(text)[0][:4] == ["A - B", "forgetting", "2", "-6.00"]
    assert "| order 1 | 10.00 | 14.00 | -4.00 |" in text and "| order 2 | 8.00 | 16.00 | -8.00 |" in text
    for said in (SAID, "not complete", "number was compared", "different sources", "same tasks"):
        assert said not in text


@pytest.mark.parametrize("metric", ["average_accuracy", "forgetting"])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_killed_run_on_one_side(tmp_path, metric, swapped):
    """It has one loss less to lose: 7.5 points where the whole run forgets 10."""
    plus = [o_lora(tmp_path, "a1"), o_lora(tmp_path, "a2", lost=4.0)]
    minus = [o_lora(tmp_path, "b1", lost=6.0), o_lora(tmp_path, "killed", n=3)]
    plus, minus = (minus, plus) if swapped else (plus, minus)
    with pytest.raises(UserError) as caught:
        run(tmp_path, of_logs(plus, minus, metric=metric))
    for words in (
        "A - B: order 2: ",
        "killed has 3 tasks (dbpedia, amazon, yahoo)",
        "a2 has 4 tasks (dbpedia, amazon, yahoo, agnews)",
        "Was the run of " + str(tmp_path / "killed") + " killed?",
    ):
        assert words in str(caught.value)


def test_runs_that_were_killed_on_both_sides(tmp_path):
    """Only the other blocks show it, also where one side's values are given."""
    plus = [o_lora(tmp_path, "a1"), o_lora(tmp_path, "a2", n=3)]
    minus = [o_lora(tmp_path, "b1", lost=6.0), o_lora(tmp_path, "b2", lost=6.0, n=3)]
    words = (
        r"a2 \(order 2\) has 3 tasks .*a1 \(order 1\) has 4 tasks .*; expected the same number in all blocks"
    )
    with pytest.raises(UserError, match=words):
        run(tmp_path, of_logs(plus, minus))
    with pytest.raises(UserError, match=words):
        run(tmp_path, of_logs(plus, minus) | {"minus": side("B", values=[70.0, 71.0])})


@pytest.mark.parametrize(
    "tasks",
    [["SST-2", "IMDB", "yelp", "QQP"], ["dbpedia", "amazon", "agnews", "yahoo"], [*TASKS[:3], "yelp"]],
)
def test_other_tasks_or_another_order_on_one_side(tmp_path, tasks):
    o_lora(tmp_path, "a"), o_lora(tmp_path, "b", tasks)
    with pytest.raises(UserError) as caught:
        run(tmp_path, of_logs(["a"], ["b"]))
    assert f"b has 4 tasks ({', '.join(tasks)}); expected the same stream" in str(caught.value)
    assert "a has 4 tasks (dbpedia, amazon, yahoo, agnews)" in str(caught.value)


def test_blocks_of_other_tasks_are_said(tmp_path):
    others = ["SST-2", "IMDB", "yelp", "QQP"]
    plus = [o_lora(tmp_path, "a1"), o_lora(tmp_path, "a2", others)]
    minus = [o_lora(tmp_path, "b1", lost=6.0), o_lora(tmp_path, "b2", others, lost=6.0)]
    assert "Not all blocks are of the same tasks: order 2 from order 1." in run(
        tmp_path, of_logs(plus, minus)
    )


def test_one_log_counts_for_one_block(tmp_path):
    a, b = o_lora(tmp_path, "a"), o_lora(tmp_path, "b", lost=6.0)
    c, d = o_lora(tmp_path, "c", lost=7.0), o_lora(tmp_path, "d", lost=8.0)
    (tmp_path / "link").symlink_to("a")
    o_lora(tmp_path, "copy")
    for again, what in (
        ("a", "are one log"),
        ("./a/", "are one log"),
        ("link", "are one log"),
        ("copy", "the same"),
    ):
        for plus, minus in (([a, again], [b, c]), ([b, c], [a, again]), ([a, b], [c, again])):
            with pytest.raises(UserError, match=r"\(order 1\) and .*\(order 2\) .*" + what):
                run(tmp_path, of_logs(plus, minus))
    assert len(rows(run(tmp_path, of_logs([a, b], [c, d])))) == 1


@pytest.mark.parametrize("again", ["a", "copy"])
def test_one_log_on_both_sides_is_said(tmp_path, again):
    a, b, c = o_lora(tmp_path, "a"), o_lora(tmp_path, "b", lost=6.0), o_lora(tmp_path, "c", lost=7.0)
    o_lora(tmp_path, "copy")
    text = run(tmp_path, of_logs([a, b], [again, c]))
    assert rows(text)[0][0] == "A - B (the same on both sides)"
    assert f"{SAID} in order 1: the difference is 0 there by construction." in text
    text = run(tmp_path, entry([75.0, 76.0], [75.0, 76.0]))
    assert f"{SAID}: all values are equal." in text
    assert SAID not in run(tmp_path, entry([75.0, 76.0], [75.0, 77.0]))


def test_logs_that_do_not_name_their_tasks(tmp_path):
    whole, other = [[90.0], [80.0, 90.0], [70.0, 80.0, 90.0]], [[91.0], [81.0, 90.0], [70.0, 80.0, 90.0]]
    a, b = mammoth(tmp_path, "a", whole), mammoth(tmp_path, "b", other)
    killed = mammoth(tmp_path, "killed", other[:2])
    text = run(tmp_path, of_logs([a], [b], "mammoth", metric="forgetting"))
    assert "| order 1 | 15.00 | 15.50 | -0.50 |" in text
    assert "only their number was compared between the sides" in text
    with pytest.raises(UserError, match="a has 3 tasks, and .*killed has 2 tasks; expected the same stream"):
        run(tmp_path, of_logs([a], [killed], "mammoth"))
    three = o_lora(tmp_path, "three", TASKS[:3])
    text = run(tmp_path, of_logs([a], [three], "mammoth", "o_lora"))
    assert "read from different sources (mammoth; o_lora)" in text
    assert "only their number was compared between the sides" in text


def test_experiences_are_compared_within_avalanche(tmp_path):
    def csv(name, order):
        lines = ["eval_exp,training_exp,eval_accuracy,eval_loss,forgetting"]
        lines += [f"{e},{t},0.{5 + e}{t}00,1.0,0" for k, t in enumerate(order) for e in order[: k + 1]]
        (tmp_path / name).write_text("\n".join(lines))
        return name

    a, b = csv("a.csv", [0, 1]), csv("b.csv", [1, 0])
    with pytest.raises(UserError, match=r"2 tasks \(experience 1, experience 0\); expected the same stream"):
        run(tmp_path, of_logs([a], [b], "avalanche"))
    matrix = logs(tmp_path, [[0.6, 0.1], [0.4, 0.9]], "m.json")
    assert "only their number was compared" in run(tmp_path, of_logs([a], [matrix], "avalanche"))


def test_missing_scores_are_refused_or_said(tmp_path):
    for name in ("a", "b"):
        o_lora(tmp_path, name, lost=5.0 if name == "a" else 6.0)
        (tmp_path / name / "3-yahoo" / "all_results.json").write_text('{"train_loss": 0.3}')
    missing = "the scores of tasks dbpedia, amazon, yahoo after task 3 were not logged"
    assert f"a is not complete: {missing}; average_accuracy does not need it" in run(
        tmp_path, of_logs(["a"], ["b"])
    )
    with pytest.raises(
        UserError, match="a: forgetting cannot be computed: the score of task yahoo after task 3"
    ):
        run(tmp_path, of_logs(["a"], ["b"], metric="forgetting"))
    (tmp_path / "b" / "4-agnews" / "all_results.json").unlink()  # killed within the last task
    words = "b: average_accuracy cannot be computed: the scores of tasks dbpedia, .*, agnews after task 4 were not"
    with pytest.raises(UserError, match=words):
        run(tmp_path, of_logs(["a"], ["b"]))


def test_a_metric_without_a_value(tmp_path):
    """Nothing was gained, so there is nothing to lose a share of."""
    a = logs(tmp_path, [[0.5, 0.5], [0.4, 0.5], [0.4, 0.5]], "a.json")
    b = logs(tmp_path, [[0.5, 0.5], [0.6, 0.5], [0.4, 0.5]], "b.json")
    with pytest.raises(
        UserError, match="a.json: fraction_lost has no value, because the old tasks gained nothing"
    ):
        run(tmp_path, of_logs([a], [b], "avalanche", metric="fraction_lost"))


@pytest.mark.parametrize("name", ["a\0b", "a\ud800"])
def test_a_log_that_no_file_can_be(tmp_path, name):
    (tmp_path / "reanalysis.yaml").write_text(json.dumps({"comparisons": [of_logs([name], ["b"])]}))
    with pytest.raises(ConfigError, match="A - B: A: log 'a.*expected|A - B: A: log 'a.*rename it"):
        reanalyse(tmp_path / "reanalysis.yaml")


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
def test_a_binary_log_is_reported_what_is_expected(tmp_path, importer, log, words):
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
    shares = entry([0.754, 0.757], [67.6, 72.6])
    (line,) = mistakes(tmp_path, shares)
    assert line.startswith(
        "A - B: A: all values are at most 1, the largest 0.757; expected points, from 0 to 100"
    )
    run(tmp_path, {**shares, "metric": "forgetting"})  # may be as little as that
    (line,) = mistakes(tmp_path, {**good, "blocks": ["order 1", "order  1 "]})
    assert line == "A - B: blocks: 'order 1' occurs 2 times; expected a different name for each block"
    own = {"n": 5, "mean": 3.1, "sd": 4.7, "source": "s", "confirmed": True}
    (line,) = mistakes(tmp_path, {"name": "A - B", "blocks": ["1", "2", "3"], "summary": own})
    assert line == "A - B: summary.n: found 5, expected 3, one per block"
    for key, value in (("n", 10**10), ("mean", 310.0), ("sd", 1e308)):
        (line,) = mistakes(tmp_path, {"name": "A - B", "summary": {**own, key: value}})
        assert f"summary.{key}: found {value}, expected at most" in line
    (line,) = mistakes(tmp_path, {**good, "plus": side(values=[1.0, True])})
    assert line.startswith("comparisons.0.plus.values.1: found True, expected number")
    (line,) = mistakes(tmp_path, {**good, "plus": side(values=[1.0, 200.0])})
    assert line.startswith("comparisons.0.plus.values.1: found 200.0, expected at most 100")
    (line,) = mistakes(tmp_path, {**good, "plus": {**side(values=[1.0, 2.0]), "sauce": "s"}})
    assert "unknown key 'sauce' (did you mean 'source'?)" in line
    for value in (float("nan"), float("inf")):
        (line,) = mistakes(tmp_path, {**good, "plus": side(values=[1.0, value])})
        assert f"{value}, expected" in line
        own = {"n": 3, "mean": value, "sd": 1.0, "source": "s", "confirmed": True}
        (line,) = mistakes(tmp_path, {"name": "A - B", "summary": own})
        assert f"summary.mean: found {value}, expected" in line
    assert mistakes(tmp_path, good, level=float("nan")) == ["level: found nan, expected a finite number"]
    assert mistakes(tmp_path) == ["comparisons: found [], expected at least 1 entries"]


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="none.yaml: no such file"):
        reanalyse(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("comparisons: [")
    with pytest.raises(UserError, match="bad.yaml: not valid YAML"):
        reanalyse(tmp_path / "bad.yaml")
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(ConfigError, match="empty.yaml: top level: found None, expected object"):
        reanalyse(tmp_path / "empty.yaml")

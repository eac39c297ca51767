"""The page of a made-up study, opened and parsed."""

import math
import re
from html.parser import HTMLParser
from importlib.metadata import version

import made_up
import pandas
import pytest

from sparse_continual import tables
from sparse_continual.errors import UserError
from sparse_continual.files import write_json
from sparse_continual.report import environment, rates
from sparse_continual.report.differ import differ
from sparse_continual.report.html_table import LIMIT, table
from sparse_continual.report.limits import limits
from sparse_continual.report.render import write
from sparse_continual.report.words import Words

EN, ZH = Words("en"), Words("zh")
SECTIONS = set(EN.catalogue["page"]["sections"])


class Page(HTMLParser):
    """Links, images, ids and the text of a page; unbalanced tags fail."""

    VOID = {"meta", "img", "br", "link", "input", "hr"}

    def __init__(self, text):
        super().__init__()
        self.links, self.images, self.ids, self.tags, self.open = [], [], [], [], []
        self.text, self.sections = "", {}
        self.feed(text)
        assert not self.open
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append((tag, given))
        self.links += [given[key] for key in ("href", "src", "action", "data", "srcset") if given.get(key)]
        self.images += [given["src"]] if tag == "img" else []
        self.ids += [given["id"]] if "id" in given else []
        if tag not in self.VOID:
            self.open.append((tag, given.get("id")))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open and self.open[-1][0] not in ("style", "script"):
            self.text += data
            for section, name in self.open:
                if section == "section":
                    self.sections[name] = re.sub(r"\s+", " ", self.sections.get(name, "") + data)


@pytest.fixture(scope="module")
def page(pages):
    return Page(pages["en"][0].read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def extract(pages):
    return pages["en"][1].read_text(encoding="utf-8")


def written(folder, facts, rows=None, told=made_up.ENVIRONMENT, language="en"):
    """(page, extract) of a study made in `folder`."""
    root = made_up.results(folder / "results", facts, rows)
    paths = [root / "report" / name for name in ("report.html", "findings.md", "primary.tex")]
    write(root, facts | {"language": language}, *paths, told)
    return Page(paths[0].read_text(encoding="utf-8")), paths[1].read_text(encoding="utf-8")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_opens_offline_and_its_links_lead_somewhere(pages, study, language):
    html = pages[language][0].read_text(encoding="utf-8")
    page = Page(html)
    root, _ = study
    for link in page.links:
        assert link.startswith(("#", "../", "data:image/svg+xml;base64,")), link[:80]
        if link.startswith("../"):
            assert (root / "report" / link).resolve().is_relative_to(root)
    assert not re.search(r"url\(|@import|<script src", html)
    policy = next(given["content"] for tag, given in page.tags if given.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags
    assert ("html", {"lang": {"en": "en", "zh": "zh-CN"}[language]}) in page.tags
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_keyboard_and_reader_find_their_way(page):
    first = next(given for tag, given in page.tags if tag == "a")
    assert first == {"class": "skip", "href": "#claims"}
    regions = [given for _, given in page.tags if given.get("role") == "region"]
    assert regions and all(given["tabindex"] == "0" and given["aria-label"].strip() for given in regions)
    headers = [given for tag, given in page.tags if tag == "th"]
    assert headers and all(given["scope"] == "col" for given in headers)
    assert all(given.get("alt") for tag, given in page.tags if tag == "img")


def test_every_section_is_there_in_both_languages(pages, page):
    assert set(page.sections) == SECTIONS
    chinese = Page(pages["zh"][0].read_text(encoding="utf-8"))
    assert set(chinese.sections) == SECTIONS
    for name, title in ZH.catalogue["page"]["sections"].items():
        assert chinese.sections[name].strip().startswith(title)


def test_every_figure_is_there_with_its_command(page, study):
    root, facts = study
    assert len(page.images) == len(facts["figures"])
    for name in facts["figures"]:
        assert f"people-{name}" in page.ids and f"{name}: title: Title of {name}" in page.text
        command = f"snakemake --cores 1 results/made-up/people/figures/{name}.svg --forcerun draw_figure"
        assert page.text.count(command) == 2 and command in page.sections["rebuild"]


def test_commands_name_the_config_that_is_not_the_default(tmp_path):
    facts = made_up.facts() | {"configfiles": ["studies/my study.yaml"]}
    facts["figures"] = {"forest": facts["figures"]["forest"]}
    page, _ = written(tmp_path, facts)
    target = "results/made-up/people/figures/forest.svg"
    command = f"snakemake --cores 1 {target} --configfile 'studies/my study.yaml' --forcerun draw_figure"
    assert command in page.text


def test_every_claim_has_its_verdict_and_nothing_else_is_a_finding(page, extract, study):
    root, facts = study
    rows = tables.read(root / "statistics" / "claims.csv")
    own = rows[rows.role != "component"]
    for place in (page.sections["claims"], extract):
        for row in own.itertuples():
            sentence = next(c["sentence"]["en"] for c in facts["claims"] if c["name"] == row.claim)
            assert sentence in place
        for verdict, count in own.verdict.value_counts().items():
            head = EN.name("verdicts", verdict) + " (demonstration)"
            assert place.count(head) == count, verdict
    rest = {name: text for name, text in page.sections.items() if name != "claims"}
    for name, text in rest.items():
        assert "(demonstration)" not in text, name
    assert "9 claims: 2 shown, 1 contradicted" in page.text
    assert "Why not: Nothing here measures it." in page.text


def test_no_number_of_a_claim_whose_gate_failed(pages, study):
    """Neither in the sentence nor in the table of claims: the estimate is −8.0 points."""
    html = pages["en"][0].read_text(encoding="utf-8")
    (line,) = re.findall(r"<tr><td><code>lora_adds</code>.*?</tr>", html)
    assert "8.0" not in line and "-0.08" not in line
    (line,) = re.findall(r"<tr><td><code>lock_forgets_less</code>.*?</tr>", html)
    assert "−6.0" in line and 'data-v="-0.06"' in line


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_number_of_a_contrast_whose_gate_failed(pages, language):
    """Neither in the primary table nor in LaTeX, whether its own gate or that of a claim on it failed."""
    words = Words(language)
    html, _, tex = (path.read_text(encoding="utf-8") for path in pages[language])
    (table,) = re.findall(r'<table class="data" id="table-people-primary">.*?</table>', html, re.S)
    rows = re.findall(r"<tr><td.*?</tr>", table)
    silent = [row for row in rows if words("gate.failed") in row]
    metrics = {"lora_interaction": "forgetting", "same_shape": "forward_transfer"}
    assert len(rows) == 12 and len(silent) == 2
    for row, (contrast, metric) in zip(silent, sorted(metrics.items(), reverse=True), strict=True):
        assert f"<code>{contrast}</code>" in row and words.name("metrics", metric) in row
    for number in made_up.SILENT.values():
        shown = [f"{number:g}", f"{100 * abs(number):.1f}", f"{abs(number):.3g}", f"{number:.3f}"[1:]]
        assert not [text for text in shown if text in table or text in tex]
    assert "−4.0" in table and "p</th>" not in table and 'data-c="sign_flip_p"' not in table


def test_numbers_of_failed_gates_elsewhere_are_called_description(page):
    for section in ("primary", "gates", "secondary", "sensitivity"):
        assert EN("page.described") in page.sections[section]


def test_claims_on_the_same_differences_say_so(page):
    text = page.sections["claims"]
    assert (
        "Same test as lock_forgets_less, lock_joint (in sparse_in_general), so no further evidence." in text
    )
    assert "Same differences as flops_joint (in sparse_in_general), tested in another way." in text
    assert text.count("Same test as") == 2


def test_columns_metrics_and_conditions_are_explained(page, study):
    _, facts = study
    for declared in tables.every().values():
        for column in declared.columns:
            assert column.name in page.text and re.sub(r"\s+", " ", column.en) in page.text
    assert all(condition in page.text for condition in facts["study"]["conditions"])


def test_secondary_results_are_marked(page):
    assert page.sections["secondary"].strip().startswith("Secondary and exploratory Exploratory.")
    assert "Demonstration. Not registered" in page.text


def test_repeats_to_the_byte_and_the_machine_shows_in_one_section(tmp_path):
    facts = made_up.facts()
    root = made_up.results(tmp_path / "made-up", facts)
    found = []
    for number, told in enumerate((made_up.ENVIRONMENT, made_up.ENVIRONMENT, None)):
        paths = [tmp_path / f"{number}" / name for name in ("report.html", "findings.md", "primary.tex")]
        write(root, facts, *paths, told)
        found.append([path.read_text(encoding="utf-8") for path in paths])
    assert found[0] == found[1]
    assert found[0][1:] == found[2][1:] and found[0][0] != found[2][0]
    without = [re.sub(r'<section id="environment">.*?</section>', "", html, flags=re.S) for html, *_ in found]
    assert without[0] == without[2]


def test_one_checkpoint_two_streams_three_blocks(tmp_path):
    facts = made_up.facts(streams=("people", "news"), one_base=True, blocks=3)
    rows = made_up.judged(3, bases=dict.fromkeys("123", "published"))
    page, extract = written(tmp_path, facts, rows)
    told = re.findall(r"^- (Descriptive only.*|Exploratory .*|Not tested.*)$", extract, re.M)
    assert len(told) == 9 and all(
        "for this checkpoint (demonstration)" in line.split(":")[0] for line in told
    )
    assert "Shown" not in extract and "Every sentence is for this checkpoint" in extract
    assert "Streams are analysed each by itself" in page.text and "Stream news" in page.text
    assert {"people-forest", "news-forest"} <= set(page.ids)


def test_a_failed_instrument_check_stops_the_report_with_the_reason(tmp_path):
    facts = made_up.facts()
    root = made_up.results(tmp_path / "made-up", facts)
    path = root / "people" / "statistics" / "instrument.csv"
    checks = tables.read(path)
    checks["passed"], checks["value"] = checks.index != 2, checks.value.astype(float)
    checks.loc[2, ["check", "arm", "why"]] = ["planted arm", "lock", "it merely learns less"]
    checks.loc[2, "value"] = 0.2
    tables.write(path, checks)
    report = root / "report" / "report.html"
    words = (
        "made-up/people: instrument check 'planted arm' of lock: found 0.2, expected 0: it merely learns less"
    )
    with pytest.raises(UserError, match=words):
        write(root, facts, report, report, report)
    assert not report.exists()


def test_a_verdict_edited_by_hand_stops_the_report(tmp_path):
    rows = made_up.judged()
    rows[3] |= {"verdict": "shown"}
    with pytest.raises(UserError, match="claim 'replay_forgets_less': found the verdict 'shown', but"):
        written(tmp_path, made_up.facts(), rows)


def test_claims_of_another_file_are_refused(tmp_path):
    facts = made_up.facts()
    facts["claims"] = facts["claims"][1:]
    with pytest.raises(UserError, match="differing in lock_forgets_less"):
        written(tmp_path, facts)


def test_without_claims_and_contrasts_nothing_is_a_finding(tmp_path):
    facts = made_up.facts() | {"claims": [], "figures": {}}
    facts["study"] |= {"contrasts": []}
    facts["streams"]["people"]["note"] = "<script>alert(1)</script>"
    root = made_up.results(tmp_path / "made-up", facts)
    tables.write(root / "statistics" / "claims.csv", tables.every()["claims"].frame([]))
    paths = [root / name for name in ("report.html", "findings.md", "primary.tex")]
    write(root, facts, *paths)
    html, extract = (path.read_text(encoding="utf-8") for path in paths[:2])
    assert "<script>alert" not in html and "No contrast was planned" in html
    assert (
        html.count("nothing in this report is a finding") == 2
        and "nothing in this report is a finding" in extract
    )


def test_registration_and_phase_are_reported(tmp_path):
    facts = made_up.facts() | {"phase": "confirmatory", "figures": {}}
    facts["registration"] = {"path": "studies/made-up.preregistration.yaml", "digest": "ab12"}
    page, extract = written(tmp_path, facts, made_up.judged(phase="confirmatory", registered=True))
    assert "Registered: studies/made-up.preregistration.yaml, SHA-256 ab12." in page.text
    assert "Confirmatory. The design was registered" in page.text and "emonstration" not in extract
    assert "- Shown: `sparse` forgot 6.0" in extract


def test_budgets_rates_and_buffers_are_reported(page):
    assert (
        "1,024 tokens, 4,096 B" in page.sections["run"]
        and "flops of sparse (off by 0.4 %)" in page.sections["run"]
    )
    words = "(locked against free to grow) and learning rate, as tuned (0.002 against 0.001)."
    assert words in page.sections["question"] and words in page.sections["claims"]


def test_a_long_table_says_that_it_is_cut():
    rows = [{"contrast": f"c{i}", "mean": -0.5, "scale": "bits", "p": 0.0002} for i in range(LIMIT + 1)]
    made = table(EN, "long", rows, "contrast mean:amount p")
    assert (len(made["rows"]), made["all"]) == (LIMIT, LIMIT + 1)
    assert [cell["text"] for cell in made["rows"][0]] == ["c0", "−0.5", "< .001"]
    assert [cell["value"] for cell in made["rows"][0]] == ["c0", "-0.5", "0.0002"]
    assert [head["text"] for head in made["head"]] == ["contrast", "difference (points, or bits)", "p"]


def test_the_page_shows_commits_uncommitted_changes_and_other_versions(page, pages):
    text = page.sections["environment"]
    assert "0123abcd" in text and "feedfeed" in text and "+line <199>" in text and "+line <200>" not in text
    assert "and 50 more lines" in text and "2.4.5" in text
    assert EN("page.environment.as_locked") not in text


def test_environment_adds_up_the_runs(tmp_path):
    for number, (seconds, device) in enumerate(((1.5, "cpu"), (2.5, "cpu"), (4.0, "cuda"))):
        run = {"seconds": seconds, "machine": {"device": device, "processor": "x86_64", "threads": 1}}
        write_json(tmp_path / str(number) / "run.json", run)
    changed = {"commit": "abc", "diff": "-one\n+two\n"}
    write_json(tmp_path / "0" / "provenance.json", {"commit": "abc", "diff": ""})
    write_json(tmp_path / "1" / "provenance.json", changed)
    lock = tmp_path / "lock.txt"
    lock.write_text(f"# versions\nnumpy==0.0.1\nscipy=={version('scipy')}\nnot-installed==1.0\n")
    found = environment.gather([tmp_path / str(number) / "run.json" for number in range(3)], lock)
    assert found["differences"] == [{"name": "numpy", "version": version("numpy"), "locked": "0.0.1"}]
    (digest,) = found["diffs"]
    assert found["diffs"] == {digest: changed["diff"]}
    assert found["code"] == [
        {"commit": "", "digest": "", "runs": 1},
        {"commit": "abc", "digest": "", "runs": 1},
        {"commit": "abc", "digest": digest, "runs": 1},
    ]
    assert found["machines"] == [
        {"device": "cpu", "processor": "x86_64", "threads": "1", "runs": 2, "seconds": 4.0},
        {"device": "cuda", "processor": "x86_64", "threads": "1", "runs": 1, "seconds": 4.0},
    ]
    assert {"torch", "numpy", "python", "sparse_continual"} <= set(found["versions"])


def test_what_a_contrast_differs_in():
    conditions = made_up.facts()["conditions"]
    conditions["masked"] = conditions["dense"] | {"writes": "masked", "like": "sparse_2of4"}
    same = dict.fromkeys(conditions, "0.002")

    def words(plus, minus, rates=same, **more):
        return differ({"plus": plus, "minus": minus, **more}, conditions, rates, EN)

    assert words(["sparse"], ["unlocked"]).endswith(
        "they differ in absent weights (locked against free to grow)."
    )
    assert "writes (only at the places of sparse_2of4 against all)" in words(["masked"], ["dense"])
    found = words(["sparse"], ["matched_flops"], same | {"sparse": "0.004"})
    assert (
        "topology (sparse_2of4 against dense), shape" in found
        or "topology (sparse_2of4 against dense) and" in found
    )
    assert found.endswith(" and learning rate, as tuned (0.004 against 0.002).")
    four = ["sparse_lora", "dense"], ["sparse", "dense_lora"]
    assert "rate" not in words(*four)
    assert words(*four, same | {"dense": "0.001"}).endswith("in this order: 0.002, 0.002, 0.002, 0.001.")
    assert words(["sparse"], []) == "`sparse` against zero."
    assert "on stream `a` against on stream `b`" in words(["sparse"], ["dense"], streams=["a", "b"])


def test_rates_are_reported_for_every_stream_where_they_differ():
    found = {"news": stream(), "tales": stream(trials={"sparse": (1, {1: (0, 0), 2: (0, 0)})})}
    assert rates.in_words(found, EN)["sparse"] == "2 on news and 1 on tales"
    assert rates.in_words({"news": stream()}, EN)["sparse"] == "2"


# condition -> chosen rate, {rate: (learning, forgetting)}
TRIALS = {
    "sparse": (2, {1: (0.50, 0.10), 2: (0.60, 0.20), 4: (0.65, 0.40)}),
    "unlocked": (1, {1: (0.50, 0.19), 2: (0.59, 0.315), 4: (0.58, 0.50)}),
}
BUDGET = {"stream": "people", "parameters": "100", "nonzeros": "50000", "prunable": "50000", "matched_on": ""}
BUDGET |= {"training_theoretical": "4", "training_executed": "4"}


def stream(trials=TRIALS, flags=(), transfer=(-0.01, 0.01), metrics=()):
    """The tables of one stream, with one contrast `lock` of `sparse` against `unlocked`."""
    frontier = [
        (arm, rate, block, rate == chosen, learnt + shift, forgot + shift)
        for arm, (chosen, found) in trials.items()
        for rate, (learnt, forgot) in found.items()
        for block, shift in (("tuning-1", -0.02), ("tuning-2", 0.02))
    ]
    names = ["condition", "learning_rate", "block", "chosen", "learning_accuracy", "forgetting"]
    rows = [{"contrast": "lock", "plus": "sparse", "minus": "unlocked", "role": "primary"}]
    rows += [{"contrast": "level", "plus": "sparse", "minus": "", "role": "primary"}]
    summary = {"part": "all", "scale": "raw", "lower": transfer[0], "upper": transfer[1]}
    measured = [(arm, "forward_transfer") for arm in trials] + list(metrics)
    return {
        "contrasts": pandas.DataFrame(rows),
        "frontier": pandas.DataFrame(frontier, columns=names),
        "flags": pandas.DataFrame({"kind": list(flags)}),
        "runs": pandas.DataFrame({"ends_share": [0.4, 0.6]}),
        "summary": pandas.DataFrame([summary | {"condition": arm, "metric": m} for arm, m in measured]),
    }


def claim(verdict="gate failed", margin="", bootstrap=math.nan):
    return {"claim": verdict, "verdict": verdict, "claim_margin": margin, "bootstrap_lower": bootstrap}


def lines(found=None, budget=(BUDGET,), verdicts=("gate failed",), margin="", words=EN, shared=1, **study):
    facts = made_up.facts()
    facts["study"] |= {"tuning": {"learning_rates": [1, 2, 4], "blocks": 2}} | study
    claims = [claim(verdict, margin) for verdict in verdicts]
    facts["bases_of_blocks"] = made_up.bases_of_blocks(facts["study"]["blocks"], shared)
    return "\n".join(limits(facts, list(budget), {"people": found or stream()}, claims, words))


def test_limits_follow_the_facts():
    facts = made_up.facts(blocks=3)
    facts["bits"]["people"] = 20 * 2000 * 12.97
    facts["study"]["training"] |= {"ends": "trained", "stop": {"loss": 0.1, "cap": 400, "every": 10}}
    claims = [claim()]
    text = "\n".join(limits(facts, [BUDGET], {"people": stream(flags=["floor", "floor"])}, claims, EN))
    for words in (
        "This study is a demonstration",
        "With 3 blocks nothing can be shown, only described: the exact test can at best reach p = .250",
        "capacity may bind",
        "validation loss of 0.1",
        "50 % of the squared update",
        "Where the learning gate failed",
        "2 series of scores never come more than 5 points above chance",
        "takes its standard error from 2 tuning blocks",
        "Rank and alpha of LoRA were not tuned for each arm, only the learning rate was; the form `side`",
    ):
        assert words in text
    assert "kernels execute" not in text and "Not distinguished" not in text


def test_the_load_is_what_the_source_says():
    facts = made_up.facts()
    wanted = {None: "limits.load.fixed", 100.0: "limits.load.low", 1e6: "limits.load.high"}
    for bits, key in wanted.items():
        facts["bits"]["people"] = bits
        text = "\n".join(limits(facts, [BUDGET], {"people": stream()}, [], EN))
        load = "" if bits is None else f"{bits / float(BUDGET['nonzeros']):.2g}"
        assert EN(key, stream="`people`", load=load, capacity=2) in text


def test_limits_are_as_many_in_chinese():
    for options in ({}, {"blocks": 3}, {"verdicts": ()}, {"verdicts": ("not distinguished", "exploratory")}):
        chinese = lines(words=ZH, **options)
        assert chinese.count("\n") == lines(**options).count("\n") and "Every" not in chinese


def test_what_not_distinguished_leaves_open_depends_on_a_margin():
    assert "no equivalence test was planned" in lines(verdicts=["not distinguished"])
    assert "only within its margin" in lines(verdicts=["not distinguished"], margin=0.05)
    assert "No claims were planned" in lines(verdicts=[])


def test_a_level_out_of_reach_is_a_limit():
    assert "With 6 blocks nothing can be shown" in lines(blocks=6, statistics={"level": 0.01})
    assert "nothing can be shown" not in lines()


def test_shared_bases_are_a_limit():
    text = lines(shared=2)
    assert "the base is the unit of every claim" in text
    assert "With 5 bases nothing can be shown" in text and "reach p = .062" in text
    assert "The unit of replication is the base (n = 8)." in lines(blocks=16, shared=2)
    assert "the unit of every claim" not in lines() and "the block (n = 10)" in lines()
    text = lines(blocks=8, shared=8)
    assert "All blocks start from the same weights" in text and "the block (n = 8)" in text


def test_skewed_differences_are_a_limit():
    words = "Differences of `shown` are skewed, or an arm collapsed. Where differences are skewed, the 95 % t"
    facts = made_up.facts()
    for bootstrap, told in ((-0.03, True), (math.nan, False)):
        found = limits(facts, [BUDGET], {"people": stream()}, [claim("shown", "", bootstrap)], EN)
        assert any(line.startswith(words) for line in found) == told


def test_shared_bases_are_the_unit_on_the_page(tmp_path):
    facts = made_up.facts() | {"figures": {}, "bases_of_blocks": made_up.bases_of_blocks(10, 2)}
    page, _ = written(tmp_path, facts, made_up.judged(bases=facts["bases_of_blocks"]))
    text = page.sections["question"]
    assert "There are 10 blocks" in text and "The unit of replication is the base (n = 5)." in text
    assert "Successive blocks share a base" in text and "is the block" not in text


def test_a_contrast_of_two_rates_is_a_limit():
    assert (
        "Contrast `lock` compares arms at different learning rates (`sparse` 2, `unlocked` 1). On the tuning"
        " blocks the difference in forgetting (in learning) is −9.0 (0.0) at 1 in both, −11.5 (+1.0) at 2 in"
        " both, −10.0 (+7.0) at 4 in both, and +1.0 (+10.0) points at the chosen rates: how much of a"
        " difference, or of none, is the rate's cannot be told from the test alone."
    ) in lines()
    alike = TRIALS | {"unlocked": (2, TRIALS["unlocked"][1])}
    assert "compares arms at different" not in lines(stream(alike))


def test_edges_of_the_grid_are_a_limit_for_the_chosen_and_the_best_rate():
    text = lines()
    assert "`unlocked` took the smallest learning rate of the grid (1)" in text
    assert "`sparse` learnt best at the largest learning rate of the grid (4), though" in text
    assert "A single learning rate" in lines(tuning={"learning_rates": [2], "blocks": 2})


def test_transfer_near_zero_is_a_limit():
    words = "In stream `people` no condition's forward transfer is distinguished from none"
    assert words in lines()
    assert words not in lines(stream(transfer=(0.01, 0.02)))


def test_retention_that_was_not_measured_is_a_limit():
    assert "Retention of the base was not measured: it declares no mixture." in lines()
    kept = [("sparse", "base_retention")]
    assert "not measured under `unlocked`:" in lines(stream(metrics=kept))
    assert "Retention" not in lines(stream(metrics=[*kept, ("unlocked", "base_retention")]))


def test_two_controls_that_are_one_model_are_a_limit():
    def control(on, weights):
        sizes = {"nonzeros": weights, "prunable": weights}
        return BUDGET | sizes | {"condition": f"by_{on}", "matched_on": on, "matched_to": "sparse"}

    text = lines(budget=[control("nonzeros", "1000"), control("flops", "1040")])
    assert (
        "`by_nonzeros` and `by_flops` are nearly the same model (1,000 and 1,040 weights in blocks)" in text
    )
    assert "nearly" not in lines(budget=[control("nonzeros", "1000"), control("flops", "1100")])

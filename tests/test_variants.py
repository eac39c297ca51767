"""A variant is one file: a new one of each kind is used end to end, and no other file needs an existing one."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import made_up
import pytest

import sparse_continual
from sparse_continual import code, registry
from sparse_continual.budgets.plan import plan_text
from sparse_continual.errors import ConfigError, UserError
from sparse_continual.pruning.table import table
from sparse_continual.reanalysis.reanalysis import reanalyse
from sparse_continual.report import render
from sparse_continual.study.config import checked, merged
from sparse_continual.study.study import Study

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(sparse_continual.__file__).parent
NEW = Path(__file__).with_name("variants")
TINY = Path(__file__).with_name("workflow") / "tiny.yaml"
KINDS = [
    "pruning.methods",
    "pruning.allocations",
    "runs.mechanisms",
    "streams.sources",
    "bases.sources",
    "figures",
    "reanalysis.importers",
]
VARIANTS = [(package, name) for package in KINDS for name in registry.names(package)]


# a new one


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """What `variants/use.py` prints of a copy of the package with the files of `variants` in it."""
    copy = tmp_path_factory.mktemp("copy")
    skipped = shutil.ignore_patterns("__pycache__", "use.py")
    shutil.copytree(PACKAGE, copy / "sparse_continual", ignore=skipped)
    shutil.copytree(NEW, copy / "sparse_continual", dirs_exist_ok=True, ignore=skipped)
    (copy / "out").mkdir()
    paths = os.pathsep.join([str(copy), str(Path(__file__).with_name("helpers"))])
    done = subprocess.run(
        [sys.executable, NEW / "use.py", TINY, copy / "out"],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_new_variants_are_planned_and_their_settings_checked(used):
    study = used["study"]
    assert "odd        unstructured  16x32 L2 2/2" in study["plan"] and "late_columns" in study["plan"]
    assert "Block 1: trades_" in study["plan"] and study["bits"] == 10
    assert study["variants"] == ["pruning.methods.late_columns", "pruning.allocations.deeper"]
    assert len(study["code"]) == 16
    assert study["refused"] == [
        "bases.plain: width: found 12, expected a multiple of 8",
        "config: bases.plain: unknown key 'widht' (did you mean 'width'?); there are source, mixture, recovery, width",
        "topologies.odd: allocation deeper.base: found 0, expected at least 1",
        "config: streams.shops.items: found 0, expected at least 1",
    ]


def test_new_variants_do_their_jobs(used):
    """Layer 1 keeps twice what layer 0 keeps, of half the weights: shares of 1/3 and 2/3."""
    assert used["jobs"]["tasks"] == ["trades_0", "trades_1"]
    rows = used["jobs"]["densities"]
    weights = sum(row["weights"] for row in rows)
    assert sum(row["nonzeros"] for row in rows) == weights // 2
    for row in rows:
        assert abs(row["nonzeros"] - row["weights"] * (row["layer"] + 1) / 3) < 1


def test_a_new_figure_is_drawn_and_stands_in_its_section(used):
    report = used["report"]
    assert report["order"] == ["first_scores", "stream_curves"]
    places = [report["curves"].index(f'id="people-{name}"') for name in report["order"]]
    assert places == sorted(places) and "Mean score before the stream." in report["curves"]
    assert report["svg"].count("<path") > 2


def test_a_new_importer_reads_logs(used):
    """Averages over both tasks: 65 and 50 against 40 and 30 points."""
    assert (
        "| one | 65.00 | 40.00 | +25.00 |" in used["text"]
        and "| two | 50.00 | 30.00 | +20.00 |" in used["text"]
    )


def test_every_kind_but_mechanisms_has_a_new_one():
    """Mechanisms have eight, in tests/runs/contract."""
    new = {".".join(path.relative_to(NEW).parent.parts) for path in NEW.rglob("*.py")} - {""}
    assert new | {"runs.mechanisms"} == set(KINDS)


# an existing one less


def test_no_file_imports_a_variant():
    """Neither library, scripts nor other variants; imports inside functions count too."""
    files = {PACKAGE.joinpath(*package.split("."), f"{name}.py") for package, name in VARIANTS}
    paths = {*PACKAGE.rglob("*.py"), *(ROOT / "scripts").rglob("*.py")}
    assert len(files) == len(VARIANTS) > 40 and files < paths
    assert not files & set(code.closure(*map(str, paths - files)))
    for path in files:
        assert files & set(code.closure(str(path))) == {path}


@contextmanager
def without(*variants):
    """The registry without `variants`, pairs of package and name, as if their files were deleted."""
    names = registry.names

    def others(package):
        return [name for name in names(package) if (package, name) not in variants]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "names", others)
        for package, name in variants:
            patch.setitem(sys.modules, f"sparse_continual.{package}.{name}", None)
        yield


@pytest.fixture(scope="module")
def configs(world, tmp_path_factory):
    """Two configs that use other variants each, and what they use."""
    texts = tmp_path_factory.mktemp("texts")
    for name in ("one", "two"):
        (texts / f"{name}.txt").write_text("Ada plays the piano . " * 40)
    tiny = merged([TINY])
    study = {key: tiny["study"][key] for key in ("name", "blocks", "training", "tuning")}
    erk = {"method": "wanda", "pattern": "unstructured", "sparsity": 0.5, "allocation": "erk"}
    text = {"source": "text", "files": [str(texts / "one.txt"), str(texts / "two.txt")]}
    first = {
        "bases": tiny["bases"],
        "topologies": {"dense": {"method": "dense"}, "half": {"method": "magnitude", "pattern": "2:4"}},
        "mechanisms": {"plain": {"kind": "finetune"}},
        "streams": {"tasks": tiny["streams"]["people"]},
        "conditions": {name: {"base": "tiny", "topology": name} for name in ("dense", "half")},
        "figures": {"forest": {}},
    }
    second = {
        "bases": {"own": {"source": "local", "path": str(world.root / "model")}},
        "topologies": {"half": erk},
        "mechanisms": {"plain": {"kind": "lora", "rank": 2, "alpha": 4}},
        "streams": {"tasks": text | {"sequence_length": 16}},
        "conditions": {"half": {"base": "own", "topology": "half"}},
        "figures": {"density": {}},
    }
    for config in (first, second):
        for condition in config["conditions"].values():
            condition["mechanism"] = "plain"
        config["study"] = {
            **study,
            "streams": ["tasks"],
            "conditions": list(config["conditions"]),
            "contrasts": [],
        }
    used = [
        *("pruning.methods.dense", "pruning.methods.magnitude", "pruning.allocations.uniform"),
        *("runs.mechanisms.finetune", "streams.sources.facts", "bases.sources.generated", "figures.forest"),
    ]
    return first, second, {tuple(variant.rsplit(".", 1)) for variant in used}


@pytest.mark.parametrize("package", KINDS)
def test_studies_that_do_not_use_a_variant_are_planned_without_it(package, configs):
    first, second, used = configs
    for variant in [one for one in VARIANTS if one[0] == package]:
        config, other = (second, first) if variant in used else (first, second)
        with without(variant):
            for kind, name in VARIANTS:
                if (kind, name) != variant:
                    registry.load(kind, name)
            assert "Together:" in plan_text(Study(checked(config)))
            assert f"`{variant[1]}`" not in table()
            if variant in used:
                with pytest.raises((ConfigError, UserError), match=f"no variant {variant[1]!r}"):
                    Study(checked(other))


def page_of(facts, folder) -> str:
    outputs = [folder / name for name in ("page.html", "findings.md", "primary.tex")]
    render.write(folder / "made-up", facts, *outputs)
    return outputs[0].read_text()


def test_reports_need_no_variant_but_their_figures(tmp_path):
    """All variants but one figure are gone; then that figure is gone, and the page shows all others."""
    facts = made_up.facts()
    facts["figures"].pop("forest")
    root = made_up.results(tmp_path / "made-up", facts)
    with without(("figures", "forest")):
        page = page_of(facts, root.parent)
    assert (
        all(f'id="people-{name}"' in page for name in facts["figures"]) and 'id="people-forest"' not in page
    )
    facts["figures"] = {"density": facts["figures"]["density"]}
    with without(*(variant for variant in VARIANTS if variant != ("figures", "density"))):
        page = page_of(facts, root.parent)
    assert 'id="people-density"' in page and 'id="people-power"' not in page


def test_reanalyses_of_values_need_no_importer():
    studies = ROOT / "studies" / "reanalysis.yaml"
    whole = reanalyse(studies)
    with without(*((kind, name) for kind, name in VARIANTS if kind == "reanalysis.importers")):
        assert reanalyse(studies) == whole


# what a variant's file must be


def test_variants_import_without_heavy_libraries():
    """They are loaded at every start, for what they declare."""
    lines = [
        "import sys",
        "for name in ('torch', 'transformers', 'pandas', 'matplotlib', 'peft'): sys.modules[name] = None",
        "from sparse_continual import registry",
        f"for variant in {VARIANTS}: registry.load(*variant)",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert not done.returncode, done.stderr[-2000:]


def test_no_code_asks_a_module_whether_it_has_a_name():
    """A fact of a variant is a field of its contract, with a documented default."""
    asking = re.compile(r"""(has|get)attr\([\w.]+, ["'][A-Z]""")
    texts = [*PACKAGE.rglob("*.py"), *(ROOT / "scripts").rglob("*.py"), *(ROOT / "workflow").rglob("*.smk")]
    assert len(texts) > 150 and not [
        path for path in texts if asking.search(path.read_text(encoding="utf-8"))
    ]


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """A function (package, text) that adds a variant `odd`, whose file has that text."""
    added = []

    def add(package, text):
        name = f"sparse_continual.{package}"
        module = importlib.import_module(name)
        (tmp_path / "odd.py").write_text(text)
        monkeypatch.setattr(module, "__path__", [*module.__path__, str(tmp_path)])
        importlib.invalidate_caches()
        added.append((module, f"{name}.odd"))

    yield add
    for module, name in added:
        sys.modules.pop(name, None)
        vars(module).pop("odd", None)


@pytest.mark.parametrize(
    ("package", "contract"),
    [
        ("pruning.methods", "METHOD = Method(...); define it as pruning/method.py describes"),
        ("pruning.allocations", "ALLOCATION = Allocation(...); define it as pruning/allocation.py describes"),
        ("streams.sources", "SOURCE = Source(...); define it as streams/source.py describes"),
        ("bases.sources", "SOURCE = Source(...); define it as bases/source.py describes"),
        ("figures", "FIGURE = Figure(...); define it as figures/figure.py describes"),
        ("reanalysis.importers", "IMPORTER = Importer(...); define it as reanalysis/importer.py describes"),
    ],
)
@pytest.mark.parametrize("text", ["", "{} = 3\n"])
def test_a_file_that_does_not_define_its_contract_is_refused_in_one_line(package, contract, text, odd):
    odd(package, "SCHEMA = {'type': 'object'}\n" + text.format(contract.split()[0]))
    assert "odd" in registry.names(package)
    with pytest.raises(UserError) as caught:
        registry.load(package, "odd")
    assert str(caught.value).endswith(f"odd.py: found no {contract}")


def test_what_a_contract_refuses_names_the_file(odd):
    lines = (
        "from sparse_continual.figures.figure import Figure",
        "FIGURE = Figure(print, caption='', section='x')",
    )
    odd("figures", "\n".join(lines))
    with pytest.raises(UserError, match="odd.py: figure: found section 'x', expected one of claims, primary"):
        registry.load("figures", "odd")


def test_a_variant_without_settings_is_refused(odd):
    odd("pruning.methods", "")
    with pytest.raises(UserError, match="odd.py: found no SCHEMA, expected the JSON schema"):
        registry.schema("pruning.methods", "odd")


def test_options_of_a_shuffled_method_are_checked_with_the_config(configs):
    """Not in the job: so `snakemake -n` refuses them."""
    first, shuffled = deepcopy(configs[0]), {"method": "shuffled", "of": "obc", "pattern": "2:4"}
    first["topologies"]["half"] = {**shuffled, "options": {"rowz": "equal"}}
    words = "topologies.half: method shuffled: options of obc: unknown key 'rowz' .did you mean 'rows'"
    with pytest.raises(UserError, match=words):
        Study(checked(first))
    first["topologies"]["half"] = {**shuffled, "options": {"rows": "equal"}}
    assert Study(checked(first)).sparse("half")

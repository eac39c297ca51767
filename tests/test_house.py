"""What the repository says about itself is true: dependencies, licence, commands, paths."""

import ast
import os
import re
import runpy
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from sparse_continual import code

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME = PROJECT["dependencies"]
EXTRAS = PROJECT["optional-dependencies"]


def plain(name: str) -> str:
    """A distribution's name without its version, as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[=<>!~\[ ]", name)[0]).lower()


def files() -> list[Path]:
    """Files that are or would be tracked; without git, those outside the ignored folders."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        found = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        ignored = {"results", "data", "build", "__pycache__", ".venv", ".git", ".snakemake"}
        ignored |= {".pytest_cache", ".ruff_cache"}
        found = [p for p in ROOT.rglob("*") if not ignored & set(p.relative_to(ROOT).parts)]
    return sorted(p for p in found if p.is_file())


def imported(*folders) -> dict[str, Path]:
    """Third-party distribution -> a file in `folders` that imports it, inside functions too."""
    ours = {"sparse_continual"} | {p.stem for p in (ROOT / "tests").rglob("*.py")}
    distributions = metadata.packages_distributions()
    found = {}
    for file in files():
        if not any(file.is_relative_to(ROOT / folder) for folder in folders):
            continue
        text = file.read_text() if file.suffix in (".py", ".smk") or file.name == "Snakefile" else ""
        if file.suffix == ".py":
            names = []
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Import):
                    names += [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names.append(node.module)
        else:
            names = re.findall(r"^\s*(?:import|from)\s+([\w.]+)", text, re.MULTILINE)
        for top in {name.split(".")[0] for name in names} - ours - sys.stdlib_module_names:
            # one module may come with several distributions (snakemake's plugin interfaces do)
            owners = [plain(owner) for owner in distributions.get(top, [top])]
            found[plain(top) if plain(top) in owners else owners[0]] = file
    return found


def test_pins_are_exact():
    for line in RUNTIME + EXTRAS["test"] + EXTRAS["slurm"]:
        assert re.fullmatch(r"[A-Za-z0-9_-]+==[0-9][0-9a-z.]*", line), line


def test_conda_environment_equals_pyproject():
    text = (ROOT / "envs" / "environment.yaml").read_text()
    environment = yaml.safe_load(text)
    python, pip, wheels = environment["dependencies"]
    assert python == f"python{PROJECT['requires-python']}"
    assert pip == "pip"
    assert wheels["pip"] == RUNTIME
    last = "pip install --no-deps -e ."  # the package, without which nothing runs, is not in it
    assert last in text and last in (ROOT / "docs" / "reproducibility.md").read_text()


def locked() -> dict:
    """Package -> version in envs/lock.txt."""
    lines = (ROOT / "envs" / "lock.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    return {plain(name): version for name, version in pins}


def test_lock_has_every_pin():
    pins = dict(line.split("==") for line in RUNTIME + EXTRAS["test"])
    assert {name: locked().get(plain(name)) for name in pins} == pins


@pytest.mark.skipif(
    not os.environ.get("PIP_CONSTRAINT", "").endswith("envs/lock.txt"),
    reason="this environment was not installed with PIP_CONSTRAINT=envs/lock.txt",
)
def test_lock_is_the_whole_environment():
    installed = {
        plain(package.metadata["Name"]): package.version.split("+")[0] for package in metadata.distributions()
    }
    assert {
        name: version
        for name, version in installed.items()
        if name not in ("sparse-continual", "pip", "setuptools", "wheel")
    } == locked()


def test_every_direct_import_is_declared():
    declared = {plain(line) for line in RUNTIME}
    missing = {
        n: str(f) for n, f in imported("workflow", "scripts", "Snakefile").items() if n not in declared
    }
    assert not missing
    declared |= {plain(line) for line in EXTRAS["test"]}
    missing = {n: str(f) for n, f in imported("tests", "benchmarks").items() if n not in declared}
    assert not missing


def test_nothing_is_declared_that_is_not_imported():
    engine = {"snakemake"}
    assert {plain(line) for line in RUNTIME} - engine - set(
        imported("workflow", "scripts", "Snakefile")
    ) == set()


def test_license_is_apache():
    text = (ROOT / "LICENSE").read_text()
    assert PROJECT["license"] == "Apache-2.0"
    assert text.lstrip().startswith("Apache License\n") and "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["license"] == "Apache-2.0"


def test_versions_agree():
    import sparse_continual

    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == sparse_continual.__version__
    assert f"## {sparse_continual.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_command_lines_are_in_the_readme_once():
    """`.ci/run` reads them from there."""
    lines = (ROOT / "README.md").read_text().splitlines()
    found = [line for line in lines if re.match(r"python3 -m venv|\.venv/bin/pip install", line)]
    assert found == [
        "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/snakemake --cores all",
        ".venv/bin/pip install -e '.[test]' && .venv/bin/pytest",
    ]


PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "results" / "README.md",
    *(ROOT / "docs").glob("*.md"),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)|src=\"([^\"]+)\"", page.read_text(encoding="utf-8"))
    assert not [link for link in map("".join, links) if not (page.parent / link).exists()]


def test_the_readme_is_short_and_names_every_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert not [
        page.name for page in PAGES if page.parent == ROOT / "docs" and f"docs/{page.name}" not in text
    ]


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py")))
def test_benchmarks_say_what_they_take(name, monkeypatch, capsys):
    """In this process, which has imported the heavy libraries already."""
    script = str(ROOT / "benchmarks" / f"{name}.py")
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(script, run_name="__main__")
    said = capsys.readouterr()
    assert not ended.value.code and said.out.startswith("usage: ") and not said.err


# Put together from parts, so that this file does not contain what it looks for.
MACHINE_PATH = re.compile(
    r"(?<![\w./])/(?:" + "|".join(("work", "tmp", "home", "root", "Users", "mnt")) + r")/"
)


@pytest.mark.parametrize("suffix", [".py", ".smk", ".md", ".yaml", ".yml", ".toml", ".cff", ".html", ""])
def test_no_path_of_one_machine(suffix):
    found = []
    for file in files():
        if file.suffix == suffix:
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                if MACHINE_PATH.search(line) or ".." + "/shared" in line:
                    found.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not found


@pytest.mark.parametrize("profile", ["default", "slurm"])
def test_profiles(profile):
    settings = yaml.safe_load((ROOT / "profiles" / profile / "config.yaml").read_text())
    assert "code" not in settings["rerun-triggers"] and "params" in settings["rerun-triggers"]
    assert settings["rerun-incomplete"] and settings["show-failed-logs"]
    assert "keep-incomplete" not in settings and "quiet" not in settings


def test_packages_import_downwards_only_and_in_no_circle():
    command = ["lint-imports", "--no-cache"]
    done = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_modules_are_looked_up_by_name_in_the_registry_alone():
    """And in the package's own `__getattr__`: anything else would drop out of the digests of code."""
    package = ROOT / "workflow" / "sparse_continual"
    doors = {package / "registry.py", package / "__init__.py"}
    paths = [*package.rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]
    lookups = {path for path in paths if re.search(r"import_module|__import__|runpy", path.read_text())}
    assert lookups == doors
    assert code.closure(*map(str, paths))  # raises where a module imports through a door

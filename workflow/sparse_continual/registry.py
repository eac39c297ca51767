"""Variants found lazily by name: one file per pruning method, mechanism, stream source, figure.

A variant package is a folder of modules; a module's name is the variant's name, and its `SCHEMA`
is the JSON schema of its settings. Adding or deleting a file touches nothing else, and a heavy
import inside one variant costs the others nothing.
"""

import ast
import importlib
import pkgutil
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from sparse_continual.errors import UserError

ROOT = "sparse_continual"


def names(package: str) -> list[str]:
    """Sorted names of the variants in `package`, for example `names("pruning.methods")`."""
    path = importlib.import_module(f"{ROOT}.{package}").__path__
    return sorted(m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_"))


def load(package: str, name: str) -> ModuleType:
    """The variant `name` of `package`.

    Raises UserError naming the nearest variant when there is none of that name.
    """
    _known(package, name)
    return importlib.import_module(f"{ROOT}.{package}.{name}")


def schema(package: str, name: str) -> dict:
    """`SCHEMA` of the variant `name` of `package`, as `load` would give it.

    A literal is read from the file without running it: the config is checked at every start, and what a
    variant imports for its work may take seconds.
    """
    _known(package, name)
    folder = Path(importlib.import_module(f"{ROOT}.{package}").__path__[0])
    for node in ast.parse((folder / f"{name}.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["SCHEMA"]:
            try:
                return ast.literal_eval(node.value)
            except ValueError:  # put together from names
                break
    return load(package, name).SCHEMA


def _known(package: str, name: str) -> None:
    known = names(package)
    if name not in known:
        raise UserError(f"{package}: no variant {name!r}{nearest(name, known)}; there are {', '.join(known)}")


def nearest(word: str, known) -> str:
    """A clause `` (did you mean 'x'?)`` for the closest of `known`, or an empty string."""
    close = get_close_matches(str(word), [str(k) for k in known], n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def packages_with(module: str) -> list[str]:
    """Sorted names of the packages of the library that have a module of this name."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob(f"*/{module}.py"))


def by_name(module: str) -> ModuleType:
    """A module of the package, for code that must not depend on it.

    A digest follows imports (`code`), so this module's code is in the digest of a result only where the rule adds it.
    Use it for what some results alone need (pruning, a teacher), and for what watches a job without changing its
    result (scores, measures, prices).
    """
    return importlib.import_module(f"{ROOT}.{module}")

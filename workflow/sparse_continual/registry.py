"""Variants found lazily by name: one file per pruning method, mechanism, stream source, figure.

A variant package is a folder of modules; a module's name is the variant's name. Its contract is declared once, in the
module beside the folder: `pruning/method.py` declares `Method`, and each file in `pruning/methods` ends in
`METHOD = Method(...)`. (`runs/mechanism.py` declares a class, and each file in `runs/mechanisms` derives a class of the
same name.) `SCHEMA` in a variant's file is the JSON schema of its settings. Adding or deleting a file changes no other
file, and a heavy import inside one variant costs the others nothing.
"""

import ast
import importlib
import importlib.util
import pkgutil
from dataclasses import is_dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from sparse_continual.errors import UserError

ROOT = "sparse_continual"


def names(package: str) -> list[str]:
    """Sorted names of the variants in `package`, for example `names("pruning.methods")`."""
    path = importlib.import_module(f"{ROOT}.{package}").__path__
    contract = _contract(package).removeprefix(
        f"{package}."
    )  # the contract of figures lies in their own folder
    modules = sorted(module.name for module in pkgutil.iter_modules(path))
    return [name for name in modules if not name.startswith("_") and name != contract]


def load(package: str, name: str):
    """The variant `name` of `package`: the object, or class, of its contract that its file defines.

    Raises UserError naming the nearest variant if the name is unknown, and naming the file if it does not define its
    contract.
    """
    path, place = _file(package, name), _contract(package)
    try:
        module = importlib.import_module(f"{ROOT}.{package}.{name}")
    except UserError as error:  # the contract refuses the file's declarations
        raise UserError(f"{path}: {error}") from None
    kind = place.rpartition(".")[2]
    contract = vars(importlib.import_module(f"{ROOT}.{place}"))[kind.capitalize()]
    if is_dataclass(contract):
        expected = f"{kind.upper()} = {contract.__name__}(...)"
        variant = vars(module).get(kind.upper())
        fits = isinstance(variant, contract)
    else:
        expected = f"class {contract.__name__} derived from {contract.__module__}.{contract.__name__}"
        variant = vars(module).get(contract.__name__)
        fits = isinstance(variant, type) and issubclass(variant, contract)
    if not fits:
        raise UserError(f"{path}: found no {expected}; define it as {place.replace('.', '/')}.py describes")
    return variant


def schema(package: str, name: str) -> dict:
    """`SCHEMA` of the variant `name` of `package`.

    A literal is read from the file without running it, because the config is checked at every start and the imports of
    a variant may take seconds.

    Raises UserError as `load`, and naming the file if it has no SCHEMA.
    """
    path = _file(package, name)
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["SCHEMA"]:
            try:
                return ast.literal_eval(node.value)
            except ValueError:  # not a literal
                return importlib.import_module(f"{ROOT}.{package}.{name}").SCHEMA
    raise UserError(f"{path}: found no SCHEMA, expected the JSON schema of the variant's settings")


def docstring(package: str, name: str) -> str:
    """Docstring of the file of the variant `name` of `package`, read without running it."""
    return ast.get_docstring(ast.parse(_file(package, name).read_text(encoding="utf-8"))) or ""


def _contract(package: str) -> str:
    """The module that declares the contract of a variant package: pruning.method for pruning.methods."""
    stage, _, folder = package.rpartition(".")
    return f"{stage or folder}.{folder.removesuffix('s')}"


def _file(package: str, name: str) -> Path:
    _known(package, name)
    return Path(importlib.util.find_spec(f"{ROOT}.{package}.{name}").origin)


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

    A digest follows imports (`code`), so it covers a module loaded in this way only if the rule adds it. Use this for
    code that only some results need (pruning, a teacher), and for code that watches a job without changing its result
    (scores, measures, prices).
    """
    return importlib.import_module(f"{ROOT}.{module}")

"""Digest of the code behind a result, so that a rule reruns if and only if its code changed.

Snakemake's own `code` trigger looks at a script's time stamp and not at the library behind it. Here the static import
closure inside the package is hashed, including imports inside functions. Text that cannot change a result is excluded:
comments, layout, docstrings, messages of errors and logs, descriptions of options and meanings of columns. The
package's own `__init__.py` is excluded too: it holds the version and the public names. Modules that are looked up by
name (`registry`) are not in the closure: the rule adds those that its settings choose.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

import sparse_continual

PACKAGE = Path(sparse_continual.__file__).resolve().parent
NAME = "sparse_continual"


DESCRIBING = ("description", "meaning", "en", "zh")  # keys and arguments that hold text for people
LOGGERS = ("logging", "logger")  # names of objects that write logs; `math.log` and the like are code


class _Strip(ast.NodeTransformer):
    """Removes docstrings and texts for people; `ast.unparse` removes comments and layout."""

    def strip(self, node):
        self.generic_visit(node)
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or ([] if isinstance(node, ast.Module) else [ast.Pass()])
        return node

    visit_Module = visit_ClassDef = visit_FunctionDef = visit_AsyncFunctionDef = strip

    def visit_Raise(self, node):
        return _without_texts(node)

    def visit_Call(self, node):
        logs = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", None) in LOGGERS
        if logs or getattr(node.func, "id", None) == "print":
            return _without_texts(node)
        self.generic_visit(node)
        for keyword in node.keywords:
            if keyword.arg in DESCRIBING:
                keyword.value = ast.Constant("")
        return node

    def visit_Dict(self, node):
        self.generic_visit(node)
        for place, key in enumerate(node.keys):
            if isinstance(key, ast.Constant) and key.value in DESCRIBING:
                node.values[place] = ast.Constant("")
        return node


def _without_texts(node):
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            inner.value = ""
    return node


@cache
def _read(path: Path) -> tuple[str, frozenset[Path]]:
    """(code without texts for people, package files that it imports) of one file.

    Raises ValueError for a relative import, and for an import from this package that leads to no file: code behind a
    package's `__getattr__` would be missing from the digest.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    files = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                files.update(_imported(path, node, alias.name))
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path}: line {node.lineno}: relative import, expected an absolute one")
            for alias in node.names:
                files.update(_imported(path, node, node.module, alias.name))
    return ast.unparse(_Strip().visit(tree)), frozenset(files)


def _imported(path: Path, node, module: str, name: str | None = None) -> list[Path]:
    """Package files that the import of `module`, or of `name` from it, reaches."""
    if module.split(".")[0] != NAME:
        return []
    for whole in filter(None, (name and f"{module}.{name}", module)):
        files = _module_files(whole)
        if whole == NAME or (files and files[-1] in _places(whole)):
            if whole == module and name is not None and not _defines(_places(module), name):
                break
            return files
    target = f"{module}.{name}" if name else module
    raise ValueError(
        f"{path}: line {node.lineno}: import of {target}, which no file of the package defines; import it from the "
        "module that defines it"
    )


def _places(module: str) -> tuple[Path, Path]:
    """Possible files of `module`: a file, or the `__init__.py` of a folder."""
    place = PACKAGE.joinpath(*module.split(".")[1:])
    return place.with_suffix(".py"), place / "__init__.py"


def _defines(places, name: str) -> bool:
    """Whether a package binds `name` in its `__init__.py`; for a plain module this is assumed."""
    module, package = places
    if module.is_file() or not package.is_file():
        return True
    tree = ast.parse(package.read_text(encoding="utf-8"))
    return any(
        name in [target.id for target in node.targets if isinstance(target, ast.Name)]
        if isinstance(node, ast.Assign)
        else name == getattr(node, "name", None)
        for node in tree.body
    )


def _module_files(module: str) -> list[Path]:
    """The file of `module` and the `__init__.py` of the subpackages above it, within this package."""
    parts = module.split(".")
    if parts[0] != NAME:
        return []
    files, folder = [], PACKAGE
    for part in parts[1:]:
        if (folder / f"{part}.py").is_file():
            files.append(folder / f"{part}.py")
            break
        folder = folder / part
        if not (folder / "__init__.py").is_file():
            break
        files.append(folder / "__init__.py")
    return files


def closure(*entries) -> list[Path]:
    """Sorted files that `entries` (paths, or module names inside the package) reach by static imports.

    Raises ValueError for an entry that is not a module of the package, and as `_read`.
    """
    waiting = []
    for entry in entries:
        path = Path(entry)
        if path.suffix == ".py":
            waiting.append(path.resolve())
            continue
        files = _module_files(f"{NAME}.{entry}")
        if not files or files[-1] not in _places(f"{NAME}.{entry}"):
            raise ValueError(f"no module {entry!r} in the package")
        waiting.extend(files)
    reached = set()
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting.extend(_read(path)[1])
    return sorted(reached)


@cache
def digest(*entries) -> str:
    """First 16 hex digits of the SHA-256 over the closure of `entries`."""
    text = "\n".join(_read(path)[0] for path in closure(*entries))
    return hashlib.sha256(text.encode()).hexdigest()[:16]

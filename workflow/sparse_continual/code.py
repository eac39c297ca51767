"""Digest of the code that makes a result, so that a rule re-runs when its code changed and only then.

Snakemake's own `code` trigger looks at a script's time stamp and not at the library behind it.
Here the static import closure inside the package is hashed, imports inside functions included,
without comments, docstrings and layout. The package's own `__init__.py` is left out: it holds the version
alone, and a new version is no reason to make anything again. Variants are looked up by name at run time
and so are not in the closure: the caller adds the chosen ones.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

import sparse_continual

PACKAGE = Path(sparse_continual.__file__).resolve().parent
NAME = "sparse_continual"


class _Strip(ast.NodeTransformer):
    """Drops docstrings; `ast.unparse` drops comments and layout."""

    def strip(self, node):
        self.generic_visit(node)
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or ([] if isinstance(node, ast.Module) else [ast.Pass()])
        return node

    visit_Module = visit_ClassDef = visit_FunctionDef = visit_AsyncFunctionDef = strip


@cache
def _read(path: Path) -> tuple[str, frozenset[Path]]:
    """(code without comments and docstrings, package files that it imports) of one file."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    wanted = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wanted.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path}: line {node.lineno}: relative import, expected an absolute one")
            wanted.add(node.module)
            wanted.update(f"{node.module}.{alias.name}" for alias in node.names)
    files = set()
    for module in wanted:
        files.update(_module_files(module))
    return ast.unparse(_Strip().visit(tree)), frozenset(files)


def _module_files(module: str) -> list[Path]:
    """The file of `module` and the `__init__.py` of the subpackages above it, as far as they are ours."""
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
    """Sorted files that `entries` (paths, or module names inside the package) reach by static imports."""
    waiting = []
    for entry in entries:
        path = Path(entry)
        if path.suffix != ".py":
            found = _module_files(f"{NAME}.{entry}")
            module = PACKAGE / entry.replace(".", "/")
            if not found or found[-1] not in (module.with_suffix(".py"), module / "__init__.py"):
                raise ValueError(f"no module {entry!r} in the package")
            waiting.extend(found)
        else:
            waiting.append(path.resolve())
    seen = set()
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting.extend(_read(path)[1])
    return sorted(seen)


@cache
def digest(*entries) -> str:
    """First 16 hex digits of the SHA-256 over the closure of `entries`."""
    text = "\n".join(_read(path)[0] for path in closure(*entries))
    return hashlib.sha256(text.encode()).hexdigest()[:16]

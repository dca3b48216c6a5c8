"""The reference of the libraries: a page a folder, every module of it by its docstrings; who has none is named."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from pretrain.runtime.repository import REPOSITORY

FOLDER = "api"  # of the site
LIBRARIES = ("pretrain", "transfer")
Function = (ast.FunctionDef, ast.AsyncFunctionDef)


def modules() -> dict[str, list[str]]:
    """The modules by the package that they lie in, the package itself first."""
    found = defaultdict(list)
    for path in _sources():
        package = ".".join(path.parent.relative_to(REPOSITORY).parts)
        found[package].append(package if path.stem == "__init__" else f"{package}.{path.stem}")
    return {package: sorted(names) for package, names in sorted(found.items())}


def pages() -> dict[str, str]:
    """The text of each page by its place on the site; the first lists all of them with the packages' first lines."""
    known = modules()
    lines = [
        "# Libraries\n",
        "`pretrain` trains and `transfer` says what came of it. [Architecture](../architecture.md) shows which may",
        "import which. Names that begin with `_` are not listed.\n",
        *(f"- [`{package}`]({package}.md): {_first_line(package)}" for package in known),
    ]
    texts = {f"{FOLDER}/{package}.md": _page(package, names) for package, names in known.items()}
    return {f"{FOLDER}/index.md": "\n".join(lines) + "\n"} | texts


def _page(package: str, names: list[str]) -> str:
    return "\n".join([f"# {package}\n", *(f"::: {name}\n" for name in names)])


def undocumented() -> list[str]:
    """The public functions, classes and methods that have no docstring; a method may have that of a base class."""
    return silent_in({path.relative_to(REPOSITORY).as_posix(): path.read_text("utf-8") for path in _sources()})


def silent_in(sources: Mapping[str, str]) -> list[str]:
    """The same of texts by their path, which may hold base classes of each other."""
    trees = {path: ast.parse(text) for path, text in sources.items()}
    classes = {node.name: node for tree in trees.values() for node in tree.body if isinstance(node, ast.ClassDef)}
    return [f"{path}: {name}" for path, tree in trees.items() for name in _silent(tree, classes)]


def _silent(tree: ast.Module, classes: dict[str, ast.ClassDef]) -> Iterator[str]:
    if not ast.get_docstring(tree):
        yield "the module"
    for node in tree.body:
        if isinstance(node, (*Function, ast.ClassDef)) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                yield node.name
            if isinstance(node, ast.ClassDef):
                yield from (f"{node.name}.{method}" for method in _methods(node) if not _told(node, method, classes))


def _methods(node: ast.ClassDef) -> list[str]:
    return [one.name for one in node.body if isinstance(one, Function) and not one.name.startswith("_")]


def _told(node: ast.ClassDef, method: str, classes: dict[str, ast.ClassDef]) -> bool:
    return any(_documents(one, method) for one in _lineage(node, classes))


def _lineage(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> Iterator[ast.ClassDef]:
    yield node
    for base in node.bases:
        name = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(name, ast.Name) and name.id in classes and name.id != node.name:
            yield from _lineage(classes[name.id], classes)


def _documents(node: ast.ClassDef, method: str) -> bool:
    named = [one for one in node.body if isinstance(one, Function) and one.name == method]
    return any(ast.get_docstring(one) for one in named)


def _sources() -> list[Path]:
    return sorted(path for library in LIBRARIES for path in (REPOSITORY / library).rglob("*.py"))


def _first_line(package: str) -> str:
    file = REPOSITORY / package.replace(".", "/") / "__init__.py"
    tree = ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else None
    return ((ast.get_docstring(tree) if tree else "") or "").split("\n")[0]

"""A registry whose entries are the modules of a folder: adding a module adds a kind."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from typing import Any


def collect(package: str, attribute: str) -> list[Any]:
    """Import all modules of a package and return their `attribute`, in the order of the modules' names.

    A new module in the folder needs no entry in a list. Modules without the attribute are skipped.

    Args:
        package: dotted name, such as "tools.datasets".
        attribute: name of the variable that holds a module's kind, such as "DATASET".
    """
    folder = importlib.import_module(package).__path__
    modules = (importlib.import_module(f"{package}.{name}") for _, name, _ in pkgutil.iter_modules(folder))
    return [getattr(module, attribute) for module in modules if hasattr(module, attribute)]


def names(folder: Iterable[str]) -> tuple[str, ...]:
    """The names of the modules in a package's `__path__`, sorted, without importing them."""
    return tuple(sorted(name for _, name, _ in pkgutil.iter_modules(folder)))

"""Things of which there are several kinds, one module a kind: what lies in a folder is what there is."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any


def collect(package: str, attribute: str) -> list[Any]:
    """The `attribute` of each module of a package that has one, in the order of the modules' names.

    A module that is put into the folder is found; no list names it. Modules without the attribute are what the kinds
    share.

    Args:
        package: dotted name, such as "tools.datasets".
        attribute: the name under which each module offers its kind, such as "DATASET".
    """
    folder = importlib.import_module(package).__path__
    modules = (importlib.import_module(f"{package}.{name}") for _, name, _ in pkgutil.iter_modules(folder))
    return [getattr(module, attribute) for module in modules if hasattr(module, attribute)]

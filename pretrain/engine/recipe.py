"""Which runs are repetitions of one recipe: those whose configurations differ in nothing that a recipe has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pretrain.config import Config

DIGITS = 16  # of a fingerprint


def recipe(tree: Mapping[str, Any]) -> str:
    """A configuration without what may differ between repetitions (seed, folder, logging), as one string.

    Args: tree, sections by name, as in RUN/config.yaml; sections that are missing are none.
    """
    kept = {key: value for key, value in tree.items() if key not in ("run", "run_dir")}
    plain = vars(Config().model)  # a run of earlier code had no options of what it starts from
    kept["model"] = {key: one for key, one in _section(tree, "model").items() if not _no_start(key, one, plain)}
    kept |= {"data": _section(tree, "data").get("root"), "precision": _section(tree, "run").get("precision")}
    # earlier code also wrote the options of all other rows, as null
    kept["method"] = {key: value for key, value in _section(tree, "method").items() if value is not None}
    return json.dumps(kept, sort_keys=True, default=str)


def fingerprint(tree: Mapping[str, Any]) -> str:
    """Of the recipe of a configuration: the first digits of its SHA-256."""
    return hashlib.sha256(recipe(tree).encode()).hexdigest()[:DIGITS]


def _section(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return found if isinstance(found := tree.get(name), Mapping) else {}


def _no_start(key: str, value: Any, plain: Mapping[str, Any]) -> bool:
    """Whether an option of starting from weights is at its default."""
    return key.startswith(("init", "freeze")) and value == plain.get(key)

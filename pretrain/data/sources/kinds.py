"""The registry: every kind of source, and which of them reads a root."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pretrain.data.sources.base import Kind
from pretrain.data.sources.folder import FOLDER
from pretrain.runtime.registry import collect
from pretrain.runtime.urls import spelled


@cache
def kinds() -> tuple[Kind, ...]:
    """Every kind but the folder, in the order of their files' names; no root is of two of them."""
    return tuple(collect("pretrain.data.sources", "KIND"))


def kind_of(root: str | Path) -> Kind:
    """The kind that reads a root; that of folders where no other does."""
    text = spelled(root)
    return next((kind for kind in kinds() if kind.takes(text)), FOLDER)

"""What a checkpoint says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pretrain.engine.checkpoint import FORMAT as CHECKPOINT_FORMAT
from transfer.convert.layouts import ImageStatistics, Layout

PROGRESS = ("epoch", "step", "global_step", "iteration")  # what training scripts call how far they were


def value_at(content: Any, *keys: str) -> Any:
    """What lies below `keys` in nested dictionaries; None where nothing does."""
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def claimed(content: Mapping[str, Any]) -> str | None:
    """The architecture that a file says it holds; None where it says nothing."""
    claims = (value_at(content, *keys) for keys in (("arch",), ("config", "model", "arch"), ("provenance", "arch")))
    return next((claim for claim in claims if isinstance(claim, str)), None)


def meta(content: Mapping[str, Any], branch: str) -> dict[str, Any]:
    """How a file came about, of what it says: epoch, step, method and the like; `branch` where there are two."""
    about = [value_at(content, "provenance", "meta"), content.get("meta")]
    told = {key: value for one in about if isinstance(one, Mapping) for key, value in _plain(one).items()}
    told |= {name: content[name] for name in PROGRESS if isinstance(content.get(name), int)}
    if content.get("format") == CHECKPOINT_FORMAT:
        told["method"] = value_at(content, "config", "method", "name")
        told["seed"] = value_at(content, "config", "run", "seed")
        told["images_seen"] = told.get("step", 0) * (value_at(content, "config", "optim", "batch_size") or 0)
    return {**told, "branch": branch} if branch else told


def pixels(content: Mapping[str, Any], layout: Layout) -> tuple[ImageStatistics, str]:
    """Mean and standard deviation, and who says so: a file of ours (after any conversion), or the layout's project."""
    for about in (value_at(content, "provenance", "input"), content.get("meta")):
        told = [value_at(about, name) for name in ("mean", "std")]
        if all(isinstance(one, list) and len(one) == 3 for one in told):
            return (tuple(told[0]), tuple(told[1])), "the file says"
    return layout.pixels, "is usual (the file does not say)" if layout.anyones else "its project trains with"


def _plain(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Without values that a converted file could not hold, or that are as large as a log."""
    return {
        str(key): value
        for key, value in meta.items()
        if isinstance(value, (bool, int, float, list)) or (isinstance(value, str) and len(value) < 200)
    }

"""The options of the views: what all have in common, and what the first and the second have for their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pretrain.runtime.options import TOLD, option


def _own(what: str, at_most: float = 1) -> Any:
    return option(None, f"{what} of this view; unset is that of all views", at_least=0, at_most=at_most, resume=TOLD)


@dataclass
class OneView:
    """What one global view has for its own, in place of what all have in common."""

    brightness: float | None = _own("strength of the jitter of brightness", 100)
    contrast: float | None = _own("strength of the jitter of contrast", 100)
    saturation: float | None = _own("strength of the jitter of saturation", 100)
    hue: float | None = _own("largest change of hue, in turns,", 0.5)
    jitter_probability: float | None = _own("chance of the jitter of colours")
    gray_probability: float | None = _own("chance of the loss of colour")
    blur_probability: float | None = _own("chance of the blur")
    solarize_probability: float | None = _own("chance of the inversion of bright pixels")
    flip_probability: float | None = _own("chance of the mirroring")


@dataclass
class Views:
    """The official augmentation; views.first and views.second say what one of the two global views has for its own.

    The paper's text gives no number of the local crops that could be read: size and scales are SwAV's and DINO's
    (provenance: assumed).
    """

    size: int = option(224, "side of a global view", at_least=8, at_most=4096, unit="pixels", resume=TOLD)
    min_scale: float = option(0.2, "smallest crop, as a share of the image's area", above=0, at_most=1, resume=TOLD)
    max_scale: float = option(1.0, "largest crop, as a share of the image's area", above=0, at_most=1, resume=TOLD)
    brightness: float = option(
        0.4, "strength of the jitter of brightness; 0 leaves it out", at_least=0, at_most=100, resume=TOLD
    )
    contrast: float = option(
        0.4, "strength of the jitter of contrast; 0 leaves it out", at_least=0, at_most=100, resume=TOLD
    )
    saturation: float = option(
        0.4, "strength of the jitter of saturation; 0 leaves it out", at_least=0, at_most=100, resume=TOLD
    )
    hue: float = option(0.1, "largest change of hue", at_least=0, at_most=0.5, unit="turns", resume=TOLD)
    jitter_probability: float = option(
        0.8, "share of views whose colours are jittered", at_least=0, at_most=1, resume=TOLD
    )
    gray_probability: float = option(0.2, "share of views that lose their colour", at_least=0, at_most=1, resume=TOLD)
    blur_probability: float = option(0.5, "share of views that are blurred", at_least=0, at_most=1, resume=TOLD)
    solarize_probability: float = option(
        0.0, "share of views whose bright pixels, from 128 on, are inverted (BYOL)", at_least=0, at_most=1, resume=TOLD
    )
    flip_probability: float = option(0.5, "share of views that are mirrored", at_least=0, at_most=1, resume=TOLD)
    photometry: str = option(
        "auto",
        "where all but the crops is computed; auto: on the device if it is a GPU, else in the workers",
        choices=("auto", "worker", "device"),
        resume=TOLD,
    )
    first: OneView = field(default_factory=OneView)
    second: OneView = field(default_factory=OneView)
    global_count: int = option(
        2,
        "views of the larger size; each is drawn to the mean of the others' targets; not every row allows more",
        at_least=2,
        at_most=64,
        resume=TOLD,
    )
    local_count: int = option(
        0,
        "further small views for multi-crop (Appendix B); 0 leaves the global ones",
        at_least=0,
        at_most=64,
        resume=TOLD,
    )
    local_size: int = option(96, "side of a local view", at_least=8, at_most=4096, unit="pixels", resume=TOLD)
    local_min_scale: float = option(
        0.05, "smallest local crop, as a share of the image's area", above=0, at_most=1, resume=TOLD
    )
    local_max_scale: float = option(
        0.4, "largest local crop, as a share of the image's area", above=0, at_most=1, resume=TOLD
    )

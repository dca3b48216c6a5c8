"""The options of the images; pretrain/config.py has the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pretrain.runtime.options import FIXED, FREE, TOLD, option


@dataclass
class Data:
    """Which images."""

    root: str = option(
        "",
        "images to learn from: class folders, a flat folder, a packed set, a URL, or any other source of docs/data.md; "
        "[A,B] are several; unset is the environment variable UNIGRAD_DATA",
        path=True,
        joined=True,
        resume=TOLD,
    )
    weights: list[float] = option(
        [], "shares of an epoch that several roots give, such as [.7,.3]; unset: every image once", above=0, resume=TOLD
    )
    val: str = option(
        "",
        "class folders or another source with labels; if given, and root has classes, k-NN accuracy is measured along "
        "the run",
        path=True,
        resume=FREE,
    )
    workers: int = option(
        4, "loader processes of each rank; 0 loads in the rank itself", at_least=0, at_most=1024, resume=FREE
    )
    class_depth: int = option(
        0,
        "how many folders below root or val name the class; 0 asks where it is not sure",
        at_least=0,
        at_most=100,
        resume=FREE,
    )
    mean: list[float] | Literal["imagenet", "auto"] = option(
        "imagenet",
        "mean of the pixels from 0 to 1, a number a channel; imagenet, or auto: measured on a sample of root",
        at_least=0,
        at_most=1,
        resume=FIXED,
    )
    std: list[float] | Literal["imagenet", "auto"] = option(
        "imagenet", "standard deviation of the pixels, likewise", above=0, at_most=1, resume=FIXED
    )
    channels: int = option(
        3,
        "3 of colour, or 1: images become grey before the network, whose first layer reads one channel",
        choices=(1, 3),
        resume=FIXED,
    )
    images_root: str = option(
        "", "folder from which the paths of a list start; unset is the list's own", path=True, resume=TOLD
    )
    image_column: str = option(
        "", "column or array that holds the images or their paths; unset: one of the usual names", resume=TOLD
    )
    label_column: str = option("", "the same of the labels", resume=FREE)
    index_cache: str = option(
        "",
        "folder that keeps the indexes of archives and large folders; unset is the system's for caches",
        path=True,
        resume=FREE,
    )
    scratch: str = option(
        "",
        "folder on each node's own disk to which packed images are copied before the first step, once a node, and "
        "checked; unset is the environment variable UNIGRAD_SCRATCH, or none",
        path=True,
        resume=FREE,
    )
    url_cache: str = option(
        "",
        "folder that keeps what was read from URLs, for all processes of a machine; unset is the system's for caches",
        path=True,
        resume=FREE,
    )
    url_cache_gib: float = option(
        32.0, "how large that folder may become; 0 keeps nothing", at_least=0, at_most=1e6, unit="GiB", resume=FREE
    )
    bits: int = option(
        16,
        "bits in use of grey images of 16 bits, such as 12 of X-rays; they are scaled to 8",
        at_least=8,
        at_most=16,
        unit="bits",
        resume=FIXED,
    )

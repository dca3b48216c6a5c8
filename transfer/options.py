"""Options that all evaluators share, and one schema of several. Nothing here imports torch."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pretrain.runtime.errors import UserError
from pretrain.runtime.options import load, option
from transfer.datasets.benchmarks import benchmarks

Schema = TypeVar("Schema")
STAGES = ("res1", "res2", "res3", "res4", "res5")  # of a ResNet the stem before its pooling, and four groups of blocks
DEVICES = ("auto", "cpu", "cuda")
WAIT = 30.0  # minutes


@dataclass
class Data:
    """How the folders of images are read."""

    class_depth: int = option(
        0, "how many folders below train and val name the class; 0 asks where it is not sure", at_least=0, at_most=100
    )
    images_root: str = option("", "folder from which the paths of a list start; unset is the list's own", path=True)
    image_column: str = option("", "column or array of the images or their paths; unset: one of the usual names")
    label_column: str = option("", "the same of the labels")
    index_cache: str = option(
        "", "folder that keeps the indexes of archives and large folders; unset is the system's for caches", path=True
    )
    url_cache: str = option(
        "",
        "folder that keeps what was read from URLs, for all processes of a machine; unset is the system's for caches",
        path=True,
    )
    url_cache_gib: float = option(
        32.0, "how large that folder may become; 0 keeps nothing", at_least=0, at_most=1e6, unit="GiB"
    )


@dataclass
class Common:
    """How images are read, where the network runs, and the seed."""

    sets: list[str] = option(
        [], "public data sets below ROOT, one result each; none: ROOT/train and ROOT/val", choices=tuple(benchmarks())
    )
    image_size: int = option(
        224, "side of the centre crop that the network sees", at_least=8, at_most=8192, unit="pixels"
    )
    resize: int = option(
        0, "short side before the centre crop, 0 for 256/224 of image_size", at_least=0, at_most=16384, unit="pixels"
    )
    interpolation: str = option(
        "bilinear", "how the whole image is resized before the centre crop", choices=("bilinear", "bicubic")
    )
    batch_size: int = option(
        256, "images at once; of fine-tuning, the batch that it trains with", at_least=1, at_most=1_000_000
    )
    cache: str = option(
        "", "folder that keeps frozen features; several processes need one that all of them see", path=True
    )
    seed: int = option(0, "of everything that is drawn", at_least=0, below=2**63)
    workers: int = option(4, "loader processes", at_least=0, at_most=1024)
    threads: int = option(0, "of the network on a CPU, 0 leaves torch's choice", at_least=0, at_most=1024)
    device: str = option("auto", "where the network runs; auto is a GPU where there is one", choices=DEVICES)
    frozen_precision: str = option(
        "auto",
        "number format of a frozen trunk's forward pass; auto is bf16 on a GPU that computes in it, else fp32",
        choices=("auto", "fp32", "bf16"),
    )
    timeout_minutes: float = option(
        WAIT, "how long the next images may take to come", above=0, at_most=1e6, unit="minutes"
    )
    data: Data = field(default_factory=Data)


def check_common(options: Common) -> None:
    """Refuse a crop that is larger than the image it is cut from.

    Raises:
        UserError: naming both.
    """
    if 0 < options.resize < options.image_size:
        raise UserError(f"resize={options.resize} is below image_size={options.image_size}: the crop would leave it.")


def combined(schemas: Sequence[type]) -> type:
    """One schema with the options of several; of two options with one name the first."""
    fields: dict[str, tuple[str, Any, Any]] = {}
    for schema in schemas:
        types = typing.get_type_hints(schema)
        for one in dataclasses.fields(schema):
            given: Any = {"default": one.default, "default_factory": one.default_factory}  # one of them is MISSING
            same = dataclasses.field(**given, metadata=one.metadata)
            fields.setdefault(one.name, (one.name, types[one.name], same))
    return dataclasses.make_dataclass("Options", fields.values())


def part_of(config: Any, schema: type[Schema]) -> Schema:
    """The options of `schema` among those of a combined one."""
    names = [one.name for one in dataclasses.fields(schema)]  # type: ignore[arg-type]  # every schema is a dataclass
    return schema(**{name: getattr(config, name) for name in names})


def asked_sets(schemas: Sequence[type], config: Path | None, overrides: Sequence[str]) -> list[str]:
    """The public data sets that a command asks for, "" for the user's own folders; options are read and not checked.

    Args: schemas, of all evaluators' options. config, overrides: as of the command.

    Raises:
        UserError: an unknown option, or one of another type.
    """
    given: Any = load(combined([Common, *schemas]), config, overrides)
    return list(dict.fromkeys(given.sets)) or [""]

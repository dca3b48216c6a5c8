"""The configuration that checkpoints of OpenMMLab's projects carry as text: the backbone, and how images are made.

The text is Python. It is parsed, never run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

LONGEST = 1_000_000  # characters of a configuration that are parsed
PLAIN = {"strides": (1, 2, 2, 2), "dilations": (1, 1, 1, 1), "style": "pytorch", "in_channels": 3, "stem_channels": 64}
PLAIN |= {"base_channels": 64, "deep_stem": False, "avg_down": False}
ABSENT = ("dcn", "plugins", "conv_cfg")  # what makes another network of a ResNet, unless it is None
NORMS = ("BN", "BN2d", "SyncBN", "MMSyncBN", "naiveSyncBN", "FrozenBN")  # one function in eval mode


@dataclass(frozen=True)
class Configuration:
    """network: torchvision's name, or the configuration's own where torchvision has none; "" where it names none.

    odd: what of the network and its images is not torchvision's, in words.
    pixels: mean and std as they are written; None where they are not.
    """

    network: str
    odd: tuple[str, ...]
    pixels: tuple[Any, Any] | None


def configuration_in(content: Mapping[str, Any]) -> Configuration | None:
    """What `meta` says of the network; None where there is no configuration in it that can be parsed."""
    meta = content.get("meta")
    texts = [meta.get(key) for key in ("config", "cfg")] if isinstance(meta, Mapping) else []
    text = next((one for one in texts if isinstance(one, str)), "")
    if not text or len(text) > LONGEST:
        return None
    try:
        tree = ast.parse(text)
        found = list(_dictionaries(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    backbones = [one for one in found if _is_backbone(one)]
    images = [one for one in found if {"mean", "std"} <= one.keys() or {"to_rgb", "bgr_to_rgb"} & one.keys()]
    pixels = next(((one["mean"], one["std"]) for one in images if _three(one.get("mean")) and _three(one["std"])), None)
    network = _network(backbones[0]) if backbones else ""
    return Configuration(network, tuple(dict.fromkeys((*_odd(backbones[:1]), *_order(images, pixels)))), pixels)


def _three(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 3


def _dictionaries(tree: ast.Module) -> Iterator[dict[str, Any]]:
    """Every dict(...) and {...}, with the values that are written out or named before; others are None."""
    names = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if pairs := _pairs(node):
            yield {
                name: _value(names.get(value.id, value) if isinstance(value, ast.Name) else value)
                for name, value in pairs.items()
            }


def _pairs(node: ast.AST) -> dict[str, ast.expr]:
    """Keys and values of a dictionary, in either spelling."""
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("dict", "Dict", "ConfigDict")
    ):
        return {word.arg: word.value for word in node.keywords if word.arg}
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {str(key.value): value for key, value in pairs if isinstance(key, ast.Constant)}
    return {}


def _value(node: ast.expr) -> Any:
    """A value that is written out; of a dictionary its type alone."""
    if pairs := _pairs(node):
        return _value(pairs["type"]) if "type" in pairs else "a dictionary"
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return None


def _type(one: Mapping[str, Any]) -> str:
    """The type without the name of the library before it."""
    return str(one.get("type") or "").rpartition(".")[2]


def _is_backbone(one: Mapping[str, Any]) -> bool:
    name = _type(one)
    return "depth" in one and ("Res" in name or "Net" in name) and "Head" not in name


def _network(one: Mapping[str, Any]) -> str:
    """Such as resnet50; ResNetV1d of depth 50 is ResNetV1d-50, which torchvision does not have."""
    name, depth = _type(one), one["depth"]
    if name == "ResNet":
        return f"resnet{depth}"
    if name == "ResNeXt":
        return f"resnext{depth}_{one.get('groups', 1)}x{one.get('base_width', 4)}d"
    return f"{name}-{depth}"


def _odd(backbones: list[dict[str, Any]]) -> Iterator[str]:
    for one in backbones:
        for key, plain in PLAIN.items():
            value = tuple(one[key]) if isinstance(one.get(key), list) else one.get(key)
            if value is not None and value != plain:
                where = " (the stride in the 1x1 convolution)" if value == "caffe" else ""
                yield f"{key}={value!r}{where}"
        yield from (f"{key}={one[key]!r}" for key in ABSENT if one.get(key) is not None)
        if one.get("norm_cfg") is not None and str(one["norm_cfg"]).rpartition(".")[2] not in NORMS:
            yield f"the normalisation {one['norm_cfg']}"


def _order(images: list[dict[str, Any]], pixels: tuple[Any, Any] | None) -> Iterator[str]:
    """Whether images are BGR: it is said, or shows in a mean of 0..255 whose first channel is blue's."""
    told = [one[key] for one in images for key in ("to_rgb", "bgr_to_rgb") if isinstance(one.get(key), bool)]
    if told and not all(told):
        yield "images in the order BGR"
    elif not told and pixels:
        try:
            first, _, last = pixels[0]
            bgr = 1 < first < last
        except (TypeError, ValueError):
            bgr = False
        if bgr:
            yield "images in the order BGR, by their mean"

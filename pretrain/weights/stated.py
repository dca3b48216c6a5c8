"""What a file says of its network and of its images, which is held against its tensors and never overruled by them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pretrain.models import TRUNKS
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import shortened
from pretrain.weights.layouts.base import ImageStatistics
from pretrain.weights.openmmlab import configuration_in
from pretrain.weights.pickles.objects import Inert

BRIGHTEST = 65_535  # of pixels, whatever their scale
# where files hold what their training script was told; "" is the file itself, and "hub" what stands beside it
HOLDERS = (
    "",
    "provenance",
    "config.model",
    "args",
    "hyper_parameters",
    "opt",
    "config",
    "cfg",
    "pretrained_cfg",
    "hub",
)
NAMES = ("arch", "architecture")  # what is always a network's name
PERHAPS = ("model", "backbone", "encoder", "model_name", "base_model", "base_encoder", "network", "net")
IMAGES = (
    "provenance.input",
    "meta",
    "config.data",
    "args",
    "pretrained_cfg",
    "default_cfg",
    "hyper_parameters",
    "config",
)
HUB_IMAGES = ("hub", "hub.pretrained_cfg")
# what may be a network's name, and no method's
LOOKS = re.compile(r"res(n|t|2)|net(?!work)|vit\b|vit_|swin|conv|mixer|vgg|ception|\brn?\d")
ORDERS = ("format", "order", "channel_order", "channels", "color_order", "color_space", "input_format")
NORMALISATIONS = ("norm", "norm_layer", "norm_type", "normalization", "normalisation")
OTHER_NORM = re.compile(r"group|layernorm|layer_norm|instance|^(gn|ln|in)\b|none|evonorm|frn")
VAGUE = ("resnet", "resnext", "wide_resnet", "wideresnet")


def fields(value: Any) -> Mapping[Any, Any]:
    """The entries of a dictionary, or the attributes of an object such as argparse's Namespace; else nothing."""
    if isinstance(value, Mapping):
        return value
    return vars(value) if isinstance(value, Inert) or type(value).__name__ == "Namespace" else {}


def at(content: Mapping[str, Any], path: str) -> Any:
    """What lies below dotted keys of dictionaries and objects; None where nothing does."""
    value: Any = content
    for key in filter(None, path.split(".")):
        value = fields(value).get(key)
    return value


def stated_names(content: Mapping[str, Any]) -> Iterator[str]:
    """Every name of a network that a file states, the surest first."""
    for keys, sure in ((NAMES, True), (PERHAPS, False)):
        for holder in HOLDERS:
            for key in keys:
                value = fields(at(content, holder)).get(key)
                value = fields(value).get("name", value)  # a section of its own, as solo-learn's
                if isinstance(value, str) and value.strip() and (sure or LOOKS.search(value.lower())):
                    yield value
    if (configuration := configuration_in(content)) and configuration.network:
        yield configuration.network


def torchvision_name(stated: str) -> str | None:
    """torchvision's name of the network that is meant, "" for a family without depth, None for any other network."""
    name = stated.strip().lower().rpartition("/")[2].partition(".")[0]
    name = re.sub(r"^gluon_(resnet\d+)_v1b$", r"\1", name)
    name = re.sub(r"^(tv|ssl|swsl|ig|gluon)_(?=res|wide)", "", name)  # timm's, of other weights in the same network
    name = re.sub(r"^(resnet|rn|r)[-_ ]?(18|34|50|101|152)$", r"resnet\2", name)
    if name in VAGUE:
        return ""
    return name if name in TRUNKS else None


def check_stated(where: str, content: Mapping[str, Any], expected: str | None) -> str:
    """The first network that a file states, or "".

    Args:
        where: the file, for the sentence.
        content: of the file.
        expected: what the user says that it is, which stands against a name that nobody here knows.

    Raises:
        UserError: the file names another network than torchvision's, such as timm's resnet50d.
    """
    names = list(stated_names(content))
    for name in names:
        if torchvision_name(name) is None and expected is None:
            raise UserError(
                f"{where} says it is a {shortened(name)}, which is not one of torchvision's ResNets, although its "
                "tensors may have the same names and shapes: it computes something else; if it is one of them under a "
                "name of your own, say which with --arch."
            )
    return names[0] if names else ""


def contradicted(content: Mapping[str, Any], arch: str) -> str:
    """A name of another of torchvision's networks than `arch` that the file states; "" where there is none."""
    return next((name for name in stated_names(content) if torchvision_name(name) not in (None, "", arch)), "")


def check_images(where: str, content: Mapping[str, Any]) -> ImageStatistics | None:
    """Mean and standard deviation of RGB in 0..1, as the file says; None where it says nothing.

    Raises:
        UserError: it says that its network takes BGR, or strides in the 1x1 convolution.
    """
    if odd := list(_odd(content)):
        raise UserError(
            f"{where} says of its network: {', '.join(odd)}; conversion keeps the tensors alone, and they would "
            "compute something else in a ResNet of RGB images with BatchNorm and the stride in the 3x3 convolution: "
            "give a checkpoint of such a one."
        )
    configuration, detector = configuration_in(content), at(content, "detectron2.MODEL")
    pairs: list[tuple[Any, Any]] = [configuration.pixels] if configuration and configuration.pixels else []
    pairs.append((fields(detector).get("PIXEL_MEAN"), fields(detector).get("PIXEL_STD")))
    for path in (*IMAGES, *HUB_IMAGES):
        holder = fields(at(content, path))
        pairs += [(holder.get("mean"), holder.get("std")), (holder.get("image_mean"), holder.get("image_std"))]
    return next((pixels for pixels in (scaled(mean, std) for mean, std in pairs) if pixels), None)


def _odd(content: Mapping[str, Any]) -> Iterator[str]:
    """What a file, or its neighbour, says of its network that is not torchvision's, in words."""
    if configuration := configuration_in(content):
        yield from configuration.odd
    stated, hub, detector = (fields(at(content, path)) for path in ("provenance.input", "hub", "detectron2"))
    orders = [stated.get("format"), at(detector, "INPUT.FORMAT")]
    strides = [stated.get("stride_in_1x1"), at(detector, "MODEL.RESNETS.STRIDE_IN_1X1")]
    strides.append(hub.get("downsample_in_bottleneck"))
    facts = {
        "images in the order BGR": any(isinstance(one, str) and one != "RGB" for one in orders),
        "the stride in the 1x1 convolution": any(strides),
        "a stride in its first stage": bool(hub.get("downsample_in_first_stage")),
        f"the activation {shortened(hub.get('hidden_act'))}": hub.get("hidden_act", "relu") != "relu",
        "the stem of DeepLab": at(detector, "MODEL.RESNETS.STEM_TYPE") == "deeplab",
        "deformable convolutions": any(_true(at(detector, "MODEL.RESNETS.DEFORM_ON_PER_STAGE"))),
        f"the author {shortened(content.get('__author__'))}, whose networks take BGR": _of_zoo(content),
    }
    yield from (fact for fact, holds in facts.items() if holds)
    for path in dict.fromkeys((*HOLDERS, *IMAGES, *HUB_IMAGES)):
        yield from _odd_settings(fields(at(content, path)))


def _odd_settings(told: Mapping[Any, Any]) -> Iterator[str]:
    """What a training script's own settings say of colours, normalisation and stride."""
    words = {key: told[key].lower() for key in (*ORDERS, *NORMALISATIONS) if isinstance(told.get(key), str)}
    if any(words.get(key) == "bgr" for key in ORDERS):
        yield "images in the order BGR"
    for key in NORMALISATIONS:
        if OTHER_NORM.search(words.get(key, "")):
            yield f"the normalisation {shortened(told[key])}"
    if told.get("output_stride", 32) not in (None, 32):
        yield f"an output stride of {shortened(told['output_stride'])}"


def _true(values: Any) -> list[bool]:
    return [one for one in values if one is True] if isinstance(values, (list, tuple)) else []


def _of_zoo(content: Mapping[str, Any]) -> bool:
    """Whether a file is of detectron2's model zoo, whose networks take BGR and stride in the 1x1 by default."""
    author = content.get("__author__")
    return isinstance(author, str) and any(word in author.lower() for word in ("zoo", "caffe", "msra"))


def scaled(mean: Any, std: Any) -> ImageStatistics | None:
    """Statistics of three channels, or of one, in 0..1, from those in 0..1 or in 0..255; None where they are none."""
    if not all(isinstance(one, (list, tuple)) and len(one) in (1, 3) for one in (mean, std)) or len(mean) != len(std):
        return None
    numbers = [*mean, *std]
    if not all(isinstance(one, (int, float)) and abs(one) <= BRIGHTEST for one in numbers) or min(std) <= 0:
        return None
    factor = 255 if max(mean) > 1 or max(std) > 1 else 1
    return tuple(float(one) / factor for one in mean), tuple(float(one) / factor for one in std)

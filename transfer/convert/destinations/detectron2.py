"""detectron2: its own names, in a pickle of arrays or a file of torch.save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrain.weights.names import detectron2_name
from transfer.convert.destinations.base import Destination

if TYPE_CHECKING:
    from pretrain.weights.trunk import TrunkFile


def write(path: Path, trunk_file: TrunkFile, origin: Mapping[str, Any]) -> Path:
    """Write what detectron2's checkpointer reads; see `save_detectron2`."""
    from transfer.convert.write import save_detectron2

    return save_detectron2(path, trunk_file, origin)


def describe_input(mean: Sequence[float], std: Sequence[float]) -> str:
    """The keys of detectron2's configuration for a trunk that was trained on RGB in 0..1."""
    pixel_mean, pixel_std = ([round(255 * value, 3) for value in values] for values in (mean, std))
    stride = "MODEL.RESNETS.STRIDE_IN_1X1 False"
    return f"INPUT.FORMAT RGB, {stride}, MODEL.PIXEL_MEAN {pixel_mean}, MODEL.PIXEL_STD {pixel_std}"


DESTINATION = Destination(
    name="detectron2",
    help="detectron2's names, as arrays; checked in detectron2",
    endings=(".pkl", ".pth"),
    write=write,
    verifier="transfer.detection.modeling.verify:detectron2_verifier",  # only that room may import detectron2
    rename=detectron2_name,
    describe_input=describe_input,
)

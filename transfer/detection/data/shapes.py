"""Images of extreme shape, of which nothing would be left once they are as large as the configuration asks."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.data.transforms import ResizeShortestEdge

from pretrain.runtime.errors import UserError
from transfer.detection.data.records import Reading, Roles


def check_shapes(cfg: CfgNode, reading: Reading, roles: Roles) -> None:
    """Hold that every image keeps a pixel of either side when detectron2 resizes it.

    Raises:
        UserError: naming the first that does not.
    """
    wanted = [(min(cfg.INPUT.MIN_SIZE_TRAIN), cfg.INPUT.MAX_SIZE_TRAIN)] * roles.trained
    wanted += [(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)] * roles.measured
    for shortest, longest in wanted:
        for record in reading.records if shortest else []:
            height, width = record["height"], record["width"]
            if min(ResizeShortestEdge.get_output_shape(height, width, shortest, longest)) < 1:
                raise UserError(
                    f"image {record['file_name']} is {width}x{height} pixels, of which nothing is left where the "
                    f"longer side is {longest}: leave it out or cut it."
                )

"""Whether a converted trunk really is the same network inside detectron2."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from pretrain.runtime.errors import UserError
from pretrain.weights.trunk import TrunkFile
from transfer.convert.destinations.base import Verifier
from transfer.convert.peers import Peer, filled
from transfer.convert.verify import STAGES
from transfer.convert.write import to_detectron2
from transfer.detection import require_detectron2


def build_resnet(arch: str) -> nn.Module:
    """detectron2's own ResNet of `arch` with plain BN, stride in the 3x3 convolution as in torchvision, eval mode."""
    from detectron2.config import get_cfg
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.backbone.resnet import build_resnet_backbone

    cfg = get_cfg()
    cfg.MODEL.RESNETS.DEPTH = int(re.findall(r"\d+", arch)[0])
    if grouped := re.search(r"(\d+)x(\d+)d$", arch):
        cfg.MODEL.RESNETS.NUM_GROUPS, cfg.MODEL.RESNETS.WIDTH_PER_GROUP = map(int, grouped.groups())
    elif arch.startswith("wide_"):
        cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 128
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64 if arch in ("resnet18", "resnet34") else 256
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    cfg.MODEL.RESNETS.NORM = "BN"
    cfg.MODEL.RESNETS.OUT_FEATURES = list(STAGES)
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    network: nn.Module = build_resnet_backbone(cfg, ShapeSpec(channels=3))
    return network.eval()


def stages_of_file(path: Path, trunk_file: TrunkFile, image: Tensor) -> list[Tensor]:
    """Load a converted .pkl or .pth with detectron2's checkpointer and run its ResNet on (N, 3, H, W); res2..res5.

    Raises:
        UserError: after loading, a tensor of the network is not the trunk's, bit for bit.
    """
    from detectron2.checkpoint import DetectionCheckpointer

    network = build_resnet(trunk_file.arch)
    DetectionCheckpointer(network, save_to_disk=False).load(str(path))
    expected = to_detectron2(trunk_file.state, trunk_file.arch)
    for name, tensor in network.state_dict().items():
        if name not in expected or not torch.equal(tensor, torch.from_numpy(expected[name])):
            raise UserError(
                f"detectron2 did not take {name} from {path}: its checkpointer renames or drops tensors that this "
                "version of the conversion knows nothing of; install the pinned detectron2."
            )
    outputs = network.to(image.dtype)(image)
    return [outputs[stage] for stage in STAGES]


def detectron2_peer() -> Peer | None:
    """detectron2's own network, in which files under its names are read; None where it is not installed."""
    if not importlib.util.find_spec("detectron2"):
        return None

    def run(trunk_file: TrunkFile, images: Tensor) -> list[Tensor]:
        outputs = filled(build_resnet(trunk_file.arch), trunk_file).to(images.dtype)(images)
        return [outputs[stage] for stage in STAGES]

    return Peer("detectron2", run)


def detectron2_verifier() -> Verifier:
    """detectron2's own network, in which files that were written for it are checked.

    Raises:
        UserError: detectron2 is not installed.
    """
    require_detectron2()
    return Verifier("detectron2", stages_of_file)

"""Whether a written file is the same network in the library that it is for; detectron2's is in transfer/detection."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import drafted
from transfer.convert.trunk import TrunkFile, build_trunk

STAGES = ("res2", "res3", "res4", "res5")
TOLERANCE = 1e-4


def stages(trunk: nn.Module, image: Tensor) -> list[Tensor]:
    """Outputs of layer1..layer4 of torchvision's or timm's ResNet for a (N, 3, H, W) batch."""
    activation = trunk.act1 if hasattr(trunk, "act1") else trunk.relu
    features = trunk.maxpool(activation(trunk.bn1(trunk.conv1(image))))
    outputs = []
    for layer in (trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4):
        features = layer(features)
        outputs.append(features)
    return outputs


def stages_in_torchvision(path: Path, trunk_file: TrunkFile, image: Tensor) -> list[Tensor]:
    """`stages` of torchvision's own network, filled strictly from the file with the loader of its format."""
    network = torchvision.models.get_model(trunk_file.arch, weights=None)
    network.fc = nn.Identity()
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(path)
    else:
        state = torch.load(path, weights_only=True)["state_dict"]
    network.load_state_dict(state, strict=True)
    return stages(network.eval().to(image.dtype), image)


def stages_in_timm(path: Path, trunk_file: TrunkFile, image: Tensor) -> list[Tensor]:
    """`stages` of timm's own network, filled strictly from the file by timm."""
    import timm
    from timm.models import load_checkpoint

    network = timm.create_model(trunk_file.arch, pretrained=False, num_classes=0)
    load_checkpoint(network, str(path), strict=True)
    return stages(network.eval().to(image.dtype), image)


def loader_for(to: str) -> tuple[str, Callable[[Path, TrunkFile, Tensor], list[Tensor]]]:
    """The library that checks a file for `to` (not detectron2), as words for the user, and its stages function."""
    if to == "timm" and importlib.util.find_spec("timm"):
        return "timm", stages_in_timm
    if to == "torchvision":
        return "torchvision", stages_in_torchvision
    return f"torchvision, under whose names {to} reads it", stages_in_torchvision


@torch.no_grad()
def write_verified(
    out: Path,
    trunk_file: TrunkFile,
    write: Callable[[Path], object],
    stages_of_draft: Callable[[Path, TrunkFile, Tensor], Sequence[Tensor]],
) -> dict[str, float]:
    """Write a draft beside `out`, compare its features with torchvision's, and move it to `out` when they agree.

    The comparison is on a random (1, 3, 128, 128) image in float64, where two spellings of one network differ by
    rounding far below TOLERANCE.

    Returns:
        the largest absolute difference of each of res2..res5.

    Raises:
        UserError: a difference is above TOLERANCE (relative to features whose largest value is below 1); whatever
            stood at `out` stays.
    """
    image = torch.randn(1, 3, 128, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = stages(build_trunk(trunk_file).double(), image)
    with drafted(out) as draft:
        write(draft)
        actual = stages_of_draft(draft, trunk_file, image)
        differences = {}
        for stage, ours, theirs in zip(STAGES, expected, actual, strict=True):
            differences[stage] = (ours - theirs).abs().max().item()
            allowed = TOLERANCE * min(1.0, ours.abs().max().item())
            if not differences[stage] <= allowed:  # a NaN fails as well
                raise UserError(
                    f"the converted trunk differs from its source by {differences[stage]:.1e} in {stage} (allowed "
                    f"{allowed:.1e}), so {out} was not written: this is a fault of the conversion; report it."
                )
    return differences

"""Whether a written file is the same network in the library that it is for: the features of both are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from pretrain.models.trunks import is_timm, plain_trunk, usual_size
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import drafted
from pretrain.weights.trunk import TrunkFile
from transfer.convert.destinations.base import Stages
from transfer.convert.peers import peer_of, stages

STAGES = ("res2", "res3", "res4", "res5")
TOLERANCE = 1e-4
SIDE = 128  # pixels of the image on which features are compared; a network of timm gets what it is made for


def stages_of_state(state: Mapping[str, Tensor], arch: str, images: Tensor) -> list[Tensor]:
    """`stages` of the library's own network, filled strictly with a state dict under its names without classifier.

    Of a network of timm, its features.
    """
    network = plain_trunk(arch)
    network.load_state_dict(state, strict=True)
    network = network.eval().to(images.dtype)
    return [network(images)] if is_timm(arch) else stages(network, images)


def stages_in_torchvision(path: Path, trunk_file: TrunkFile, images: Tensor) -> list[Tensor]:
    """`stages` of torchvision's own network, filled strictly from the file of torch.save at `path`."""
    return stages_of_state(torch.load(path, weights_only=True)["state_dict"], trunk_file.arch, images)


@torch.no_grad()
def write_verified(
    out: Path,
    trunk_file: TrunkFile,
    write: Callable[[Path], object],
    stages_of_draft: Stages,
) -> dict[str, float]:
    """Write a draft beside `out`, compare its features with the source network's, and move it to `out` when they agree.

    The comparison is on a random (1, 3, SIDE, SIDE) image in float64, where two spellings of one network differ by
    rounding far below TOLERANCE.

    Args:
        out: where the file is wanted.
        trunk_file: the source.
        write: writes the draft at the path it is given.
        stages_of_draft: the outputs of res2..res5 of the destination's network, filled from the draft.

    Returns:
        the largest absolute difference in each of res2..res5, or in the features of a network of timm.

    Raises:
        UserError: a difference is above TOLERANCE (relative to features whose largest value is below 1); whatever
            stood at `out` stays.
    """
    side = usual_size(trunk_file.arch) if is_timm(trunk_file.arch) else SIDE
    image = torch.randn(1, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = peer_of(trunk_file).stages(trunk_file, image)
    with drafted(out) as draft:
        write(draft)
        actual = stages_of_draft(draft, trunk_file, image)
        differences = {}
        names = ("features",) if is_timm(trunk_file.arch) else STAGES
        for stage, ours, theirs in zip(names, expected, actual, strict=True):
            differences[stage] = (ours - theirs).abs().max().item()
            allowed = TOLERANCE * min(1.0, ours.abs().max().item())
            if not differences[stage] <= allowed:  # a NaN fails as well
                raise UserError(
                    f"the converted trunk differs from its source by {differences[stage]:.1e} in {stage} (allowed "
                    f"{allowed:.1e}), so {out} was not written: this is a fault of the conversion; report it."
                )
    return differences

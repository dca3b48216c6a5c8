"""What a file of features was made from, in a JSON file beside it."""

from __future__ import annotations

from pathlib import Path

import torch

from pretrain.runtime import provenance
from pretrain.runtime.files import sha256_of, write_json
from pretrain.weights.hub.names import recorded
from pretrain.weights.trunk import TrunkFile
from transfer.features.on_device import chosen_precision
from transfer.features.pictures import resize_for
from transfer.options import Common
from transfer.results import now


def write_made(out: Path, checkpoint: Path, root: str, common: Common, trunk: TrunkFile, device: torch.device) -> Path:
    """Write NAME.json beside NAME.npy or NAME.parquet, and return it.

    Args:
        out: the file of features.
        checkpoint: that was read; one from a hub is recorded by its name and commit.
        root: of the images, without credentials.
        common: what was asked of reading and computing.
        trunk: what the checkpoint holds.
        device: that computed.
    """
    told = {
        "checkpoint": recorded(checkpoint),
        "checkpoint_sha256": sha256_of(checkpoint),
        "arch": trunk.arch,
        "branch": trunk.branch,
        "pretraining": trunk.meta,
        "data": root,
        "image_size": common.image_size,
        "resize": resize_for(common.image_size, common.resize),
        "interpolation": common.interpolation,
        "mean": list(trunk.pixels[0]),
        "std": list(trunk.pixels[1]),
        "precision": chosen_precision(common.frozen_precision, device),
        "commit": provenance.commit(),
        "date": now(),
    }
    path = out.with_suffix(".json")
    write_json(path, told)
    return path

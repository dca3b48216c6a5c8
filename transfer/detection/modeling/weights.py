"""The trunk that a detector starts from: read, of the depth the YAML says, loaded, and checked tensor by tensor."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from torch import Tensor, nn

from pretrain.models.trunks import is_timm
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from pretrain.weights import of_all_ranks
from pretrain.weights.formats import ALL_BITS
from pretrain.weights.hub.fetch import fetched
from pretrain.weights.hub.names import kept_name
from pretrain.weights.names import detectron2_name
from pretrain.weights.numbers import COUNTER
from pretrain.weights.read_trunk import read_trunk
from pretrain.weights.trunk import TrunkFile
from transfer.convert.destinations.base import require_network
from transfer.convert.verify import STAGES
from transfer.convert.write import provenance_of, save_detectron2
from transfer.detection.config.validate import RANDOM, architecture, check_input, keys_of
from transfer.detection.modeling import timm_trunk
from transfer.detection.modeling.timm_trunk import NETWORK
from transfer.results import init_of

TRUNK_PREFIXES = (
    "backbone.bottom_up.",
    "backbone.",
    "roi_heads.",
)  # of the trunk in FPN, in C4, and C4's res5
EXTRA_NORM = "res5.norm."  # ours, not the trunk's
OF_TIMM = f"{NETWORK}."  # after one of the prefixes: the names of timm follow


@dataclass(frozen=True)
class Trunk:
    """The trunk that MODEL.WEIGHTS names.

    arch: torchvision's name, or timm/NAME. init: "pretrained" or "random": random weights, or an export of pretraining
    at step 0. file: None for random weights. converted: the .pkl that detectron2 loads, None for a network of timm,
    whose tensors detectron2 does not know. state: detectron2's names, or timm's, to tensors.
    meta: what the file says of itself. sha256: of the file as it was given, empty for random weights. bits: as of
    `TrunkFile`.
    """

    arch: str
    init: str
    file: Path | None = None
    converted: Path | None = None
    state: dict[str, Tensor] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    bits: int = ALL_BITS

    @property
    def called(self) -> str:
        """The file as records have it: its path, or its name and commit on a hub; "" for random weights."""
        return str((kept_name(self.file) or self.file) if self.file else "")


def read_weights(cfg: CfgNode, out: Path) -> Trunk:
    """Read MODEL.WEIGHTS, any file that transfer/convert knows, and write it as OUT/trunk.pkl for detectron2.

    detectron2 itself never sees the given file: its loader would run the code that a pickle may name.

    Raises:
        UserError: unreadable or incomplete file, another network than the configuration describes, or another input
            than the trunk was trained on, by what the file or its project's layout says.
    """
    arch = architecture(cfg)
    if of_timm := is_timm(arch):
        timm_trunk.stage_channels(arch, cfg.MODEL.FPN.IN_FEATURES)  # or one sentence, before data are read
    if cfg.MODEL.WEIGHTS == RANDOM:
        check_input(cfg)
        return Trunk(arch, "random")
    path = fetched(cfg.MODEL.WEIGHTS)
    trunk = read_trunk(path, arch=arch if of_timm else None)
    require_network(trunk, path, "detectron2", takes_timm=True)
    if trunk.arch != arch:
        raise UserError(
            f"{path} holds a {trunk.arch}, but the configuration builds a {arch}: set "
            f"{', '.join(f'{key}={value}' for key, value in keys_of(trunk.arch).items())}, or give another file."
        )
    check_input(cfg, _input(trunk))
    converted = None if of_timm else out / "trunk.pkl"
    origin = provenance_of(path, trunk)  # before all ranks wait: OUT/trunk.pkl may be the given file
    of_all_ranks.check_same(f"MODEL.WEIGHTS={cfg.MODEL.WEIGHTS}", origin["sha256"])
    if distributed.rank() == 0 and converted:
        save_detectron2(converted, trunk, origin)
    distributed.barrier()  # the other ranks load what rank 0 wrote
    state = {name if of_timm else detectron2_name(name): tensor for name, tensor in trunk.state.items()}
    return Trunk(arch, init_of(trunk.meta), path, converted, state, trunk.meta, origin["sha256"], trunk.bits)


def _input(trunk: TrunkFile) -> dict[str, Any]:
    """What the trunk was trained on, with the keys of validate.ORIGIN; `read_trunk` refuses another order or stride."""
    mean, std = ([255 * value for value in values] for values in trunk.pixels)
    return {"format": "RGB", "stride_in_1x1": False, "mean": mean, "std": std}


def fill_detector(model: nn.Module, trunk: Trunk) -> str:
    """Load `trunk` into a detector, a ResNet with detectron2's own checkpointer; then compare with `check_filled`.

    Returns:
        what was filled, in a sentence.

    Raises:
        UserError: the detector's trunk is not the file's, bit for bit.
    """
    if trunk.file is None:
        return f"the {trunk.arch} starts from random weights, as asked."
    logging.getLogger("fvcore.common.checkpoint").info("trunk from %s", trunk.file)
    state, left = trunk.state, ""
    if trunk.converted:
        DetectionCheckpointer(model).load(str(trunk.converted))
    else:
        state = timm_trunk.fill(model, state)
        behind = sum(name not in state and not name.endswith(COUNTER) for name in trunk.state)
        left = f" {behind} tensors behind its last stage are left out." if behind else ""
    check_filled(model, state, str(trunk.file))
    return f"all {len(state)} tensors of the {trunk.arch} are those of {trunk.file}, bit for bit.{left}"


def check_filled(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Compare the trunk's tensors in a detector with the file's, both ways; detectron2 only logs what is missing.

    Args:
        model: a detector whose trunk lies under one of TRUNK_PREFIXES.
        state: detectron2's trunk names (stem.*, res2.* .. res5.*), or timm's, to tensors.
        source: the file, for the message.

    Raises:
        UserError: a tensor of the detector's trunk has no counterpart, one of the file is nowhere, or two differ.
    """
    inside = {inner: tensor.cpu() for name, tensor in model.state_dict().items() if (inner := _name_in_trunk(name))}
    counters = {name for name in state if name.endswith(COUNTER)}  # frozen norms have none
    faults = {
        "are not in the file": [name for name in inside if name not in state and not name.startswith(EXTRA_NORM)],
        "are nowhere in the detector": [name for name in state if name not in inside and name not in counters],
        "differ after loading": [
            name for name in inside if name in state and not _identical(inside[name], state[name])
        ],
    }
    sentences = [
        f"{len(names)} tensors {fault} ({', '.join(names[:3])}, ...)" for fault, names in faults.items() if names
    ]
    if sentences:
        raise UserError(f"{source} did not fill the whole trunk: {'; '.join(sentences)}.")


def _name_in_trunk(name: str) -> str:
    """A detector's tensor as its trunk calls it; "" for one that is not the trunk's."""
    prefix = next((prefix for prefix in TRUNK_PREFIXES if name.startswith(prefix)), "")
    inner = name[len(prefix) :]
    if prefix and inner.startswith(OF_TIMM):
        return inner[len(OF_TIMM) :]
    return inner if prefix and inner.startswith(("stem.", *(f"{stage}." for stage in STAGES))) else ""


def _identical(ours: Tensor, theirs: Tensor) -> bool:
    return ours.shape == theirs.shape and ours.dtype == theirs.dtype and torch.equal(ours, theirs)

"""The trunk that a detector starts from: read, of the depth the YAML says, loaded, and checked tensor by tensor."""

from __future__ import annotations

import io
import logging
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from torch import Tensor, nn

from pretrain import comm
from pretrain.errors import UserError
from pretrain.files import sha256_of
from transfer import convert
from transfer.detection.checks import RANDOM, architecture, check_input

HOMES = ("backbone.bottom_up.", "backbone.", "roi_heads.")  # where detectors keep the trunk: FPN, C4, and C4's res5
EXTRA_NORM = "res5.norm."  # ours, not the trunk's


@dataclass(frozen=True)
class Trunk:
    """What MODEL.WEIGHTS names.

    file: None for random weights. converted: the .pkl that detectron2 loads. state: detectron2's names to tensors.
    init: "pretrained" or "random" (random weights, or a pre-training export at step 0). meta: the file's own.
    """

    arch: str
    init: str
    file: Path | None = None
    converted: Path | None = None
    state: dict[str, Tensor] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Of the file as it was given; empty for random weights."""
        return sha256_of(self.file) if self.file else ""


def read(cfg: CfgNode, out: Path) -> Trunk:
    """Read MODEL.WEIGHTS, converting it to OUT/trunk.pkl unless it is a converted .pkl already.

    Raises:
        UserError: unreadable or incomplete file, a depth other than MODEL.RESNETS.DEPTH, or another input than the
            trunk was trained on: what the file's meta says under "input", else torchvision's.
    """
    arch = architecture(cfg)
    if cfg.MODEL.WEIGHTS == RANDOM:
        check_input(cfg)
        return Trunk(arch, "random")
    path = Path(cfg.MODEL.WEIGHTS)
    found = _read_converted(path, arch) if path.suffix == ".pkl" else convert.read_trunk(path)
    if found.arch != arch:
        raise UserError(
            f"{path} holds a {found.arch}, but the configuration builds a {arch}: set MODEL.RESNETS.DEPTH="
            f"{found.arch.removeprefix('resnet')} (and RES2_OUT_CHANNELS to 64 for 18 and 34, else 256), or give "
            "another file."
        )
    check_input(cfg, found.meta.get("input"))
    converted = path if path.suffix == ".pkl" else out / "trunk.pkl"
    if converted != path and comm.rank() == 0:
        convert.save_detectron2(converted, found, convert.provenance_of(path, found))
    comm.barrier()  # the other ranks load what rank 0 wrote
    state = {convert.detectron2_name(name): tensor for name, tensor in found.state.items()}
    init = "random" if found.meta.get("step") == 0 else "pretrained"
    return Trunk(arch, init, path, converted, state, found.meta)


def _read_converted(path: Path, arch: str) -> convert.TrunkFile:
    if not path.is_file():
        raise UserError(f"{path} is not a file: give MODEL.WEIGHTS a trunk, or 'random'.")
    try:
        content = _ArraysOnly(io.BytesIO(path.read_bytes())).load()  # before detectron2's loader, which runs any code
        origin = content.get("provenance", {})
        arch = origin.get("arch", arch)
        return convert.TrunkFile(
            convert.from_detectron2(content["model"], arch), arch, "detectron2", origin.get("meta", {})
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{path} is not a trunk converted for detectron2 ({reason}): make one with "
            f"`python tools/convert.py IN {path.name} --to detectron2`."
        ) from error


class _ArraysOnly(pickle.Unpickler):
    """Unpickles plain containers and numpy arrays; anything else that a pickle can name is code."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] != "numpy" or name not in ("_reconstruct", "_frombuffer", "ndarray", "dtype", "scalar"):
            raise pickle.UnpicklingError(f"it names {module}.{name}, and loading that would run code")
        return super().find_class(module, name)


def fill(model: nn.Module, trunk: Trunk) -> str:
    """Load `trunk` into a detector with detectron2's own checkpointer, then hold `check_filled`.

    Returns:
        what was filled, in a sentence.

    Raises:
        UserError: the detector's trunk is not the file's, bit for bit.
    """
    if trunk.converted is None:
        return f"the {trunk.arch} starts from random weights, as asked."
    logging.getLogger("fvcore.common.checkpoint").info("trunk from %s", trunk.file)
    DetectionCheckpointer(model).load(str(trunk.converted))
    check_filled(model, trunk.state, str(trunk.file))
    return f"all {len(trunk.state)} tensors of the {trunk.arch} are those of {trunk.file}, bit for bit."


def check_filled(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Compare every trunk tensor of a detector with the file's, both ways; detectron2 itself only logs what is missing.

    Args:
        model: a detector whose trunk lies under one of HOMES.
        state: detectron2's trunk names (stem.*, res2.* .. res5.*) to tensors.
        source: the file, for the message.

    Raises:
        UserError: a tensor of the detector's trunk has no counterpart, one of the file is nowhere, or two differ.
    """
    held = {}
    for name, tensor in model.state_dict().items():
        home = next((home for home in HOMES if name.startswith(home)), "")
        inner = name[len(home) :]
        if home and inner.startswith(("stem.", *(f"{stage}." for stage in convert.STAGES))):
            held[inner] = tensor.cpu()
    counters = {name for name in state if name.endswith(convert.COUNTER)}  # frozen norms have none
    faults = {
        "are not in the file": [name for name in held if name not in state and not name.startswith(EXTRA_NORM)],
        "are nowhere in the detector": [name for name in state if name not in held and name not in counters],
        "differ after loading": [name for name in held if name in state and not _same(held[name], state[name])],
    }
    told = [f"{len(names)} tensors {fault} ({', '.join(names[:3])}, ...)" for fault, names in faults.items() if names]
    if told:
        raise UserError(f"{source} did not fill the whole trunk: {'; '.join(told)}.")


def _same(ours: Tensor, theirs: Tensor) -> bool:
    return ours.shape == theirs.shape and ours.dtype == theirs.dtype and torch.equal(ours, theirs)

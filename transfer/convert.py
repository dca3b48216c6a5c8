"""Checkpoints to trunks: recognise a file's layout, check every tensor, and rename for torchvision or detectron2."""

from __future__ import annotations

import os
import pickle
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pretrain import model, provenance
from pretrain.checkpoint import EXPORT_FORMAT
from pretrain.errors import UserError
from pretrain.files import load_torch, save_torch, sha256_of, write_atomically

# (bottleneck blocks?, blocks of layer1..layer4) tells the architectures apart by names alone
ARCHITECTURES = {
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 4, 23, 3)): "resnet101",
}
# layout of a file whose "model" holds two branches: prefix of the trunk in each
BRANCHES = {
    "unigrad-checkpoint": {"online": "online.trunk.", "target": "target.trunk."},
    "official-unigrad": {"online": "module.encoder.", "target": "module.momentum_encoder."},
}
# the official encoder is nn.Sequential over torchvision's children, so a child's index stands for its name
OFFICIAL_CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
STAGES = ("res2", "res3", "res4", "res5")
TOLERANCE = 1e-4
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class TrunkFile:
    """A trunk and where it comes from.

    state: torchvision names without `fc` to tensors on the CPU, float32 but for BN's counters.
    layout: unigrad-checkpoint, unigrad-export, official-unigrad or torchvision. meta: what the file says of itself.
    """

    state: dict[str, Tensor]
    arch: str
    layout: str
    meta: dict[str, Any]


@dataclass(frozen=True)
class _Candidate:
    layout: str
    tensors: dict[str, Any]
    claimed_arch: str | None
    meta: dict[str, Any]


def read_trunk(path: str | Path, branch: str = "online") -> TrunkFile:
    """The trunk of a checkpoint or export of ours, of an official UniGrad checkpoint, or of a torchvision state dict.

    The layout is recognised by its names, the architecture by names and shapes. A file without any BN counter (files
    older than torch 0.4.1) gets zeros, as torch itself does on loading.

    Args:
        path: a file that `torch.load(weights_only=True)` reads.
        branch: online or target, for the two layouts that hold both.

    Raises:
        UserError: unreadable file, no known layout or more than one, an architecture other than the claimed one, or a
            tensor that is missing, left over, of the wrong shape or not finite.
    """
    path = Path(path)
    content = load_torch(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, not a dictionary of tensors: give a checkpoint.")
    candidates = _candidates(content, branch)
    if len(candidates) != 1:
        verdict = (
            "no known layout"
            if not candidates
            else "more than one layout: " + ", ".join(candidate.layout for candidate in candidates)
        )
        raise UserError(
            f"{path} has {verdict}; seen were {_seen(content)}; known are {', '.join(BRANCHES)}, unigrad-export "
            "and torchvision."
        )
    found = candidates[0]
    if branch != "online" and found.layout not in BRANCHES:
        raise UserError(f"{path} ({found.layout}) holds a single trunk: branch '{branch}' needs a training checkpoint.")
    if not found.tensors:
        raise UserError(f"{path} ({found.layout}) holds no tensor of the {branch} branch: choose the other branch.")
    arch = _infer_arch(path, found)
    state = check_trunk(_with_counters(found.tensors, arch), arch, str(path))
    return TrunkFile(state, arch, found.layout, found.meta)


def build_trunk(trunk_file: TrunkFile) -> nn.Module:
    """A torchvision ResNet in eval mode with `fc` the identity, filled strictly from `trunk_file`."""
    trunk, _ = model.build_trunk(trunk_file.arch)
    trunk.load_state_dict(trunk_file.state, strict=True)
    return trunk.eval()


def _candidates(content: Mapping[str, Any], branch: str) -> list[_Candidate]:
    found = []
    both = content.get("model")
    for layout, prefixes in BRANCHES.items():
        if isinstance(both, Mapping) and any(str(name).startswith(tuple(prefixes.values())) for name in both):
            tensors = _below(both, prefixes[branch])
            if layout == "official-unigrad":
                tensors = {_official_name(name): tensor for name, tensor in tensors.items()}
            config = content.get("config") if isinstance(content.get("config"), Mapping) else {}
            arch = config.get("model", {}).get("arch")
            found.append(_Candidate(layout, tensors, arch, _meta_of_training(content, config, branch)))
    wrapped = content.get("state_dict")
    about = dict(content["meta"]) if isinstance(content.get("meta"), Mapping) else {}
    for holder, claimed, meta in ((content, None, {}), (wrapped, content.get("arch"), about)):
        if isinstance(holder, Mapping) and "conv1.weight" in holder:
            export = holder is wrapped and content.get("format") == EXPORT_FORMAT
            tensors = {name: holder[name] for name in holder if export or name not in ("fc.weight", "fc.bias")}
            found.append(_Candidate("unigrad-export" if export else "torchvision", tensors, claimed, meta))
    return found


def _below(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if str(name).startswith(prefix)}


def _official_name(name: str) -> str:
    child, dot, rest = name.partition(".")
    return OFFICIAL_CHILDREN.get(child, child) + dot + rest


def _meta_of_training(content: Mapping[str, Any], config: Mapping[str, Any], branch: str) -> dict[str, Any]:
    meta = {name: content[name] for name in ("step", "epoch") if isinstance(content.get(name), int)}
    if config:
        meta["method"] = config.get("method", {}).get("name")
        meta["seed"] = config.get("run", {}).get("seed")
        meta["images_seen"] = meta.get("step", 0) * config.get("optim", {}).get("batch_size", 0)
    return {**meta, "branch": branch}


def _infer_arch(path: Path, found: _Candidate) -> str:
    blocks = [re.match(r"layer([1-4])\.(\d+)\.", str(name)) for name in found.tensors]
    deepest = [max((int(hit[2]) + 1 for hit in blocks if hit and hit[1] == layer), default=0) for layer in "1234"]
    bottleneck = any(str(name).endswith(".conv3.weight") for name in found.tensors)
    arch = ARCHITECTURES.get((bottleneck, tuple(deepest)))
    if arch is None:
        kind = "bottleneck" if bottleneck else "basic"
        raise UserError(
            f"{path} ({found.layout}) holds {deepest} {kind} blocks in layer1..layer4, which is none of "
            f"{', '.join(ARCHITECTURES.values())}: give the checkpoint of one of these."
        )
    if found.claimed_arch not in (None, arch):
        raise UserError(
            f"{path} says it is a {found.claimed_arch}, but its tensors are those of a {arch}: it was put together "
            "wrongly; export it again."
        )
    return arch


@lru_cache
def _shapes(arch: str) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in model.build_trunk(arch)[0].state_dict().items()}


def _with_counters(tensors: Mapping[str, Any], arch: str) -> dict[str, Any]:
    counters = [name for name in _shapes(arch) if name.endswith(COUNTER)]
    if any(name in tensors for name in counters):
        return dict(tensors)
    return {**tensors, **{name: torch.zeros((), dtype=torch.int64) for name in counters}}


def check_trunk(tensors: Mapping[str, Any], arch: str, where: str) -> dict[str, Tensor]:
    """The tensors of `arch` in torchvision's order, float32 and contiguous, when they are exactly the trunk's.

    Raises:
        UserError: a tensor is missing, left over, of the wrong shape or not finite; the first few are named.
    """
    shapes = _shapes(arch)
    shared = [name for name in shapes if isinstance(tensors.get(name), Tensor)]
    wrong = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(shapes[name])}"
        for name in shared
        if tensors[name].shape != shapes[name]
    ]
    faults = {
        "lacks": [name for name in shapes if name not in shared],
        "holds beyond the trunk": [name for name in tensors if name not in shapes],
        "has the wrong shape in": wrong,
        "has values that are not finite in": [name for name in shared if not torch.isfinite(tensors[name]).all()],
    }
    told = [f"{fault} {_some(names)}" for fault, names in faults.items() if names]
    if told:
        raise UserError(f"{where} is not a whole {arch} trunk: it {'; it '.join(told)}.")
    return {
        name: (tensors[name].float() if tensors[name].is_floating_point() else tensors[name]).contiguous()
        for name in shapes
    }


def _some(names: Iterable[Any], limit: int = 4) -> str:
    names = [str(name) for name in names]
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest


def _seen(content: Mapping[str, Any]) -> str:
    nested = [f"{name}: {_some(inner)}" for name, inner in content.items() if isinstance(inner, Mapping) and inner]
    return "; ".join([f"keys {_some(content, 8)}", *nested[:3]])


def detectron2_name(name: str) -> str:
    """torchvision's name of a trunk tensor to detectron2's: layer1.0.bn1.bias to res2.0.conv1.norm.bias."""
    name = re.sub(r"^(?=conv1|bn1)", "stem.", name)
    name = re.sub(r"^layer(\d)", lambda hit: f"res{int(hit[1]) + 1}", name)
    name = re.sub(r"\bbn(\d)", r"conv\1.norm", name)
    return name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")


def to_detectron2(state: Mapping[str, Tensor], arch: str) -> dict[str, np.ndarray]:
    """Rename a whole trunk for detectron2's ResNet; strict, bit for bit the same numbers (0-d arrays for counters)."""
    state = check_trunk(state, arch, "the state dict")
    return {detectron2_name(name): np.asarray(tensor.detach().numpy()) for name, tensor in state.items()}


def from_detectron2(arrays: Mapping[str, np.ndarray], arch: str) -> dict[str, Tensor]:
    """The inverse of `to_detectron2`; strict and bit for bit as well."""
    original = {detectron2_name(name): name for name in _shapes(arch)}
    named = {original.get(name, name): torch.from_numpy(array) for name, array in arrays.items()}
    return check_trunk(named, arch, "the detectron2 state dict")


def provenance_of(path: str | Path, trunk_file: TrunkFile) -> dict[str, Any]:
    """What a converted file says about its source: name, SHA-256, layout, architecture, this code's commit, meta."""
    return {
        "source": Path(path).name,
        "sha256": sha256_of(Path(path)),
        "layout": trunk_file.layout,
        "arch": trunk_file.arch,
        "commit": provenance.commit(),
        "meta": trunk_file.meta,
    }


def save_detectron2(path: Path, trunk_file: TrunkFile, origin: Mapping[str, Any]) -> Path:
    """Write the pickle that detectron2's checkpointer reads, atomically.

    `matching_heuristics` lets detectron2 match names by their ends, which a trunk needs to land in `backbone`,
    `backbone.bottom_up` or `roi_heads.res5`; it logs what it left out, so loaders must check that nothing was.
    """
    content = {
        "model": to_detectron2(trunk_file.state, trunk_file.arch),
        "__author__": "unigrad",
        "matching_heuristics": True,
        "provenance": dict(origin),
    }
    return write_atomically(path, lambda temporary: temporary.write_bytes(pickle.dumps(content, protocol=4)))


def save_torchvision(path: Path, trunk_file: TrunkFile, origin: Mapping[str, Any]) -> Path:
    """Write {"arch", "state_dict", "meta", "provenance"} under torchvision's names without `fc`, atomically."""
    content = {"arch": trunk_file.arch, "state_dict": trunk_file.state, "meta": trunk_file.meta}
    return save_torch(path, {**content, "provenance": dict(origin)})


def stages(trunk: nn.Module, image: Tensor) -> list[Tensor]:
    """Outputs of layer1..layer4 of a torchvision ResNet for a (N, 3, H, W) batch."""
    features = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(image))))
    outputs = []
    for layer in (trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4):
        features = layer(features)
        outputs.append(features)
    return outputs


def stages_of_file(path: Path, trunk_file: TrunkFile, image: Tensor) -> list[Tensor]:
    """`stages` of the trunk that `read_trunk` finds in a file, in the precision of `image`."""
    return stages(build_trunk(read_trunk(path)).to(image.dtype), image)


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
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        draft = Path(folder, out.name)
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
        os.replace(draft, out)
    return differences

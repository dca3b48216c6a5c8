"""Writing a trunk for the libraries that detect and classify, with its provenance inside the file."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pretrain.runtime import provenance
from pretrain.runtime.digests import KEY, digests_of
from pretrain.runtime.files import save_torch, sha256_of, write_atomically
from pretrain.weights.names import detectron2_name
from pretrain.weights.trunk import TrunkFile, check_trunk, shapes_of, tensors_sha256


def to_detectron2(state: Mapping[str, Tensor], arch: str) -> dict[str, np.ndarray]:
    """Rename a whole trunk for detectron2's ResNet; strict, bit for bit the same numbers (0-d arrays for counters)."""
    state = check_trunk(state, arch, "the state dict")
    return {detectron2_name(name): np.asarray(tensor.detach().numpy()) for name, tensor in state.items()}


def from_detectron2(arrays: Mapping[str, np.ndarray], arch: str) -> dict[str, Tensor]:
    """The inverse of `to_detectron2`; strict and bit for bit as well."""
    original = {detectron2_name(name): name for name in shapes_of(arch)}
    named = {original.get(name, name): torch.from_numpy(array) for name, array in arrays.items()}
    return check_trunk(named, arch, "the detectron2 state dict")


def provenance_of(path: str | Path, trunk_file: TrunkFile) -> dict[str, Any]:
    """What a converted file says about its source: name, SHA-256, layout, branch, architecture, input, commit, meta.

    `tensors_sha256` is of the trunk's values in torchvision's order, and `digests` has one for each tensor under
    torchvision's name, so they are the same in every destination and after the way back; a file cannot hold its own
    SHA-256.
    """
    mean, std = trunk_file.pixels
    return {
        "source": Path(path).name,
        "sha256": sha256_of(Path(path)),
        "layout": trunk_file.layout,
        "branch": trunk_file.branch,
        "arch": trunk_file.arch,
        "tensors_sha256": tensors_sha256(trunk_file.state),
        KEY: digests_of(trunk_file.state),
        "input": {"format": "RGB", "scale": "0..1", "mean": list(mean), "std": list(std), "stride_in_1x1": False},
        "commit": provenance.commit(),
        "meta": trunk_file.meta,
    }


def _mapped(trunk_file: TrunkFile, rename: Callable[[str], str] = str) -> dict[str, str]:
    """The destination's names to the source's."""
    return {rename(name): key for name, key in trunk_file.mapping.items()}


def save_detectron2(path: Path, trunk_file: TrunkFile, origin: Mapping[str, Any]) -> Path:
    """Write what detectron2's checkpointer reads, a pickle of arrays (.pkl) or torch.save (.pth), atomically.

    `matching_heuristics` lets detectron2 match names by their ends, which a trunk needs to land in `backbone`,
    `backbone.bottom_up` or `roi_heads.res5`; it logs what it left out, so loaders must check that nothing was.
    """
    arrays = to_detectron2(trunk_file.state, trunk_file.arch)
    content = {
        "model": arrays,
        "__author__": "unigrad",
        "matching_heuristics": True,
        "provenance": {**origin, "mapping": _mapped(trunk_file, detectron2_name)},
    }
    if path.suffix != ".pkl":
        return save_torch(path, {**content, "model": {name: torch.from_numpy(one) for name, one in arrays.items()}})

    def write_pickle(temporary: Path) -> None:
        temporary.write_bytes(pickle.dumps(content, protocol=4))

    return write_atomically(path, write_pickle)


def save_torchvision(path: Path, trunk_file: TrunkFile, origin: Mapping[str, Any]) -> Path:
    """Write {"arch", "state_dict", "meta", "provenance"} under torchvision's names without `fc`, atomically.

    timm and mmdetection read the same: both look below "state_dict".
    """
    content = {"arch": trunk_file.arch, "state_dict": trunk_file.state, "meta": trunk_file.meta}
    return save_torch(path, {**content, "provenance": {**origin, "mapping": _mapped(trunk_file)}})


def save_safetensors(
    path: Path, trunk_file: TrunkFile, origin: Mapping[str, Any], rename: Callable[[str], str] = str
) -> Path:
    """Write a trunk without `fc`; the architecture and, as JSON, the provenance are its metadata.

    The same arguments give the same bytes.

    Args:
        path: of the file.
        trunk_file: the trunk.
        origin: of `provenance_of`.
        rename: torchvision's name of a tensor to that in the file.
    """
    from safetensors.torch import save

    told = {**origin, "mapping": _mapped(trunk_file, rename)}
    metadata = {"format": "pt", "arch": trunk_file.arch, "provenance": json.dumps(told)}
    content = _with_metadata(save({rename(name): tensor for name, tensor in trunk_file.state.items()}), metadata)
    return write_atomically(path, lambda temporary: temporary.write_bytes(content))


def _with_metadata(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """A safetensors file with metadata in the order given; its own library writes them in a random one.

    The file is the header's length in 8 bytes, the header as JSON, and the tensors at offsets from its end.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = {"__metadata__": dict(metadata), **json.loads(content[8:end])}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors stay aligned
    return len(text).to_bytes(8, "little") + text + content[end:]

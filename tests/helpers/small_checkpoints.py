"""Checkpoints of every layout in files of some 100 KB: whole ResNet-18s whose tensors are views of few numbers."""

import pickle
import zlib
from collections.abc import Mapping
from functools import lru_cache

import torch
import torchvision

from helpers.public_checkpoints import RECIPES

NUMBERS = torch.randn(8192, generator=torch.Generator().manual_seed(0)).clamp(-3, 3)
STRIDES = (1, 3, 5, 7)


@lru_cache
def content_of(kind):
    """What a project saves, by the recipes of public checkpoints; tensors are small in a file and keep their shapes."""
    torch.manual_seed(0)
    with torch.device("meta"):
        online, target = (torchvision.models.resnet18(weights=None) for _ in range(2))
        content = RECIPES[kind][0](online, target)
    return small(content, kind)


def small(value, name):
    if isinstance(value, torch.Tensor):
        return numbers_like(value, name)
    if isinstance(value, Mapping):
        return {key: small(one, f"{name}.{key}") for key, one in value.items()}
    return [small(one, name) for one in value] if isinstance(value, list) else value


def numbers_like(tensor, name):
    """A tensor of that shape: of whole numbers a count, else a view of NUMBERS that begins where the name says."""
    start = zlib.crc32(name.encode()) % 4000
    if not tensor.is_floating_point():
        return torch.full(tensor.shape, start, dtype=tensor.dtype)
    return NUMBERS.as_strided(tensor.shape, STRIDES[: tensor.ndim], start)


def arrays(value):
    """The same with NumPy's arrays, for formats that share no numbers."""
    if isinstance(value, torch.Tensor):
        return value.half().numpy() if value.is_floating_point() else value.numpy()
    return {key: arrays(one) for key, one in value.items()} if isinstance(value, Mapping) else value


def write_zip(path, content):
    torch.save(content, path)


def write_legacy(path, content):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def write_pickle(path, content):
    path.write_bytes(pickle.dumps(arrays(content), 2))


def write_safetensors(path, content):
    """The file's own names, one after the other: what lies deeper than one dictionary does not fit this format."""
    from safetensors.torch import save_file

    state = next((one for one in content.values() if isinstance(one, Mapping)), content)
    save_file(
        {
            key: one.clone(memory_format=torch.contiguous_format)
            for key, one in state.items()
            if isinstance(one, torch.Tensor)
        },
        path,
    )


# whether a format carries checksums, so that no damaged tensor may be read as if nothing had happened
FORMATS = {
    "zip": (write_zip, True),
    "before zip": (write_legacy, False),
    "pickle": (write_pickle, False),
    "safetensors": (write_safetensors, False),
}

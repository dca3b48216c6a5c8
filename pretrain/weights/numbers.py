"""Which numbers a trunk may consist of, and how they become float32 and int64 without a silent change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from pretrain.weights.pickles.objects import OddTensor

COUNTER = "num_batches_tracked"
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def finite(tensor: Tensor) -> bool:
    """Whether no number is infinite or NaN. A view of few numbers under many indices is as cheap as those few."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    for axis, step in enumerate(tensor.stride()):
        if step == 0 and tensor.shape[axis] > 1:
            tensor = tensor.narrow(axis, 0, 1)
    bytes_held = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() > bytes_held:  # rows that overlap
        count = bytes_held // tensor.element_size()
        tensor = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage(), 0, (count,), (1,))
    if tensor.dtype not in FLOATS and not tensor.is_complex():
        if tensor.element_size() != 1:
            return True  # packed numbers, of which torch computes nothing
        tensor = tensor.to(torch.float32)
    return bool(torch.isfinite(tensor).all())


def unfit(tensors: Mapping[str, Any]) -> dict[str, list[str]]:
    """What is wrong with the kinds of numbers, in words, to the names it is wrong with."""
    return {
        "holds sparse, quantised or otherwise packed tensors in": [
            f"{name} ({one.kind})" for name, one in tensors.items() if isinstance(one, OddTensor)
        ],
        "holds numbers of another type than weights have in": list(_of_other_types(tensors)),
    }


def _of_other_types(tensors: Mapping[str, Any]) -> Iterator[str]:
    for name, one in tensors.items():
        if isinstance(one, Tensor):
            fit = (*FLOATS, *WHOLE) if name.endswith(COUNTER) else FLOATS
            if one.dtype not in fit:
                yield f"{name} ({str(one.dtype).removeprefix('torch.')})"


def beyond_float32(tensor: Tensor) -> bool:
    """Whether a finite number of a float64 tensor is none of float32."""
    return tensor.dtype == torch.float64 and finite(tensor) and not finite(tensor.float())


def is_whole(tensor: Tensor) -> bool:
    """Whether int64 can hold a counter's number exactly."""
    return tensor.dtype in WHOLE or bool(
        (tensor.double() == tensor.double().round()).all() and (tensor.abs() < 2**53).all()
    )


def as_held(name: str, tensor: Tensor) -> Tensor:
    """A contiguous tensor of float32, or int64 for a counter; float64 is rounded, all else is exact.

    It owns its memory: tensors of a file may be views of each other, which safetensors does not write.
    """
    dtype = torch.int64 if name.endswith(COUNTER) else torch.float32
    return tensor.to(dtype, copy=True, memory_format=torch.contiguous_format)

"""A GPU without a GPU: tensors on cuda:0 have a shape, a type and a device, and no numbers. No driver is needed.

    with fake_gpu(), Watched() as watched:
        ...                                  # raises at the first place where a real GPU would make the host wait
    watched.launches                         # how many operations were launched there

Tensors on the CPU stay real, so that what the host draws, sorts and indexes is computed as always.
"""

from __future__ import annotations

import contextlib
import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from helpers.fake_backward import backward
from pretrain.runtime import distributed

aten = torch.ops.aten
COPIES = (aten._to_copy.default, aten.copy_.default)
INDEXING = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)
NO_LAUNCH = {
    *(aten.empty.memory_format, aten.empty_strided.default, aten.empty_like.default, aten.new_empty.default),
    *(aten.new_empty_strided.default, aten.detach.default, aten.set_.source_Storage_storage_offset),
}


_moving: list[nn.Module] = []  # modules that are on their way to the device, once and for all: for these the host waits
_pinned: dict[int, Any] = {}  # storages of the host that are pinned, by their address, each of which they keep


class WaitsForTheDevice(AssertionError):
    """The host would wait for the device here."""


class _FakeMode(FakeTensorMode):
    """Never touches a CUDA driver, whatever torch.cuda.is_available says."""

    avoid_device_init = True  # a property of torch's that asks torch.cuda


class _RealHost(TorchDispatchMode):
    """Operations on CPU tensors alone are computed; those that touch the device go to the fake mode below."""

    def __init__(self, fake: FakeTensorMode) -> None:
        super().__init__()
        self.fake = fake

    def __torch_dispatch__(self, operator: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        keywords = keywords or {}
        tensors = _tensors((arguments, keywords))
        wanted = keywords.get("device")
        on_device = wanted is not None and torch.device(wanted).type == "cuda"
        if not on_device and not any(isinstance(one, FakeTensor) for one in tensors):
            pinned = keywords.pop("pin_memory", False)
            with unset_fake_temporarily():
                out = operator(*arguments, **keywords)
            return _noted(out) if pinned else out
        real = [one for one in tensors if not isinstance(one, FakeTensor)]
        if not real:
            return operator(*arguments, **keywords)
        shapes = tree_map_only(torch.Tensor, self._shape_of, (arguments, keywords))
        out = operator(*shapes[0], **shapes[1])
        if operator is aten.copy_.default and arguments[0] in map(_Same, real):
            return arguments[0]  # host memory that the device writes to keeps its numbers, whatever they are
        return out

    def _shape_of(self, tensor: torch.Tensor) -> torch.Tensor:
        if isinstance(tensor, FakeTensor):
            return tensor
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device)


class _Same:
    """Equal to the very object that it holds."""

    def __init__(self, held: object) -> None:
        self.held = held

    def __eq__(self, other: object) -> bool:
        return self.held is other


class Watched(TorchDispatchMode):
    """Refuses what the host would wait for although nothing is read: copies to or from the device that block.

    A copy that is not `non_blocking` does, and so does indexing a tensor of the device with one of the host.

    Args: pinned, whether copies of host memory that is not pinned are refused too: they block in part; waits, how many
        copies may block, for what is read when everything is done.

    Attributes: launches, operations that run on the device, views and empty tensors not among them; by_operator, the
        same by name; copies, those between host and device that do not block.
    """

    def __init__(self, pinned: bool = False, waits: int = 0) -> None:
        super().__init__()
        self.pinned, self.waits = pinned, waits
        self.by_operator: Counter[str] = Counter()
        self.copies = 0

    @property
    def launches(self) -> int:
        return self.by_operator.total()

    def __torch_dispatch__(self, operator: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        keywords = keywords or {}
        out = operator(*arguments, **keywords)
        tensors = _tensors((arguments, keywords, out))
        devices = {one.device.type for one in tensors}
        if "cuda" in devices and operator.namespace != "prim":
            if operator in COPIES and "cpu" in devices:
                self._copied(operator, arguments, keywords)
            if operator in INDEXING:
                _check_indices(operator, arguments)
            if not operator.is_view and operator not in NO_LAUNCH:
                self.by_operator[str(operator)] += 1
        return out

    def _copied(self, operator: Any, arguments: Any, keywords: Any) -> None:
        if _moving:
            return
        third = arguments[2] if operator is aten.copy_.default and len(arguments) > 2 else False
        if not keywords.get("non_blocking", third):
            self.waits -= 1
            if self.waits >= 0:
                return
            raise WaitsForTheDevice(f"{operator} between host and device without non_blocking: the host waits for it")
        on_host = [one for one in _tensors(arguments) if not isinstance(one, FakeTensor)]
        if self.pinned and any(one.untyped_storage()._cdata not in _pinned for one in on_host):
            raise WaitsForTheDevice(f"{operator} between the device and memory that is not pinned: it blocks in part")
        self.copies += 1


def _check_indices(operator: Any, arguments: Any) -> None:
    if arguments[0].is_cuda and any(not one.is_cuda and one.dim() for one in _tensors(arguments[1])):
        raise WaitsForTheDevice(f"{operator} of the device by indices of the host: they are copied, and it waits")


def _tensors(values: Any) -> list[torch.Tensor]:
    return [one for one in tree_leaves(values) if isinstance(one, torch.Tensor)]


def _noted(tensor: torch.Tensor) -> torch.Tensor:
    storage = tensor.untyped_storage()
    _pinned[storage._cdata] = storage
    return tensor


class _Event:
    """torch.cuda.Event: nothing happens."""

    def record(self) -> None: ...

    def synchronize(self) -> None: ...


def _answers(memory: int) -> Iterator[tuple[object, dict[str, Any]]]:
    """What torch is asked about its devices, by the module that is asked."""

    def always(value: object) -> mock.Mock:
        return mock.Mock(return_value=value)

    yield (
        torch.cuda,
        {
            **{"is_available": always(True), "is_bf16_supported": always(True), "device_count": always(1)},
            **{"mem_get_info": always((memory, memory)), "memory_reserved": always(0), "memory_allocated": always(0)},
            **{"set_device": always(None), "Event": _Event},
        },
    )
    yield torch.accelerator, {"is_available": always(True), "current_accelerator": always(torch.device("cuda"))}


@contextlib.contextmanager
def fake_gpu(memory: int = 80 * 2**30) -> Iterator[None]:
    """Within, tensors on cuda:0 are shapes. Reading one on the host raises, and so does mixing it with a CPU tensor.

    What is compiled runs uncompiled. `backward()` calls each node of the graph in turn (fake_backward.py).
    Pinned memory is memory of the host that Watched knows.

    Args: memory, bytes that the device says are free.
    """
    fake = _FakeMode(allow_non_fake_inputs=False)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_missing_kernels())
        stack.enter_context(mock.patch.object(fake_tensor, "init_gpu_context", lambda _: None))  # of torch before 2.14
        stack.enter_context(mock.patch.object(nn.Module, "_apply", _applied))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(mock.patch.object(torch.autograd, "backward", backward))
        stack.enter_context(mock.patch.object(FakeTensor, "data_ptr", _address, create=True))
        stack.enter_context(mock.patch.object(torch.Tensor, "pin_memory", lambda tensor, *_: _noted(tensor.clone())))
        stack.callback(_pinned.clear)
        stack.enter_context(fake)
        stack.enter_context(_RealHost(fake))
        for module, answers in _answers(memory):
            stack.enter_context(mock.patch.multiple(module, **answers))
        yield


def _address(tensor: torch.Tensor) -> int:
    """Equal for two tensors that begin at the same place, as a pointer is."""
    return tensor.untyped_storage()._cdata + tensor.storage_offset() * tensor.element_size()


def _applied(module: nn.Module, change: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> nn.Module:
    """nn.Module._apply, which `to` is: with new parameters, for a real one cannot become a shape."""
    _moving.append(module)
    for child in module.children():
        _applied(child, change)
    for name, value in module._parameters.items():
        if value is not None:
            module._parameters[name] = nn.Parameter(change(value.detach()), value.requires_grad)
    for name, value in module._buffers.items():
        if value is not None:
            module._buffers[name] = change(value)
    _moving.pop()
    return module


@contextlib.contextmanager
def fake_ranks(count: int) -> Iterator[None]:
    """This process as rank 0 of `count`, the others of which answer at once, with what they were given.

    torch's data-parallel wrapper needs streams of a real device, so modules stay unwrapped.
    """
    if count == 1:
        yield
        return
    from torch.testing._internal.distributed.fake_pg import FakeStore

    if not torch._C._dispatch_has_kernel_for_dispatch_key("c10d::allreduce_", "Meta"):
        importlib.import_module("torch.distributed._tools.fake_collectives")  # torch 2.10 keeps them there
    dist.init_process_group("fake", rank=0, world_size=count, store=FakeStore())
    try:
        with mock.patch.object(distributed, "data_parallel", lambda module, *_: module):
            yield
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def _missing_kernels() -> Iterator[None]:
    """Shapes of the CUDA kernels for which this torch has none."""

    def statistics(input: torch.Tensor, *_: object) -> tuple[torch.Tensor, torch.Tensor]:
        kind = torch.promote_types(input.dtype, torch.float32)
        return input.new_empty(input.shape[1], dtype=kind), input.new_empty(input.shape[1], dtype=kind)

    def input_gradient(received: torch.Tensor, input: torch.Tensor, *known: torch.Tensor) -> torch.Tensor:
        *numbers, count = known
        assert count.dtype == torch.int32, "the real kernel takes no other"
        assert len({one.dtype for one in numbers if one is not None}) == 1, "the real kernel takes one type"
        return torch.empty_like(input)

    shapes = {
        "_fused_sgd_": lambda *_, **__: None,
        "_amp_foreach_non_finite_check_and_unscale_": lambda *_, **__: None,
        "_amp_update_scale_": lambda scale, *_: scale,
        "batch_norm_update_stats": statistics,
        "batch_norm_backward_elemt": input_gradient,
    }
    with torch.library._scoped_library("aten", "IMPL") as library:
        for name, shape in shapes.items():
            if not torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{name}", "Meta"):
                library.impl(name, shape, "Meta")
        yield

"""The code that torch's compiler generates for a GPU, on a machine without one: how many kernels it would launch.

Nothing is compiled for the device or run. The compiler asks torch about the device; here it is told of an H100.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from torch._guards import TracingContext, detect_fake_mode, tracing
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from helpers.fake_gpu import Watched, fake_gpu

H100 = SimpleNamespace(
    name="NVIDIA H100",
    **{"major": 9, "minor": 0, "multi_processor_count": 132, "warp_size": 32, "total_memory": 80 * 2**30},
    **{"regs_per_multiprocessor": 2**16, "max_threads_per_multi_processor": 2048, "max_threads_per_block": 1024},
    **{"shared_memory_per_block": 49152, "shared_memory_per_block_optin": 232448, "L2_cache_size": 50 * 2**20},
    **{"shared_memory_per_multiprocessor": 233472},
)
EXTERN = re.compile(r"(extern_kernels\.\w+|torch\.ops\.(?!_c10d_functional\.wait)[\w.]+)\(")
TRITON = re.compile(r"^\s+(triton_\w+)\.run\(", re.MULTILINE)


class _Generated(Exception):  # noqa: N818 - no error: carries the code out of the compiler
    """The code is there; loading it would need the device."""


def launches(function: Callable[..., Any], make: Callable[[], tuple[torch.Tensor, ...]]) -> Counter[str]:
    """What the generated code of `function(*make())` launches, by kind: "triton", and each kernel from a library.

    Args: function, of tensors, without a backward of its own; make, its arguments, made on cuda:0 of the fake device.
    """
    with fake_gpu(), _told_of_a_device(), torch.no_grad():
        given = make()
        code = _code(function, given)
    found = Counter(name.removesuffix(".default") for name in EXTERN.findall(code))
    found["triton"] = len(TRITON.findall(code))
    return found


def eager_launches(function: Callable[..., Any], make: Callable[[], tuple[torch.Tensor, ...]]) -> int:
    """How many kernels the same call launches where nothing is compiled."""
    with fake_gpu(), torch.no_grad():
        given = make()
        with Watched() as watched:
            function(*given)
    return watched.launches


def _code(function: Callable[..., Any], given: tuple[torch.Tensor, ...]) -> str:
    from torch._inductor import compile_fx, config, graph
    from torch._inductor.decomposition import select_decomp_table
    from torch._inductor.exc import InductorError
    from torch._inductor.virtualized import V

    kept: list[str] = []

    def keep(self: Any) -> None:
        kept.append(self.codegen()[0].value)
        raise _Generated

    listed = torch.func.functionalize(lambda *arguments: pytree.tree_leaves(function(*arguments)), remove="mutations")
    with mock.patch.object(torch.compiler, "is_compiling", lambda: True):
        traced = make_fx(listed, decomposition_table=select_decomp_table())(*given)
    mode = detect_fake_mode(given)
    with (
        tracing(TracingContext(mode)),
        V.set_fake_mode(mode),
        config.patch(fx_graph_cache=False, compile_threads=1),
        mock.patch.object(graph.GraphLowering, "compile_to_module", keep),
        pytest.raises(InductorError, match="_Generated"),
    ):
        compile_fx.compile_fx_inner(traced, list(given))
    return kept[-1]


@contextlib.contextmanager
def _told_of_a_device() -> Iterator[None]:
    from torch._dynamo import device_interface
    from torch._inductor import compile_fx  # noqa: F401 - imports every module that asks for triton
    from torch._inductor.runtime.hints import DeviceProperties
    from torch.utils import _triton

    def told(value: Any) -> Callable[..., Any]:
        return lambda *_, **__: value

    known = DeviceProperties(
        **{"type": "cuda", "index": 0, "multi_processor_count": 132, "cc": 90, "major": 9, "warp_size": 32},
        **{"regs_per_multiprocessor": 2**16, "max_threads_per_multi_processor": 2048},
    )
    answers = {"current_device": told(0), "get_device_properties": told(H100), "get_device_capability": told((9, 0))}
    answers |= {name: told(None) for name in ("_lazy_init", "synchronize", "current_stream")}
    answers |= {name: told(0) for name in ("_exchange_device", "_maybe_exchange_device")}
    answers |= {"get_rng_state": told(torch.zeros(16, dtype=torch.uint8)), "set_rng_state": told(None)}
    worker = device_interface.CudaInterface.Worker
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.multiple(torch.cuda, **answers))
        stack.enter_context(mock.patch.object(worker, "get_device_properties", staticmethod(told(H100))))
        stack.enter_context(mock.patch.object(worker, "current_device", staticmethod(told(0))))
        stack.enter_context(mock.patch.object(DeviceProperties, "create", told(known)))
        stack.enter_context(mock.patch.object(torch._C, "_select_conv_backend", told(torch._C._ConvBackend.Cudnn)))
        stack.enter_context(mock.patch.object(_triton, "triton_backend", told(None)))
        by_name = {"triton_hash_with_backend": told("hash"), "has_triton": told(True), "has_triton_package": told(True)}
        for module in [module for name, module in sys.modules.items() if name.startswith("torch.")]:  # whoever took it
            for name in by_name.keys() & vars(module).keys():
                stack.enter_context(mock.patch.object(module, name, by_name[name]))
        yield

"""Compile a function with torch.compile; where that fails, print one sentence and run it uncompiled."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from typing import Any

import torch


def compiled(
    function: Callable[..., Any], what: str, backend: str | Callable[..., Any] = "inductor"
) -> Callable[..., Any]:
    """A version of `function` that is compiled at its first call with each shape, and runs uncompiled if that fails.

    Forward and backward are compiled as one whole graph each, before either runs. Otherwise the compiler could fail
    halfway, and the second attempt would update running statistics and talk to other ranks again.

    Args:
        function: what is compiled.
        what: subject of the message that says why compiling failed, such as "the network".
        backend: torch.compile's.
    """
    refused = False

    @functools.cache
    def fast() -> Callable[..., Any]:
        return torch.compile(function, dynamic=False, fullgraph=True, backend=backend)

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        """Result of the compiled graph, or of `function` itself once compiling has failed."""
        nonlocal refused
        if not refused:
            try:
                with _backward_at_once():
                    return fast()(*arguments)
            except Exception as error:  # the compiler raises errors of any type
                refused = True
                reason = " ".join(str(error).strip().split("\n")[:2])
                told = f"{what} runs uncompiled, and slower: {type(error).__name__}: {reason}"
                print(told, file=sys.stderr, flush=True)
        return function(*arguments)

    return call


def _backward_at_once() -> contextlib.AbstractContextManager[Any]:
    """Compile the backward together with the forward, where torch can. Later it would fail outside our `try`."""
    from torch._functorch import config  # no public name has it

    eager = "force_non_lazy_backward_lowering"
    patch: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if hasattr(config, eager):
        patch = config.patch({eager: True})
    return patch

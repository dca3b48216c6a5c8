"""torch.compile where it works, and one sentence where it does not."""

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
    """`function` as one compiled graph for every shape it meets; as written from the first time that compiling fails.

    Nothing is compiled before the first call. One graph or none, the backward with it: a function of which a part had
    run when the compiler gives up would update its running statistics, and talk to other ranks, twice.

    Args: what, the subject of the sentence that says why it failed, such as "the network"; backend, torch.compile's.
    """
    refused = False

    @functools.cache
    def fast() -> Callable[..., Any]:
        return torch.compile(function, dynamic=False, fullgraph=True, backend=backend)

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        """The compiled graph's result, or the function's own once compiling has failed."""
        nonlocal refused
        if not refused:
            try:
                with _backward_at_once():
                    return fast()(*arguments)
            except Exception as error:  # the compiler's back ends raise anything; each means the same here
                refused = True
                reason = " ".join(str(error).strip().split("\n")[:2])
                told = f"{what} runs uncompiled, and slower: {type(error).__name__}: {reason}"
                print(told, file=sys.stderr, flush=True)
        return function(*arguments)

    return call


def _backward_at_once() -> contextlib.AbstractContextManager[Any]:
    """Compile a backward with its forward, where torch can: left for later, it would fail where nobody expects it."""
    from torch._functorch import config  # no public name has it

    eager = "force_non_lazy_backward_lowering"
    patch: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if hasattr(config, eager):
        patch = config.patch({eager: True})
    return patch

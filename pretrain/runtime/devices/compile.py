"""Compile a function with torch.compile; where that fails on a rank, say so once and run it uncompiled on all ranks."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from pretrain.runtime import distributed
from pretrain.runtime.devices import device_memory
from pretrain.runtime.errors import UserError
from pretrain.runtime.processes.watch import WORKER

Function = Callable[..., Any]
CACHE = "TORCHINDUCTOR_CACHE_DIR"  # torch reads it whenever it compiles
FOLDER = ".compiled"  # of a run, or of several, for what was compiled
_kept: dict[str, str] = {}  # what this process has set it to
_with_graphs: set[str] = set()  # what this process launches as CUDA graphs


def compiled(function: Function, what: str, backend: str | Function = "inductor", graphs: bool = False) -> Function:
    """A version of `function` that is compiled at its first call with each shape, and runs uncompiled if that fails.

    Forward and backward are compiled as one whole graph each, before either runs. Only what the compiler raises until
    then is taken for its failure. Later a second attempt would update running statistics, and talk to other ranks,
    once more; so what a graph raises while it runs is raised.

    All ranks of a run are to call it alike. They tell each other where something is compiled that none has met before,
    and nowhere else: one that cannot compile makes all of them run uncompiled, and those that are done wait for it.

    Args:
        function: what is compiled.
        what: subject of the message that says why compiling failed, such as "the network".
        backend: torch.compile's.
        graphs: whether inductor records what it launches as CUDA graphs, and launches these. What a graph gives is
            overwritten after the next `new_step`.

    Raises (the version):
        UserError: this rank alone compiled something once more, and failed, while others have gone on.
    """
    if graphs:
        from torch._inductor.compile_fx import compile_fx  # torch.compile takes no options for a backend of one's own

        _with_graphs.add(what)
        backend = functools.partial(compile_fx, config_patches={"triton.cudagraphs": True})
    attempt = _Attempt(function, what, backend)

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        """Result of the compiled graph, or of `function` itself once compiling has failed."""
        return attempt.call(arguments)

    return call


def new_step() -> None:
    """Let CUDA graphs overwrite what they gave in the step before; nothing happens where there are none."""
    if _with_graphs:  # else the compiler, which this loads, may never be needed
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call] # torch's own


def keep_compiled(folder: Path) -> None:
    """Let the compiler keep what it makes in `folder`, and read it there when the same run starts again.

    It is code that is run. So a folder that belongs to another user is left alone, and TORCHINDUCTOR_CACHE_DIR goes
    before, where the user has set it; torch writes its own default there, too.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir  # no public name has it

    if _ours(folder) and os.environ.get(CACHE, "") in ("", default_cache_dir(), _kept.get(CACHE)):
        os.environ[CACHE] = _kept[CACHE] = str(folder.resolve())


@contextlib.contextmanager
def shared_compiled(out: Path) -> Iterator[None]:
    """Let all runs that are started within keep what the compiler makes below `out`: the first compiles for all.

    As in `keep_compiled`, another user's folder is left alone, and TORCHINDUCTOR_CACHE_DIR goes before.
    """
    folder = out / FOLDER
    if CACHE in os.environ or not _ours(folder):
        yield
        return
    os.environ[CACHE] = str(folder.resolve())
    try:
        yield
    finally:
        del os.environ[CACHE]


def _ours(folder: Path) -> bool:
    return not folder.exists() or folder.stat().st_uid == os.getuid()


class _Refused(Exception):  # noqa: N818 - no error
    """A rank could not compile what this one could; nothing of the graph has run."""


class _Attempt:
    """What is known of compiling one function.

    Attributes: refused, whether all ranks run it uncompiled; agreed, situations in which all ranks have compiled it.
    Of the present call: situation, gives its own; compiling and entered, whether something was compiled, and whether
    the graph has begun to run.
    """

    def __init__(self, function: Function, what: str, backend: str | Function) -> None:
        self.function, self.what, self.backend = function, what, backend
        self.refused = self.compiling = self.entered = False
        self.agreed: set[Hashable] = set()
        self.situation: Callable[[], Hashable] = tuple

    def call(self, arguments: tuple[Any, ...]) -> Any:
        """What the compiled function gives, or the plain one where the compiler has failed on any rank."""
        if not self.refused:
            self.compiling = self.entered = False
            self.situation = functools.partial(_situation, arguments, torch.is_grad_enabled())
            try:
                with _whole_and_kept():
                    return self.fast(*arguments)
            except _Refused:
                pass
            except Exception as error:  # the compiler raises errors of any type
                if self.entered:
                    raise
                if (other := _not_the_compilers(error)) is not None:
                    raise other from error
                reason = " ".join(str(error).strip().split("\n")[:2])
                self._settle(f"{type(error).__name__}: {reason}")
            finally:
                self.situation = tuple  # else a batch of images would live until the next one
        return self.function(*arguments)

    @functools.cached_property
    def fast(self) -> Function:
        return torch.compile(self.function, dynamic=False, fullgraph=True, backend=self._compile)

    def _compile(self, graph: Any, inputs: Any) -> Function:
        """The backend, whose graph asks the other ranks before it runs for the first time."""
        self.compiling = True
        backend = torch._dynamo.lookup_backend(self.backend) if isinstance(self.backend, str) else self.backend
        runs = backend(graph, inputs)

        def enter(*values: Any) -> Any:
            """Run the graph, before the first time in a call once all ranks are to."""
            # for DDP a branch is cut into several graphs, each of which is tried with fake tensors for the next one
            if not self.entered and not any(isinstance(value, FakeTensor) for value in values):
                if self.compiling and not self._settle(""):
                    raise _Refused
                self.entered = True
            return runs(*values)

        return enter

    def _settle(self, reason: str) -> bool:
        """Whether all ranks have compiled; reason, why this one has not, else "".

        Raises:
            UserError: this one has not, and the others do not ask, for they had done so before.
        """
        if (situation := self.situation()) in self.agreed:
            if reason and distributed.world_size() > 1:
                raise UserError(
                    f"rank {distributed.rank()} can no longer compile {self.what} as the other ranks have ({reason}): "
                    "start again with run.compile=false."
                )
            reasons = [reason]
        else:
            reasons = distributed.gathered(reason)
        self.agreed.add(situation)
        failed = {rank: one for rank, one in enumerate(reasons) if one}
        self.refused = bool(failed)
        if failed and distributed.rank() == 0:
            told = "; ".join(f"rank {rank}, {one}" if len(reasons) > 1 else one for rank, one in failed.items())
            everywhere = " on all ranks" if len(reasons) > 1 else ""
            print(f"{self.what} runs uncompiled{everywhere}, and slower: {told}", file=sys.stderr, flush=True)
        return not failed


def _situation(arguments: tuple[Any, ...], learns: bool) -> Hashable:
    """What a graph is compiled for, as far as ranks have it in common; the layout of memory may differ."""
    told: list[Hashable] = [learns]
    for one in arguments:
        if isinstance(one, torch.Tensor):
            kind = one.device.type
            told += [one.shape, one.dtype, one.requires_grad, torch.is_autocast_enabled(kind)]
            told.append(torch.get_autocast_dtype(kind))
        elif isinstance(one, nn.Module):
            for name, module in one.named_modules():
                plain = (item for item in vars(module).items() if isinstance(item[1], (bool, int, float, str)))
                told += [name, *plain]
    return tuple(told)


def _not_the_compilers(error: BaseException) -> BaseException | None:
    """What the compiler met rather than made: memory that ran out, a worker that died, bad input; None without that."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        if device_memory.ran_out(one) or isinstance(one, UserError) or WORKER.match(str(one)):
            return one
        one = getattr(one, "inner_exception", None) or one.__cause__ or one.__context__
    return None


def _whole_and_kept() -> contextlib.AbstractContextManager[Any]:
    """Compile the backward together with the forward, and keep both, where torch can.

    Later the backward would fail outside our `try`. A graph with a function of our own, as norms over ranks are, is
    kept only if asked: torch leaves it to us to say that such a function is in the graph with all that it does, which
    a graph without breaks makes sure of.
    """
    from torch._functorch import config  # no public name has it

    wanted = ("force_non_lazy_backward_lowering", "autograd_cache_allow_custom_autograd_functions")
    patch: contextlib.AbstractContextManager[Any] = config.patch(
        {name: True for name in wanted if hasattr(config, name)}
    )
    return patch

"""Talking between ranks; the only file that names torch.distributed. In one process everything is the identity."""

from __future__ import annotations

import contextlib
import inspect
import os
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from pretrain.runtime.errors import Lost, UserError

T = TypeVar("T")
# Groups beside the one of all other collectives. Collectives of one group run in the order in which they are started;
# in groups of their own those of F and of the gradients run beside those of the norms.
HOST, F, GRADIENTS = "host", "F", "gradients"  # HOST, over gloo: what ranks tell each other from their hosts' memory
_groups: dict[str, Any] = {}


def start(device: torch.device, timeout_minutes: float = 30) -> None:
    """Join the process group that RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT describe (torchrun, or our launcher).

    Without WORLD_SIZE, or with WORLD_SIZE=1, nothing is started. NCCL for CUDA devices, gloo for CPU. A collective that
    some rank does not join within `timeout_minutes` ends the process.

    Raises:
        UserError: one of the variables is missing, or is no number that it may be.
    """
    if (size := asked_world_size()) == 1 or dist.is_initialized():
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise UserError(
            f"WORLD_SIZE is set but {', '.join(missing)} is not: start through torchrun or tools/launch.py."
        )
    _from_environment("RANK", 0, most=size - 1)
    _from_environment("MASTER_PORT", 1, most=65535)
    backend = "nccl" if device.type == "cuda" else "gloo"
    timeout = timedelta(minutes=timeout_minutes)
    bound = device if device.type == "cuda" else None  # else NCCL would guess this rank's GPU at its first collective
    store = _store_of_this_start(timeout)
    dist.init_process_group(backend, timeout=timeout, device_id=bound, store=store, rank=asked_rank(), world_size=size)
    _groups[HOST] = dist.new_group(backend="gloo", timeout=timeout)
    for lane in (F, GRADIENTS):
        _groups[lane] = dist.new_group(backend=backend, timeout=timeout)


def _store_of_this_start(timeout: timedelta) -> Any:
    """The store of torch's env:// rendezvous, apart from what earlier starts of the same job have left in it.

    torchrun's agent keeps one store through all its restarts, and newer torch does not part them. A rank could then
    find the address at which a dead one had listened, and wait for it until the timeout.
    """
    store, rank, size = next(rendezvous("env://", timeout=timeout))
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return store
    return PrefixStore(f"start-{agreed_token(store, rank, size)}", store)


def agreed_token(store: Any, rank: int, size: int) -> str:
    """A word that all ranks of this start have in common, and no earlier start had.

    Each rank writes a word of its own. Rank 0 answers every word that it sees with its own, also to words of the dead,
    until each rank has confirmed it. Nobody reads what an earlier start could have written in its place.

    Args: store: that may hold what earlier starts wrote. rank, size: of this start.
    """
    token = uuid.uuid4().hex
    store.set(f"word-of-{rank}", token)
    if rank > 0:
        agreed: str = store.get(f"answer-to-{token}").decode()  # waits for it
        store.set(f"{agreed}-{rank}", "")
        return agreed
    silent = set(range(1, size))
    while silent := {one for one in silent if not store.check([f"{token}-{one}"])}:
        for one in silent:
            if store.check([f"word-of-{one}"]):
                store.set(f"answer-to-{store.get(f'word-of-{one}').decode()}", token)
        time.sleep(0.02)
    return token


def stop() -> None:
    """Leave the process group, if there is one."""
    _groups.clear()
    if dist.is_initialized():
        dist.destroy_process_group()


@contextlib.contextmanager
def departure_told() -> Iterator[None]:
    """End in a sentence where another rank is gone within, or the network to it.

    It is no bad input, after which a launcher would not start the run again.

    Raises:
        Lost: it is.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo/transport" not in str(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise Lost(
            f"rank {asked_rank()} has lost the others: one of them has ended, and says why, or the network between "
            f"them has ({reason}); what is written is whole, and the same command goes on from it."
        ) from error


def rank() -> int:
    """Index of this process among all, 0 in a single process."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_rank() -> int:
    """Index of this process on its machine, which is also its GPU's."""
    return _from_environment("LOCAL_RANK", 0)


def asked_world_size() -> int:
    """Number of processes that the environment announces, before any of them has been met; 1 without WORLD_SIZE.

    Raises:
        UserError: WORLD_SIZE is no number above 0.
    """
    return _from_environment("WORLD_SIZE", 1)


def asked_rank() -> int:
    """Index of this process that the environment announces, before the process group is there; 0 without RANK."""
    return _from_environment("RANK", 0)


def _from_environment(name: str, least: int, most: int = 2**31 - 1) -> int:
    """A whole number from `least` to `most` of an environment variable; `least` where it is not set."""
    if (text := os.environ.get(name)) is None:
        return least
    number = int(text) if text.strip().isdecimal() and len(text) < 20 else -1
    if not least <= number <= most:
        raise UserError(
            f"the environment variable {name} is '{text}', and has to be a whole number from {least} to {most}: unset "
            "it to use one process, or start through torchrun or tools/launch.py, which set it."
        )
    return number


def world_size() -> int:
    """Number of processes, 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def barrier() -> None:
    """Wait until every rank is here."""
    if dist.is_initialized():
        dist.barrier()


def any_rank(value: bool) -> Callable[[], bool]:
    """Start asking whether `value` holds on any rank; the returned call waits for the answer, the same on all of them.

    Over gloo from the processor's memory, so that the device is not waited for.
    """
    if world_size() == 1:
        return lambda: value
    told = torch.tensor([value], dtype=torch.uint8)
    work = dist.all_reduce(told, dist.ReduceOp.MAX, _groups[HOST], async_op=True)

    def answer() -> bool:
        work.wait()
        return bool(told.item())

    return answer


def any_on_device_(flag: torch.Tensor) -> torch.Tensor:
    """The largest `flag` of any rank, in place and on its device, which no host waits for."""
    if world_size() > 1:
        dist.all_reduce(flag, dist.ReduceOp.MAX)
    return flag


def gathered(value: Any) -> list[Any]:
    """`value`, plain Python, of every rank in their order."""
    if world_size() == 1:
        return [value]
    values = [None] * world_size()
    dist.all_gather_object(values, value, _groups[HOST])
    return values


def on_rank_0(work: Callable[[], T]) -> T:
    """Do `work` on rank 0 and return what it returns, plain Python, on every rank.

    Raises:
        UserError: on every rank, where `work` raises it, so that none waits for a rank that has left.
    """
    if world_size() == 1:
        return work()
    told: list[Any] = [None, None]  # what `work` returned, and what it refused
    if rank() == 0:
        try:
            told[0] = work()
        except UserError as error:
            told[1] = str(error)
    dist.broadcast_object_list(told, 0, _groups[HOST])
    if told[1] is not None:
        raise UserError(told[1])
    result: T = told[0]
    return result


def all_mean(value: torch.Tensor) -> torch.Tensor:
    """Mean of `value` over ranks, as a constant: no gradient ever crosses a rank."""
    value = value.detach()
    if world_size() == 1:
        return value
    value = value.clone()
    dist.all_reduce(value)
    return value.div_(world_size())


def all_mean_(value: torch.Tensor) -> None:
    """The same in place."""
    if world_size() > 1:
        dist.all_reduce(value)
        value.div_(world_size())


def start_all_mean_(value: torch.Tensor, lane: str) -> Callable[[], None]:
    """The same in place and beside what is computed next: `value` is not to be touched before the returned call.

    Args: lane, F or GRADIENTS: the group whose collectives run in the order in which they are started.
    """
    if world_size() == 1:
        return lambda: None
    work = dist.all_reduce(value, group=_groups.get(lane), async_op=True)

    def finish() -> None:
        work.wait()
        value.div_(world_size())

    return finish


def all_gather(value: torch.Tensor, axis: int = 0) -> torch.Tensor:
    """`value` of all ranks, in their order along `axis`, as a constant: no gradient ever crosses a rank."""
    value = value.detach()
    if world_size() == 1:
        return value
    value = value.contiguous()
    parts = [torch.empty_like(value) for _ in range(world_size())]
    dist.all_gather(parts, value)
    return torch.cat(parts, axis)


def exchange(value: torch.Tensor, peer: int, lane: str = "") -> torch.Tensor:
    """What `peer` gives while this rank gives it `value`; both call this at the same time, with equal shapes.

    Args: value: on the device of its group. peer: another rank. lane: HOST for a value in the host's memory.
    """
    received, group = torch.empty_like(value), _groups.get(lane)
    both = [dist.P2POp(deed, one, peer, group) for deed, one in ((dist.isend, value), (dist.irecv, received))]
    for work in dist.batch_isend_irecv(both):
        work.wait()
    return received


def share(count: int) -> list[int]:
    """This rank's part of `count` things, as torch's DistributedSampler deals them without shuffling.

    Every rank gets equally many; where they do not divide, the first ones are dealt once more at the end.
    """
    each = -(-count // world_size())
    return [place % count for place in range(rank(), each * world_size(), world_size())] if count else []


def gather_rows(rows: torch.Tensor, places: list[int], count: int) -> torch.Tensor:
    """(count, ...) from the rows (n, ...) that each rank has for its `places`; one dealt twice counts once."""
    if world_size() == 1:
        return rows
    places_of_all = all_gather(torch.tensor(places, device=rows.device))
    whole = rows.new_empty(count, *rows.shape[1:])
    whole[places_of_all] = all_gather(rows)
    return whole


def average_gradients(module: nn.Module) -> nn.Module:
    """Average the gradients of a small module over ranks, each as soon as it is complete, in every backward.

    For parameters beside a `data_parallel` module that are used after it, so that their gradients are complete before
    any of its own: all ranks then talk in the same order.
    """
    if world_size() > 1:
        for parameter in module.parameters():
            parameter.register_post_accumulate_grad_hook(_average_gradient)  # type: ignore[no-untyped-call] # torch's own
    return module


def _average_gradient(parameter: torch.Tensor) -> None:
    assert parameter.grad is not None, "called once the gradient is there"
    all_mean_(parameter.grad)


def data_parallel(module: nn.Module, device: torch.device, wire: torch.dtype = torch.float32) -> nn.Module:
    """Wrap a module so that its gradients are averaged over ranks; buffers are left to the module itself.

    Args: wire, the type in which gradients are sent and added up; float32 or wider leaves them as they are.
    """
    if world_size() == 1:
        return module
    wrap = nn.parallel.DistributedDataParallel
    newer = "forward_sync_buffers" in inspect.signature(wrap).parameters  # torch's newer name
    leave_buffers: dict[str, Any] = {"forward_sync_buffers" if newer else "broadcast_buffers": False}
    devices = [device.index] if device.type == "cuda" else None
    wrapped = wrap(
        module,
        device_ids=devices,
        process_group=_groups.get(GRADIENTS),
        gradient_as_bucket_view=True,
        **leave_buffers,
    )
    if wire.itemsize < 4:
        # a lambda, for torch refuses a hook whose annotations are texts
        wrapped.register_comm_hook(wire, lambda wire, bucket: _mean_narrowed(wire, bucket.buffer()))
    return wrapped


def _mean_narrowed(wire: torch.dtype, whole: torch.Tensor) -> torch.futures.Future[torch.Tensor]:
    """The mean of DDP's bucket over ranks, in place; each rank's share is rounded once before they are added up."""
    sent = whole.div_(world_size()).to(wire)
    future = dist.all_reduce(sent, group=_groups.get(GRADIENTS), async_op=True).get_future()
    return future.then(lambda done: whole.copy_(done.value()[0]))

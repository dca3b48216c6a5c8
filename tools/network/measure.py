"""Between ranks: whether collectives are right, how fast they and pairs of nodes are, how far clocks are apart."""

from __future__ import annotations

import platform
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from pretrain.runtime import distributed

MEGABYTE = 2**20
SIZES = {"cpu": (1, 8), "cuda": (1, 16, 256)}  # of an all-reduce in MB
PAIR = {"cpu": 4, "cuda": 64}  # of what a pair exchanges in MB
REPEATS = 5
PINGS = 8
LONGEST_PAIRS = 25.0  # seconds for all pairs
SIDE = {"cpu": 256, "cuda": 4096}  # of the matrices that a device multiplies


@dataclass(frozen=True)
class Rank:
    """Where a rank stands. device: its name; identity: of the GPU, empty on CPU. versions: of what has to be equal."""

    rank: int
    host: str
    local_rank: int
    device: str
    identity: str
    versions: str


def this_rank(device: torch.device) -> Rank:
    """Of this process."""
    name, identity, versions = platform.processor() or platform.machine(), "", f"torch {torch.__version__}"
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, identity = properties.name, str(getattr(properties, "uuid", device.index))
        versions += f", CUDA {torch.version.cuda}, NCCL {'.'.join(map(str, torch.cuda.nccl.version()))}"  # type: ignore[no-untyped-call] # torch's own
    return Rank(
        distributed.rank(), socket.gethostname(), distributed.local_rank(), f"{device.type} {name}", identity, versions
    )


def wrong_collectives(device: torch.device) -> list[str]:
    """Names of the collectives whose results are not those that whole numbers have exactly; the same on all ranks."""
    rank, size = distributed.rank(), distributed.world_size()
    count = 10_007  # no multiple of what a ring splits it into
    base = torch.arange(count, dtype=torch.float32, device=device) % 64
    mean = distributed.all_mean(base + rank) * size
    rows = distributed.all_gather(torch.full((3, 2), float(rank), device=device))
    wanted = torch.arange(size, dtype=torch.float32, device=device).repeat_interleave(3)
    found = {
        "all-reduce": torch.equal(mean.round(), base * size + size * (size - 1) / 2),
        "all-gather": torch.equal(rows[:, 0], wanted) and torch.equal(rows[:, 1], wanted),
        "broadcast": distributed.on_rank_0(lambda: [rank, size]) == [0, size],
        "gather of objects": distributed.gathered(rank) == list(range(size)),
        "vote": distributed.any_rank(rank == size - 1)() and not distributed.any_rank(False)(),
    }
    mine = [name for name, right in found.items() if not right]
    return sorted({name for names in distributed.gathered(mine) for name in names})


def seconds_of(work: Callable[[], object], device: torch.device, repeats: int = REPEATS) -> float:
    """Median seconds of `work`, after one that does not count."""
    taken = []
    for _ in range(repeats + 1):
        _wait(device)
        begun = time.perf_counter()
        work()
        _wait(device)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def all_reduces(device: torch.device) -> dict[int, float]:
    """By size in MB the slowest rank's bus bandwidth in GB/s: 2 (n - 1) / n of the bytes, as NCCL's tests count it."""
    size, found = distributed.world_size(), {}
    for megabytes in SIZES[device.type]:
        value = torch.zeros(megabytes * MEGABYTE // 4, device=device)
        distributed.barrier()
        slowest = max(distributed.gathered(seconds_of(partial(distributed.all_mean_, value), device)))
        found[megabytes] = 2 * (size - 1) / size * megabytes * MEGABYTE / slowest / 1e9
    return found


def rounds_of(count: int) -> list[list[tuple[int, int]]]:
    """Every pair of `count` things once, in rounds in which none is in two pairs (the circle method)."""
    places = [*range(count), *([-1] if count % 2 else [])]
    rounds = []
    for _ in range(len(places) - 1):
        pairs = [(places[at], places[-1 - at]) for at in range(len(places) // 2)]
        rounds.append([(min(pair), max(pair)) for pair in pairs if -1 not in pair])
        places = [places[0], places[-1], *places[1:-1]]
    return rounds


def pairs_of_nodes(device: torch.device, leaders: list[int]) -> tuple[dict[tuple[int, int], float], int]:
    """(GB/s that each of two nodes sends the other at the same time, by their first ranks; pairs left out for time).

    The pairs of a round are measured at the same time, as in a step, so that a shared switch is felt.

    Args: device: of this rank. leaders: the first rank of each node; on one node all of its ranks.
    """
    value = torch.zeros(PAIR[device.type] * MEGABYTE // 4, device=device)
    begun, rank, left_out = time.monotonic(), distributed.rank(), 0
    mine: dict[tuple[int, int], float] = {}
    for pairs in rounds_of(len(leaders)):
        if distributed.any_rank(rank == 0 and time.monotonic() - begun > LONGEST_PAIRS)():
            left_out += len(pairs)
            continue
        for first, second in ((leaders[one], leaders[other]) for one, other in pairs):
            if rank in (first, second):
                peer = second if rank == first else first
                taken = seconds_of(partial(distributed.exchange, value, peer), device)
                mine[first, second] = value.nbytes / taken / 1e9
    found: dict[tuple[int, int], float] = {}
    for each in distributed.gathered(mine):
        found |= {pair: min(speed, found.get(pair, speed)) for pair, speed in each.items()}
    return found, left_out


def clock_offsets(leaders: list[int]) -> dict[int, tuple[float, float]]:
    """By first rank of a node (seconds that its clock is ahead of rank 0's, how far that may be wrong).

    As NTP does: of several exchanges of the time the quickest counts, and half of its time is the error.
    """
    rank, mine = distributed.rank(), {}
    for leader in leaders[1:]:
        if rank in (0, leader):
            mine[leader] = min((_ping(leader if rank == 0 else 0) for _ in range(PINGS)), key=lambda told: told[1])
        distributed.barrier()
    return {0: (0.0, 0.0), **distributed.gathered(mine)[0]}


def _ping(peer: int) -> tuple[float, float]:
    """(how far the peer's clock is ahead, error): the peer tells the time once it has heard that it was asked."""
    begun = time.time()
    distributed.exchange(torch.zeros(1), peer, distributed.HOST)
    now = torch.tensor([time.time()], dtype=torch.float64)
    theirs = float(distributed.exchange(now, peer, distributed.HOST))
    taken = time.time() - begun
    return theirs - begun - taken / 2, taken / 2


def products(device: torch.device) -> tuple[bool, float]:
    """(whether this rank's device multiplies whole numbers exactly, its TFLOP/s)."""
    side = SIDE[device.type]
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randint(-8, 9, (2, side, side), generator=generator).float().to(device)
    right_rows = (left[:64] @ right).cpu() == (left[:64].cpu().double() @ right.cpu().double()).float()
    return bool(right_rows.all()), 2 * side**3 / seconds_of(lambda: left @ right, device) / 1e12

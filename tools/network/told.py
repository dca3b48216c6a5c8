"""What was measured between ranks, as JSON and as lines for people, with what stands out."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tools.network.measure import Rank

SLOW = 0.5  # of the median: below it a pair, or a device, is named
FAR = 1.0  # seconds between two clocks
SHOWN = 3


@dataclass(frozen=True)
class Measured:
    """All that was measured. wrong: names of collectives. products: by rank, right and TFLOP/s. reduces: GB/s by MB.

    pairs: GB/s by two ranks; left_out: pairs that there was no time for. clocks: (ahead, error) in s by rank.
    """

    ranks: Sequence[Rank]
    wrong: Sequence[str]
    products: Sequence[tuple[bool, float]]
    reduces: dict[int, float]
    pairs: dict[tuple[int, int], float]
    left_out: int
    clocks: dict[int, tuple[float, float]]

    def faults(self) -> list[str]:
        """What makes a run fail or learn nothing: a sentence each."""
        found = [f"{name} gives wrong results" for name in self.wrong]
        found += [
            f"{self.where(rank)} multiplies wrongly" for rank, (right, _) in enumerate(self.products) if not right
        ]
        if len(versions := sorted({one.versions for one in self.ranks})) > 1:
            found.append(f"ranks run different versions: {'; '.join(versions)}")
        owners: dict[str, Rank] = {}
        for one in self.ranks:
            if one.identity and (other := owners.setdefault(f"{one.host}/{one.identity}", one)) is not one:
                found.append(f"ranks {other.rank} and {one.rank} share one GPU of {one.host}")
        return found

    def notes(self) -> list[str]:
        """What stands out: slow pairs and devices, clocks, uneven nodes."""
        found = []
        counts = {host: sum(one.host == host for one in self.ranks) for host in self.hosts()}
        if len(set(counts.values())) > 1:
            found.append(f"nodes have different numbers of ranks: {counts}")
        if self.pairs:
            usual = statistics.median(self.pairs.values())
            slow = sorted((speed, pair) for pair, speed in self.pairs.items() if speed < SLOW * usual)
            for speed, (first, second) in slow[:SHOWN]:
                found.append(f"{self.where(first)} and {self.where(second)}: {speed:.3g} GB/s, median {usual:.3g}")
            if len(slow) > SHOWN:
                found.append(f"{len(slow) - SHOWN} more pairs are as slow")
        usual = statistics.median(speed for _, speed in self.products)
        for rank, (_, speed) in enumerate(self.products):
            if speed < SLOW * usual:
                found.append(f"{self.where(rank)} computes {speed:.3g} TFLOP/s, median {usual:.3g}")
        for rank, (ahead, error) in self.clocks.items():
            if abs(ahead) - error > FAR:
                found.append(f"the clock of {self.where(rank)} is {ahead:+.1f} s from that of rank 0")
        if self.left_out:
            found.append(f"{self.left_out} pairs were left out, so that the check stays within a minute")
        return found

    def hosts(self) -> list[str]:
        """Names of the nodes, by their first ranks."""
        return list(dict.fromkeys(one.host for one in self.ranks))

    def where(self, rank: int) -> str:
        """A rank with its node."""
        return f"rank {rank} ({self.ranks[rank].host})"

    def lines(self) -> list[str]:
        """For people: what there is, how fast it is, what stands out, the verdict."""
        devices = sorted({one.device for one in self.ranks})
        speeds = [speed for _, speed in self.products]
        lines = [
            f"ranks        {len(self.ranks)} on {len(self.hosts())} node(s): {', '.join(self.hosts())}",
            f"devices      {'; '.join(devices)}; {min(speeds):.3g} to {max(speeds):.3g} TFLOP/s",
            f"collectives  {'right' if not self.wrong else 'WRONG: ' + ', '.join(self.wrong)}",
        ]
        each = ", ".join(f"{size} MB {speed:.3g}" for size, speed in self.reduces.items())
        lines.append(f"all-reduce   {each} GB/s (bus bandwidth of the slowest rank)")
        if self.pairs:
            found = sorted(self.pairs.values())
            kind = "nodes" if len(self.hosts()) > 1 else "ranks"
            spread = f"{found[0]:.3g} / {statistics.median(found):.3g} / {found[-1]:.3g} GB/s"
            lines.append(f"pairs        {len(found)} pairs of {kind}, each way: {spread} (min / median / max)")
        far = max(self.clocks.values(), key=lambda told: abs(told[0]))
        lines.append(f"clocks       at most {abs(far[0]) * 1e3:.1f} ms from rank 0's (± {far[1] * 1e3:.1f} ms)")
        lines += [f"note: {note}" for note in self.notes()] + [f"FAULT: {fault}" for fault in self.faults()]
        return [*lines, "the network is not fit for a run" if self.faults() else "nothing is wrong"]

    def as_json(self) -> dict[str, Any]:
        """All numbers."""
        return {
            "ranks": [vars(one) for one in self.ranks],
            "wrong_collectives": list(self.wrong),
            "tflops": [speed for _, speed in self.products],
            "all_reduce_gb_per_s": {f"{size} MB": speed for size, speed in self.reduces.items()},
            "pairs_gb_per_s": [[*pair, speed] for pair, speed in self.pairs.items()],
            "clock_seconds": {str(rank): list(told) for rank, told in self.clocks.items()},
            "notes": self.notes(),
            "faults": self.faults(),
        }

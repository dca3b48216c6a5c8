"""What a form sends between ranks in a step and holds between two steps, in bytes: tools/scaling.py adds it up."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

FLOAT, DOUBLE = 4, 8  # bytes of a number; what is sent is in float32, except the moments of norms in the forward pass


class Sent(NamedTuple):
    """What one rank hands to collectives in a step: kind, of what; op, all_reduce or all_gather; bytes of all calls."""

    kind: str
    op: str
    bytes: int
    calls: int

    def wire(self, ranks: int) -> float:
        """Bytes that a rank sends on a ring: 2 (R-1)/R of what is reduced, R-1 times its own part of what is gathered.

        The latter is (R-1)/R of all that is gathered.
        """
        return self.bytes * (2 * (ranks - 1) / ranks if self.op == "all_reduce" else ranks - 1)


class Shapes(NamedTuple):
    """The size of a step, as a form sees it.

    Args: views, online views of an image, global_views among them; images, on this rank; batch, images on all ranks;
        width, channels of a row.
    """

    views: int
    global_views: int
    images: int
    batch: int
    width: int

    def rows(self, views: int = 1) -> int:
        """Bytes of this rank's rows of some views."""
        return views * self.images * self.width * FLOAT


@runtime_checkable
class Remembers(Protocol):
    """A form, or a part of one, that holds something between two steps."""

    def held(self, shapes: Shapes) -> int:
        """Bytes on one rank."""


def gathered_rows(shapes: Shapes, calls: int, views: int | None = None) -> Sent:
    """All-gathers of this rank's rows.

    Args: calls, how many; views, that all calls send together; None is one a call.
    """
    return Sent("rows", "all_gather", shapes.rows(calls if views is None else views), calls)


def reduced_means(shapes: Shapes, calls: int) -> Sent:
    """All-reduces of a mean of each channel."""
    return Sent("means", "all_reduce", calls * shapes.width * FLOAT, calls)


def norm_moments(kind: str, numbers: list[int], size: int) -> Sent:
    """All-reduces of batch normalisation, one for each count in `numbers`, of numbers of `size` bytes."""
    return Sent(kind, "all_reduce", sum(numbers) * size, len(numbers))

"""A look at a pickle before anything is built from it, so that small files cannot ask for endless work.

Python's own reader takes any number of operations, keeps a list as long as the highest number under which an object is
remembered, and computes the hash of nested tuples by recursion, which ends the process where they are nested deeply.
"""

from __future__ import annotations

import pickletools
from typing import Any, NamedTuple, Protocol

OPERATIONS = 5_000_000  # a checkpoint of a ResNet with its optimiser has some 30,000
DEEPEST = 500  # objects within objects
HASHED = 50_000_000  # objects whose hashes are computed; a tuple's is that of all within it, each time
TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET")


class Readable(Protocol):
    """A file, or a map of one, at a position."""

    def read(self, size: int = ..., /) -> bytes:
        """As of a file."""

    def readline(self) -> bytes:
        """As of a file."""

    def tell(self) -> int:
        """As of a file."""

    def seek(self, place: int, /) -> Any:
        """As of a file."""


def check_pickle(handle: Readable) -> None:
    """Go through the pickle at the position of `handle`, and return there.

    Raises:
        ValueError: it is cut short, or asks for more than any checkpoint does. Damaged ones also raise IndexError and
            KeyError.
    """
    start = handle.tell()
    machine = _Machine()
    for count, (operation, argument, _) in enumerate(pickletools.genops(handle)):  # type: ignore[arg-type]
        if count > OPERATIONS:
            raise ValueError(f"its pickle has more than {OPERATIONS:,} operations")
        machine.step(operation, argument, count)
        if machine.stack and machine.stack[-1].depth > DEEPEST:
            raise ValueError(f"its pickle nests objects more than {DEEPEST} deep")
        if machine.hashed > HASHED:
            raise ValueError(f"its pickle names more than {HASHED:,} objects within tuples")
    handle.seek(start)


class _Measure(NamedTuple):
    """Of an object: how deep it is nested, and of a tuple how many objects are within it, shared ones each time."""

    depth: int
    within: int = 1


class _Machine:
    """The stack of a pickle, of which only the measures of each object are kept."""

    def __init__(self) -> None:
        self.stack: list[_Measure] = []
        self.marks: list[int] = []
        self.remembered: dict[int, _Measure] = {}
        self.hashed = 0

    def step(self, operation: pickletools.OpcodeInfo, argument: Any, count: int) -> None:
        """What one operation does to the stack."""
        name = operation.name
        if name == "MARK":
            self.marks.append(len(self.stack))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            place = len(self.remembered) if name == "MEMOIZE" else argument
            if not 0 <= place <= count:
                raise ValueError(f"its pickle remembers an object as number {place}")
            self.remembered[place] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.remembered[argument])
        elif name == "DUP":
            self.stack.append(self.stack[-1])
        elif name == "POP" and self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self._replace(operation)

    def _replace(self, operation: pickletools.OpcodeInfo) -> None:
        """Take what the operation takes, and put one that is deeper than each of it for each that it gives."""
        taken = operation.stack_before
        if pickletools.markobject in taken:
            start = self.marks.pop() - taken.index(pickletools.markobject)
        else:
            start = len(self.stack) - len(taken)
        if start < 0:
            raise IndexError("its pickle takes more objects than there are")
        parts = self.stack[start:]
        within = sum(part.within for part in parts)
        self.hashed += within
        deepest = 1 + max((part.depth for part in parts), default=0)
        made = _Measure(deepest, 1 + within if operation.name in TUPLES else 1)
        self.stack[start:] = [made] * len(operation.stack_after)

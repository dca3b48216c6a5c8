"""What takes the place of the objects that a pickle names: records of tensors and arrays, and empty objects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

NUMBER = re.compile(r"[<>=|]?[fiubc]\d{1,2}")  # NumPy's names of number types


class Sealed(type):
    """A class that a pickle cannot change: attributes that it sets on its objects could else be set on the class."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise AttributeError(f"{name} of a class is set")


class Inert(metaclass=Sealed):
    """In the place of any object: takes all arguments and items and does nothing; keeps its attributes."""

    def __new__(cls, *_: Any, **__: Any) -> Inert:
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):  # a pair where a class has slots
            if isinstance(part, dict):
                self.__dict__.update(part)

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Pass over an item of a list or queue."""

    def extend(self, items: Any) -> None:
        """Pass over items of a list or queue."""

    def add(self, item: Any) -> None:
        """Pass over an item of a set."""


class Items(dict[Any, Any], metaclass=Sealed):
    """In the place of OrderedDict, defaultdict and their like: the items, without the class."""

    def __init__(self, *arguments: Any, **_: Any) -> None:
        first = arguments[0] if arguments else None  # of a defaultdict it is what makes new items
        super().__init__(first if isinstance(first, (list, dict)) else ())

    def __setstate__(self, state: Any) -> None:
        """Without the attributes, which could hide those of a dictionary."""


@dataclass(frozen=True, eq=False)  # without a hash of its fields, which a file could make endless
class OddTensor:
    """A tensor that holds no plain numbers in memory, such as a sparse or a quantised one. kind: the word for it."""

    kind: str


@dataclass(eq=False)
class Storage:
    """The bytes that tensors are views of; a file of the old format holds them behind the pickle that names them."""

    size: int
    data: bytearray | None = None


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a storage, from byte `start` on. dtype: of its numbers; None where the tensor says it."""

    storage: Storage
    dtype: torch.dtype | None
    start: int = 0


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """What a file says of a tensor; offset, size and stride are in numbers, as torch's."""

    piece: Piece
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def tensor(self) -> Tensor:
        """A view of the storage's bytes, without a copy.

        Raises:
            ValueError: it is no part of its storage.
        """
        numbers = (self.offset, *self.size, *self.stride)
        if not all(isinstance(one, int) and one >= 0 for one in numbers) or len(self.size) != len(self.stride):
            raise ValueError("a tensor has no possible size")
        data, width = self.piece.storage.data or bytearray(), self.dtype.itemsize
        last = self.offset + sum((count - 1) * step for count, step in zip(self.size, self.stride, strict=True))
        if 0 in self.size:
            return torch.empty(self.size, dtype=self.dtype)
        if self.piece.start + (last + 1) * width > len(data):
            raise ValueError("a tensor is larger than its storage")
        held = (len(data) - self.piece.start) // width * width
        flat = torch.frombuffer(data, dtype=torch.uint8, count=held, offset=self.piece.start).view(self.dtype)
        return flat.as_strided(self.size, self.stride, self.offset)


class ArrayType(metaclass=Sealed):
    """numpy.dtype. code: such as f4. order: of the bytes."""

    def __init__(self, code: Any = None, *_: Any) -> None:
        self.code = code
        self.order: Literal["<", ">", "|", "="] = "="

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.order = state[1]

    def numbers(self) -> np.dtype[Any] | None:
        """As NumPy's own; None for text, objects and records."""
        if not (isinstance(self.code, str) and NUMBER.fullmatch(self.code)):
            return None
        own = np.dtype(self.code)
        return own.newbyteorder(self.order)


@dataclass(eq=False)
class StoredArray:
    """What a file says of a NumPy array: the values as they lie in the pickle."""

    shape: Any = None
    dtype: Any = None
    fortran: bool = False
    data: Any = None

    def __setstate__(self, state: Any) -> None:
        *_, self.shape, self.dtype, self.fortran, self.data = state

    def array(self) -> np.ndarray[Any, Any] | None:
        """The numbers; None where it holds other objects.

        Raises:
            ValueError: shape and bytes do not fit.
        """
        dtype = self.dtype.numbers() if isinstance(self.dtype, ArrayType) else None
        data = self.data.encode("latin1") if isinstance(self.data, str) else self.data  # as Python 2 wrote bytes
        if dtype is None or not isinstance(data, (bytes, bytearray)) or not isinstance(self.shape, tuple):
            return None
        if dtype.itemsize * int(np.prod([1, *self.shape], dtype=object)) != len(data):
            raise ValueError(f"an array of shape {self.shape} has {len(data)} bytes")
        array = np.frombuffer(data, dtype).reshape(self.shape, order="F" if self.fortran else "C")
        return array.astype(dtype.newbyteorder("="))

    def tensor(self) -> Tensor | StoredArray | OddTensor:
        """The numbers as a tensor that owns its memory; itself where it holds none."""
        array = self.array()
        if array is None:
            return self
        try:
            return torch.from_numpy(array)
        except TypeError:  # torch has no long double
            return OddTensor(f"of NumPy's {array.dtype}")


def settled(content: Mapping[Any, Any]) -> dict[Any, Any]:
    """A file's dictionary whose nested dictionaries hold tensors in the place of records and arrays.

    Each dictionary is visited once, however many names it has, and changed in place.

    Raises:
        ValueError: as `StoredTensor.tensor` and `StoredArray.array`.
    """
    top = content if isinstance(content, dict) else dict(content)
    seen, waiting = {id(top)}, [top]
    while waiting:
        one = waiting.pop()
        for key, value in list(one.items()):
            if isinstance(value, (StoredTensor, StoredArray)):
                one[key] = value.tensor()
            elif isinstance(value, Tensor):
                one[key] = _plain(value)
            elif isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
                one[key] = torch.from_numpy(np.array(value))
            elif isinstance(value, dict) and id(value) not in seen:
                seen.add(id(value))
                waiting.append(value)
    return top


def _plain(tensor: Tensor) -> Tensor | OddTensor:
    """A tensor that torch itself built, without gradient; a record of its kind where it is no plain one."""
    kinds = {"sparse": tensor.layout != torch.strided, "quantised": tensor.is_quantized, "meta": tensor.is_meta}
    odd = next((kind for kind, holds in kinds.items() if holds), None)
    return OddTensor(odd) if odd else tensor.detach()


def flattened(module: Any, limit: int = 10_000) -> dict[str, Any]:
    """The tensors of an object and of those within it, by dotted names: the state dict of a TorchScript module.

    Raises:
        ValueError: more than `limit` objects.
    """
    return dict(_tensors_below(module, limit))


def _tensors_below(module: Any, limit: int) -> Iterator[tuple[str, Any]]:
    waiting: list[tuple[str, Any]] = [("", module)]
    visited = 0
    while waiting:
        prefix, one = waiting.pop()
        visited += 1
        if visited > limit:
            raise ValueError(f"more than {limit:,} modules")
        for name, value in vars(one).items():
            if isinstance(value, (StoredTensor, OddTensor)):
                yield f"{prefix}{name}", value
            elif isinstance(value, Inert):
                waiting.append((f"{prefix}{name}.", value))

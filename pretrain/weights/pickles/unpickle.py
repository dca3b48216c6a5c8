"""Python's reader of pickles, which here builds plain values and the records of objects.py, and nothing else."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import torch

from pretrain.weights.pickles.objects import (
    ArrayType,
    Inert,
    Items,
    OddTensor,
    Piece,
    Sealed,
    StoredArray,
    StoredTensor,
)
from pretrain.weights.pickles.scan import Readable, check_pickle

RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # Python 2's names
DICTIONARIES = {
    "collections.OrderedDict",
    "collections.defaultdict",
    "collections.Counter",
    "addict.addict.Dict",
    "easydict.EasyDict",
    "mmcv.utils.config.ConfigDict",
    "mmengine.config.config.ConfigDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
}
# Classes and functions that training scripts save beside their tensors. None is imported or run.
HARMLESS = {
    "argparse.Namespace",
    "types.SimpleNamespace",
    "typing.Any",
    "collections.deque",
    "copyreg.__newobj__",
    "decimal.Decimal",
    "uuid.UUID",
    *(f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
    *(f"pathlib.{flavour}Path" for flavour in ("", "Posix", "Windows", "Pure", "PurePosix", "PureWindows")),
    *(f"pathlib._local.{flavour}Path" for flavour in ("", "Posix", "Windows", "Pure", "PurePosix", "PureWindows")),
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    *(f"omegaconf.nodes.{kind}Node" for kind in ("Any", "Integer", "Float", "Boolean", "String", "Path", "Bytes")),
    "mmengine.logging.history_buffer.HistoryBuffer",
    "torch.device",
    "torch.Size",
    "torch.Tensor",
    "torch.serialization._get_layout",
    "torch.torch_version.TorchVersion",
    *(f"builtins.{name}" for name in ("complex", "dict", "frozenset", "list", "object", "set")),
    *(f"builtins.{name}" for name in ("slice", "range", "str", "int", "long", "float", "bool", "getattr", "unicode")),
}
ODD = {"sparse": "sparse", "qtensor": "quantised", "meta": "meta", "nested": "nested", "wrapper": "foreign"}
NUMPY = ("core", "_core")  # before and since NumPy 2
STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "QInt8Storage": torch.int8,
    "QUInt8Storage": torch.uint8,
    "QInt32Storage": torch.int32,
    "QUInt4x2Storage": torch.uint8,
    "QUInt2x4Storage": torch.uint8,
    "UntypedStorage": None,
}


class Named(Exception):  # noqa: N818 - carries names, and is answered in a sentence
    """The pickle names classes or functions that no table here knows. names: dotted, torch's own last."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


def load_data(handle: Readable, piece: Callable[[Any], Piece] | None = None) -> Any:
    """What the pickle at the position of `handle` holds; the position is then behind it.

    Args:
        handle: a file in memory or on disk.
        piece: torch's description of a storage to a piece of it; None where a pickle may name none.

    Raises:
        Named: it names what is not known here.
        ValueError, LookupError, EOFError, pickle.UnpicklingError, ...: it is damaged, or larger than scan.py allows.
    """
    check_pickle(handle)
    reader = _DataUnpickler(handle, piece)
    try:
        content = reader.load()
    except Exception:
        if not reader.unknown:
            raise
    if reader.unknown:  # what stands in their places may not have fitted
        raise Named(sorted(reader.unknown, key=lambda name: (name.startswith("torch."), name)))
    return content


class _DataUnpickler(pickle.Unpickler):
    def __init__(self, handle: Readable, piece: Callable[[Any], Piece] | None) -> None:
        super().__init__(handle, encoding="latin1")
        self.unknown: set[str] = set()
        self.piece = piece

    def persistent_load(self, identity: Any) -> Piece:
        if self.piece is None:
            raise pickle.UnpicklingError("the pickle names data outside itself")
        return self.piece(identity)

    def find_class(self, module: str, name: str) -> Any:
        """The record for a name; an unknown one is written down, and what it stands for is never used."""
        module = RENAMED.get(module, module)
        known = _known(module, name)
        if known is None:
            self.unknown.add(f"{module}.{name}")
            return Inert
        return known


def _known(module: str, name: str) -> Any:
    full = f"{module}.{name}"
    if full in DICTIONARIES:
        return Items
    if full in CLASSES or full in BUILDERS:
        return CLASSES.get(full) or _Function(BUILDERS[full])
    if full in HARMLESS or module.partition(".")[0] == "__torch__" or module == "torch.jit._pickle":
        return Inert
    if name in STORAGES and module.partition(".")[0] == "torch":
        return Piece(_NOTHING, STORAGES[name])
    if module.startswith("torch."):
        odd = next((kind for word, kind in ODD.items() if name.startswith(f"_rebuild_{word}")), None)
        return _Function(lambda *_: OddTensor(str(odd))) if odd and module == "torch._utils" else None
    if module == "torch":  # a dtype, or a layout or scheme of quantisation, which takes no arguments
        return getattr(torch, name) if isinstance(getattr(torch, name, None), torch.dtype) else Inert()
    return None


class _Function:
    """A function that a pickle may call and cannot change."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name} of a function is set")

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)  # type: ignore[attr-defined]


def _tensor(piece: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> StoredTensor | OddTensor:
    """torch._utils._rebuild_tensor and its second and third version: the last argument but one may be a dtype."""
    dtypes = [one for one in rest if isinstance(one, torch.dtype)]
    dtype = dtypes[0] if dtypes else piece.dtype
    if any(isinstance(one, dict) and one.get(bit) for one in rest for bit in ("conj", "neg")):
        return OddTensor("conjugated")
    return StoredTensor(piece, offset, tuple(size), tuple(stride), dtype)


def _first(first: Any, *_: Any) -> Any:
    return first


def _built(build: Any, _: Any, arguments: Any, *__: Any) -> Any:
    """A tensor of a subclass, or with attributes: what it is without them."""
    return build(*arguments)


def _text(text: Any, encoding: Any = "latin1") -> bytes:
    """How pickles of Python 2's protocols write bytes."""
    if encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise ValueError(f"text in the encoding {str(encoding)[:20]}")
    return bytes(text.encode(encoding))


def _bytes(content: Any = b"", encoding: Any = None) -> Any:
    """bytes and bytearray of what is in the pickle; an empty object where they would be made of a number."""
    if isinstance(content, str):
        return _text(content, encoding)
    return bytes(content) if isinstance(content, (bytes, bytearray, list)) else Inert()


def _new(kind: Any, *_: Any) -> Any:
    """copyreg._reconstructor: an empty object of a class."""
    return kind() if kind in (Inert, Items) else Inert()


class _Parameter(metaclass=Sealed):
    """torch.nn.parameter.Parameter and Buffer as old files build them: what they hold."""

    def __new__(cls, held: Any = None, *_: Any) -> Any:
        return held if isinstance(held, (StoredTensor, OddTensor)) else OddTensor("foreign")


def _array(*_: Any) -> StoredArray:
    return StoredArray()


def _array_of(data: Any, dtype: Any, shape: Any, order: Any = "C", *_: Any) -> StoredArray:
    return StoredArray(shape, dtype, order == "F", bytes(data) if isinstance(data, (bytes, bytearray)) else data)


def _scalar(dtype: Any, data: Any = b"") -> Any:
    """A NumPy number as Python's; an empty object for anything else."""
    array = StoredArray((), dtype, False, data).array()
    return Inert() if array is None else array.item()


_NOTHING: Any = None  # the storage of a piece that only says a dtype
BUILDERS: dict[str, Any] = {
    **{f"torch._utils._rebuild_tensor{version}": _tensor for version in ("", "_v2", "_v3")},
    **{f"torch._utils._rebuild_parameter{more}": _first for more in ("", "_with_state")},
    **{f"torch._utils._rebuild_device_tensor_from_{source}": _first for source in ("numpy", "cpu_tensor")},
    "torch._utils._rebuild_xla_tensor": _first,
    "torch._tensor._rebuild_from_type_v2": _built,
    "_codecs.encode": _text,
    **{f"builtins.{name}": _bytes for name in ("bytes", "bytearray")},
    "copyreg._reconstructor": _new,
    **{f"numpy.{core}.multiarray._reconstruct": _array for core in NUMPY},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in NUMPY},
    **{f"numpy.{core}.numeric._frombuffer": _array_of for core in NUMPY},
}
CLASSES: dict[str, Any] = {
    **{f"torch.nn.parameter.{name}": _Parameter for name in ("Parameter", "Buffer")},
    "numpy.dtype": ArrayType,
    "numpy.ndarray": Inert,
}

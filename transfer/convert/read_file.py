"""What a checkpoint file holds, read without running any code that the file names."""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import sha256_of

LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the first pickle of torch.save before torch 1.6
LEGACY_PICKLES = 4  # magic number, protocol, system and only then the content
PLAIN_TYPES = ("dict", "list", "tuple", "set", "frozenset", "str", "bytes", "int", "long", "float", "bool", "slice")
# Classes that training scripts save beside their tensors. None is imported or run: an inert object takes its place.
HARMLESS = {
    "argparse.Namespace",
    "types.SimpleNamespace",
    "collections.defaultdict",
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib.PurePosixPath",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.nodes.AnyNode",
    "typing.Any",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "_codecs.encode",
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in PLAIN_TYPES),
}
# what NumPy needs to build the arrays of a plain pickle
ARRAYS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}
# modules whose functions a checkpoint has no use for
HOSTILE = {"os", "posix", "nt", "sys", "subprocess", "shutil", "socket", "importlib", "runpy"}
HOSTILE_BUILTINS = {"eval", "exec", "compile", "__import__"}
FAULTS = (RuntimeError, EOFError, OSError, KeyError, ValueError, IndexError, TypeError, AttributeError, ImportError)


def read_content(path: Path, allow_pickle: str | None = None) -> dict[str, Any]:
    """The dictionary in a file of torch.save (old and new format), safetensors, or a pickle of arrays (detectron2).

    Args:
        path: the file; its format is told by its first bytes, not by its ending.
        allow_pickle: the file's SHA-256, typed by someone who trusts it, to let Python build whatever it names.

    Raises:
        UserError: missing, truncated or foreign file, objects that need code to be built, or no dictionary.
    """
    if not path.is_file():
        raise UserError(f"{path} is not a file: give the path of a checkpoint.")
    if allow_pickle is not None and allow_pickle != (own := sha256_of(path)):
        raise UserError(f"--allow-pickle names another file: the SHA-256 of {path} is {own}.")
    try:
        with open(path, "rb") as handle:
            start = handle.read(16)
        if start[8:9] == b"{" and start[:2] != b"PK":
            return _read_safetensors(path)
        if start[:1] == b"\x80" and not start.startswith(LEGACY_TORCH):
            content = _read_arrays(path)
        elif allow_pickle:
            content = torch.load(path, map_location="cpu", weights_only=False)
        else:
            content = _read_torch(path)
    except UserError:
        raise
    except (*FAULTS, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split(". ")[0].split()) or type(error).__name__
        raise UserError(
            f"{path} cannot be read as a torch checkpoint ({reason[:200]}): the file is truncated, damaged, or of "
            "another program; copy it again from its source."
        ) from error
    if isinstance(content, nn.Module):
        return dict(content.state_dict())
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, not a dictionary of tensors: give a checkpoint.")
    return dict(content)


def _read_safetensors(path: Path) -> dict[str, Any]:
    """The tensors, with what our own files tell of themselves in the metadata."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            told = opened.metadata() or {}
            origin = (
                {"arch": told["arch"], "provenance": json.loads(told["provenance"])} if "provenance" in told else {}
            )
            return {name: opened.get_tensor(name) for name in opened.keys()} | origin  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise ValueError(f"safetensors: {error}") from error


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAYS:
            raise pickle.UnpicklingError(f"the pickle names {module}.{name} where only arrays belong")
        return super().find_class(module, name)


def _read_arrays(path: Path) -> Any:
    """A plain pickle, as detectron2's and Caffe2's; its arrays become tensors. Refuses all other classes."""
    with open(path, "rb") as handle:
        return _as_tensors(_ArrayUnpickler(handle, encoding="latin1").load())


def _as_tensors(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _as_tensors(inner) for name, inner in value.items()}
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.from_numpy(np.array(value))  # a copy that owns its memory and may be written
    return value


def _read_torch(path: Path) -> Any:
    with torch.serialization.safe_globals([_inert(name) for name in sorted(HARMLESS)]):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            try:
                named = sorted(set(_named(path)) - HARMLESS)
            except (*FAULTS, zipfile.BadZipFile):  # a damaged file names nothing
                raise error from None
            usual = ("torch.", "collections.OrderedDict")
            refused = [name for name in named if name in str(error) or not name.startswith(usual)]
            if not refused:
                raise
            raise UserError(_danger(path, refused)) from error


def _danger(path: Path, names: list[str]) -> str:
    parts = [(name, name.split(".")) for name in names]
    hostile = [name for name, (first, *_, last) in parts if first in HOSTILE or last in HOSTILE_BUILTINS]
    if hostile:
        return f"{path} asks Python for {', '.join(hostile)}, which no checkpoint needs: do not open it with anything."
    return (
        f"{path} holds objects other than tensors and plain values ({', '.join(names[:4])}): to build them Python runs "
        "code that the file names, so a file by a stranger can do on this machine whatever you can; save the "
        "state_dict() alone where the file was made, or, if you trust its source and have what it names installed, add "
        f"`--allow-pickle {sha256_of(path)}`."
    )


def _inert(name: str) -> type:
    """A class of that dotted name that takes any arguments and state and does nothing with them."""
    module, _, own = name.rpartition(".")
    body: dict[str, Any] = {"__module__": module, "__qualname__": own, "__slots__": ("__dict__",)}
    body["__new__"] = lambda cls, *_, **__: object.__new__(cls)
    body["__init__"] = lambda self, *_, **__: None
    body["__setstate__"] = lambda self, state: self.__dict__.update(state if isinstance(state, dict) else {})
    return type(own, (), body)


def _named(path: Path) -> Iterator[str]:
    """Dotted names of the classes and functions that a file of torch.save mentions; nothing is built for it."""
    with open(path, "rb") as handle:
        if handle.read(2) != b"PK":
            handle.seek(0)
            yield from _named_in(handle, LEGACY_PICKLES)
            return
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.endswith("/data.pkl"):
                yield from _named_in(io.BytesIO(archive.read(member)), 1)


def _named_in(handle: Any, pickles: int) -> Iterator[str]:
    for _ in range(pickles):
        for opcode, argument, _ in pickletools.genops(handle):
            if opcode.name == "GLOBAL":
                yield str(argument).replace(" ", ".", 1)

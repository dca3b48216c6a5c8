"""What a checkpoint file holds, read without running any code that the file names."""

from __future__ import annotations

import json
import mmap
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import FAULTS, sha256_of
from pretrain.runtime.printable import shortened
from pretrain.weights.pickles.archives import is_legacy, is_tensor, read_legacy, read_zip
from pretrain.weights.pickles.objects import Inert, OddTensor, settled
from pretrain.weights.pickles.unpickle import Named, load_data

# modules whose functions a checkpoint has no use for
HOSTILE = {"os", "posix", "nt", "sys", "subprocess", "shutil", "socket", "importlib", "runpy"}
HOSTILE_BUILTINS = {"eval", "exec", "compile", "__import__"}
PLAIN_OPENINGS = b"(]}).cIKNVSU"  # the first bytes of pickles of the protocols 0 and 1
HEADER = 100 << 20  # bytes of a safetensors file's header, of which its library reads no more


def read_content(path: Path, allow_pickle: str | None = None) -> dict[str, Any]:
    """The dictionary in a file of torch.save (all ages), TorchScript, safetensors, or a pickle of arrays (detectron2).

    Nested dictionaries hold tensors in memory, or an OddTensor where a file's tensor is sparse, quantised or the like.

    Args:
        path: the file; its format is told by its first bytes, not by its ending.
        allow_pickle: the file's SHA-256, typed by someone who trusts it, to let Python build whatever it names.

    Raises:
        UserError: missing, truncated or foreign file, objects that need code to be built, or no dictionary.
    """
    if not path.is_file():
        raise UserError(f"{path} is not a file: give the path of a checkpoint.")
    if allow_pickle is not None and allow_pickle.lower() != (own := sha256_of(path)):
        raise UserError(f"--allow-pickle names another file: the SHA-256 of {path} is {own}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about what old files name, of Python about damaged texts
            content = _trusted(path) if allow_pickle else _untrusted(path)
        if isinstance(content, nn.Module):
            content = dict(content.state_dict())
        if isinstance(content, Mapping):
            return settled(content)
    except UserError:
        raise
    except Named as error:
        raise UserError(_danger(path, error.names)) from error
    except FAULTS as error:
        raise UserError(_unreadable(path, error)) from error
    kind = "Tensor" if is_tensor(content) else "object" if isinstance(content, Inert) else type(content).__name__
    raise UserError(f"{path} holds a {kind}, not a dictionary of tensors: give a checkpoint.")


def _unreadable(path: Path, error: BaseException) -> str:
    reason = " ".join(str(error).split(". ")[0].split()) or type(error).__name__
    return (
        f"{path} cannot be read as a torch checkpoint ({shortened(reason, 200)}): the file is truncated, damaged, or "
        "of another program; copy it again from its source."
    )


def _untrusted(path: Path) -> Any:
    with open(path, "rb") as handle:
        start = handle.read(16)
    if start[:2] == b"PK":
        return read_zip(path)
    if start[8:9] == b"{" and (start[0] != 0x80 or _header_fits(path, start)):
        return _read_safetensors(path)
    if start[:1] == b"\x80" or (start and start[0] in PLAIN_OPENINGS) or is_legacy(path):
        return read_legacy(path) if is_legacy(path) else _read_pickle(path)
    raise ValueError(_foreign(path, start))


def _header_fits(path: Path, start: bytes) -> bool:
    """Whether a file can be a safetensors file by its first number, the length of its header."""
    return int.from_bytes(start[:8], "little") <= min(HEADER, path.stat().st_size - 8)


def _read_pickle(path: Path) -> Any:
    """A plain pickle, as detectron2's and Caffe2's: arrays and plain values."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as handle:
        return load_data(handle)


def _foreign(path: Path, start: bytes) -> str:
    """What a file is whose first bytes are no checkpoint's."""
    with open(path, "rb") as handle:
        tar = handle.read(512)[257:262] == b"ustar"
    kinds = {
        "an empty file": not start,
        "a tar file; torch.save wrote those before torch 0.2: load and save it again there": tar,
        "a file of Keras or Matlab, in HDF5": start.startswith(b"\x89HDF"),
        "a compressed file: unpack it first": start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")),
        "a page of HTML, as a failed download leaves": start.lstrip()[:5].lower() in (b"<!doc", b"<html"),
        "a pointer of Git LFS: run `git lfs pull`": start.startswith(b"version https://"),
        "NumPy arrays": start.startswith(b"\x93NUMPY"),
    }
    return next((kind for kind, holds in kinds.items() if holds), "its first bytes are no checkpoint's")


def _trusted(path: Path) -> Any:
    """What Python builds when it runs whatever the file names."""
    with open(path, "rb") as handle:
        archive = handle.read(2) == b"PK"
    if archive and any(name.endswith("/constants.pkl") for name in zipfile.ZipFile(path).namelist()):
        return read_zip(path)  # TorchScript, of which nothing needs to be run
    try:
        with open(path, "rb") as handle:
            if archive or is_legacy(path):
                return torch.load(path, map_location="cpu", weights_only=False)
            if handle.read(9)[8:] == b"{":
                return _read_safetensors(path)
            handle.seek(0)
            return pickle.load(handle, encoding="latin1")
    except FAULTS:
        raise
    except Exception as error:  # of code that the file names
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _read_safetensors(path: Path) -> dict[str, Any]:
    """The tensors, with what our own files tell of themselves in the metadata."""
    from safetensors import SafetensorError, safe_open

    with open(path, "rb") as handle:
        if not _header_fits(path, start := handle.read(8)):
            length = int.from_bytes(start, "little")
            raise ValueError(f"safetensors: a header of {length:,} bytes in a file of {path.stat().st_size:,}")
    try:
        with safe_open(path, framework="pt") as opened:
            told = opened.metadata() or {}
            origin = (
                {"arch": told.get("arch"), "provenance": json.loads(told["provenance"])} if "provenance" in told else {}
            )
            tensors: dict[str, Any] = {}
            for name in opened.keys():  # noqa: SIM118 (no mapping)
                tensors[name] = _tensor_of(opened, name)
            return tensors | origin
    except SafetensorError as error:
        raise ValueError(f"safetensors: {error}") from error


def _tensor_of(opened: Any, name: str) -> Any:
    """A tensor of a safetensors file, a copy; a record of its type where torch has none such."""
    try:
        return opened.get_tensor(name)
    except (AttributeError, KeyError, TypeError):
        return OddTensor(f"of type {opened.get_slice(name).get_dtype()}")


def _danger(path: Path, names: list[str]) -> str:
    parts = [(name, name.split(".")) for name in names]
    hostile = [name for name, (first, *_, last) in parts if first in HOSTILE or last in HOSTILE_BUILTINS]
    if hostile:
        named = ", ".join(map(shortened, hostile[:4]))
        return f"{path} asks Python for {named}, which no checkpoint needs: do not open it with anything."
    return (
        f"{path} holds objects other than tensors and plain values ({', '.join(map(shortened, names[:4]))}): to build "
        "them Python runs code that the file names, so a file by a stranger can do on this machine whatever you can; "
        "save the state_dict() alone where the file was made, or, if you trust its source and have what it names "
        f"installed, add `--allow-pickle {sha256_of(path)}`."
    )

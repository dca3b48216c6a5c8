"""The index of a tar file: its images, those of tar files inside it, and the labels of WebDataset."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from pretrain.data.archives.index import STORED, UNKNOWN, Index, Listing, damaged, sample_of
from pretrain.data.files import File
from pretrain.data.folders.walk import SPECIAL
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import shortened

BLOCK = 512
AHEAD = 1 << 22  # bytes; members of images are smaller, so a request of a server gives many of their headers
LABEL = ".cls"  # of WebDataset: a whole number as text
LONGEST_LABEL = 32  # bytes
INSIDE = 1  # how many tar files deep an image may lie in another, as in ILSVRC2012_img_train.tar
LINKS = "links"
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}  # first bytes, and a program


def index_tar(archive: File) -> Index:
    """List the images of a tar file.

    Raises:
        UserError: it is compressed, cut short, damaged, or holds two images of one name or a label that is no number.
    """
    listing = Listing(archive)
    try:
        with archive.open(AHEAD) as file:
            start = file.read(2)
            if program := COMPRESSED.get(start):
                raise UserError(
                    f"{archive} is compressed by {program}, so that no image can be read without all before it: unpack "
                    "that layer only, which leaves a plain tar."
                )
            _list(file, 0, file.seek(0, os.SEEK_END), "", listing, INSIDE)
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        if isinstance(error, UserError):
            raise
        raise damaged(archive, " ".join(str(error).split()) or type(error).__name__) from error
    return listing.index()


def _list(file: BinaryIO, begin: int, end: int, prefix: str, listing: Listing, inside: int) -> None:
    """Add the members of the tar that lies in `file` from `begin` to `end`, their names after `prefix`."""
    for member in _members(file, begin, end):
        name = f"{prefix}{member.name}"
        if member.islnk() or member.issym():
            listing.left_out[LINKS] += 1
        elif not member.isreg() or member.issparse():
            listing.left_out[SPECIAL] += not member.isdir()
        elif name.lower().endswith(".tar") and inside:
            data, size = member.offset_data, member.size
            _list(file, data, data + size, f"{name[: -len('.tar')]}/", listing, inside - 1)
        elif name.endswith(LABEL):
            listing.labels[sample_of(name.removeprefix("./").lstrip("/"))] = _label(file, member, listing.path)
        else:
            listing.add(name, (member.offset_data, member.size, member.size, STORED, UNKNOWN))


def _members(file: BinaryIO, begin: int, end: int) -> Iterator[tarfile.TarInfo]:
    """The members of a tar, of which none is kept; held to end where it should.

    Raises:
        tarfile.ReadError: it is cut short, or a header in it is damaged, at which tarfile alone would stop silently.
    """
    file.seek(begin)
    with tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every member it has seen
            if member.offset_data + member.size > end:
                raise tarfile.ReadError(f"cut short in {shortened(member.name)}")
            yield member
        file.seek(archive.offset)
        last = file.read(BLOCK) if archive.offset < end else b""
        if last != bytes(BLOCK):
            what = "damaged" if last else "cut short"
            raise tarfile.ReadError(f"{what} at byte {archive.offset}, where a member or the end mark should be")


def _label(file: BinaryIO, member: tarfile.TarInfo, path: object) -> int:
    file.seek(member.offset_data)
    text = file.read(min(member.size, LONGEST_LABEL)).decode("ascii", "replace").strip()
    if not text.isdecimal():
        raise UserError(
            f"{path}: the label {shortened(member.name)} holds '{shortened(text)}': it has to be a whole number."
        )
    return int(text)

"""The index of a zip file, from its own directory."""

from __future__ import annotations

import stat
import zipfile

from pretrain.data.archives.index import DEFLATED, STORED, Index, Listing, damaged
from pretrain.data.archives.tar import LINKS
from pretrain.data.files import File
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import FAULTS
from pretrain.runtime.printable import shortened

AHEAD = 1 << 20  # bytes of a directory that are read at once
ENCRYPTED = 1  # the bit of a member's flags


def index_zip(archive: File) -> Index:
    """List the images of a zip file.

    Raises:
        UserError: it is cut short or damaged, or holds two images of one name, an encrypted image, or one that is
            compressed by another method than deflate.
    """
    listing = Listing(archive)
    try:
        with archive.open(AHEAD) as file, zipfile.ZipFile(file) as opened:
            for member in opened.infolist():
                _add(member, listing)
    except FAULTS as error:
        if isinstance(error, UserError):
            raise
        raise damaged(archive, " ".join(str(error).split()) or type(error).__name__) from error
    return listing.index()


def _add(member: zipfile.ZipInfo, listing: Listing) -> None:
    if member.is_dir():
        return
    if stat.S_ISLNK(member.external_attr >> 16):
        listing.left_out[LINKS] += 1
        return
    before = len(listing.names)
    listing.add(
        member.filename,
        (member.header_offset, member.compress_size, member.file_size, member.compress_type, member.CRC),
    )
    if len(listing.names) == before:
        return
    if member.flag_bits & ENCRYPTED:
        raise UserError(f"{listing.path}: {shortened(member.filename)} is encrypted: write the archive without.")
    if member.compress_type not in (STORED, DEFLATED):
        method = zipfile.compressor_names.get(member.compress_type, str(member.compress_type))  # type: ignore[attr-defined]
        raise UserError(
            f"{listing.path}: {shortened(member.filename)} is compressed by {method}: write the archive with zip's own "
            "deflate, or with none (zip -0), which reads fastest."
        )

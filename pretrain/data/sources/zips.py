"""A zip file, or a folder inside one as in A.zip/train: its images are read where they lie, stored or deflated."""

from __future__ import annotations

from pretrain.data.archives.source import archive_in, open_archives
from pretrain.data.archives.zip import index_zip
from pretrain.data.sources.base import Asked, ImageSource, Kind


def _takes(root: str) -> bool:
    return archive_in(root, ".zip") is not None


def _open(asked: Asked) -> ImageSource:
    archive = archive_in(asked.root, ".zip")
    assert archive is not None, "taken"
    return open_archives(asked, archive, index_zip)


KIND = Kind("zip", "a zip file", _takes, _open, ("{}.zip",), folders=True)

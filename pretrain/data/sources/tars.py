"""A tar file, a folder inside one, or the shards that a pattern names: WebDataset's, or class folders in plain tars."""

from __future__ import annotations

from pretrain.data.archives.shards import files_of, is_pattern
from pretrain.data.archives.source import Archives, archive_in, open_archives
from pretrain.data.archives.tar import index_tar
from pretrain.data.sources.base import Asked, ImageSource, Kind

ENDING = ".tar"


def _takes(root: str) -> bool:
    return is_pattern(root, ENDING) or archive_in(root, ENDING) is not None


def _open(asked: Asked) -> ImageSource:
    archives = None if is_pattern(asked.root, ENDING) else archive_in(asked.root, ENDING)
    return open_archives(asked, archives or Archives("tar", files_of(asked.root)), index_tar)


KIND = Kind("tar", "a tar file or a pattern of them", _takes, _open, ("{}.tar", "{}-*.tar"), folders=True)

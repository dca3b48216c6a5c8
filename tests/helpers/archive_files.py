"""Small archives, and what makes hostile ones of them."""

import hashlib
import io
import tarfile
import zipfile

from tools.datasets.unpacking.archives import Archive


def a_tar(path, files, links=()):
    with tarfile.open(path, "w") as packed:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
        for name, target in links:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            packed.addfile(entry)
    return path


def a_zip(path, files):
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path


def an_archive(path, place=lambda name: name):
    return Archive(path.name, f"md5:{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}", place)

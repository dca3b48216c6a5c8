"""Images at URLs that a list names, each read whole; what is not there is skipped and named when its turn comes."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from pretrain.data.compact import Strings
from pretrain.data.decode import UnreadableImage
from pretrain.data.files import fetch
from pretrain.data.files.remote import RemoteFolder, blocks_of
from pretrain.data.sources.base import Asked
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import printable, shortened
from pretrain.runtime.urls import FIRST, Address, hide, is_url, split


@dataclass
class AddressStore:
    """N images below a URL. names (N,): of each."""

    folder: RemoteFolder
    names: Strings

    def fingerprint(self, place: int) -> object:
        """The list and the name: an image that changes at its URL is not seen to."""
        return self.folder.version, self.names[place]

    def read_bytes(self, place: int) -> bytes:
        """The bytes of one image.

        Raises:
            UnreadableImage: there is none at its URL.
            UserError: the server does not answer, or refuses.
        """
        name = self.names[place]
        try:
            return self.folder.read(name, fetch.WAITS)
        except fetch.Missing as error:
            raise UnreadableImage(f"{printable(self.folder.url(name))} (it is not there)") from error


def start_of(asked: Asked) -> str:
    """Where the paths of a list start: what the user says, or the list's own folder, with the list's query."""
    address, query = split(asked.root)
    return asked.reading.images_root or f"{posixpath.dirname(address)}{query}"


def are_addresses(asked: Asked, names: Sequence[str]) -> bool:
    """Whether the images of a list lie at URLs.

    Raises:
        UserError: some do.
    """
    given = [name for name in names if is_url(name)]
    if is_url(start_of(asked)) or not given:
        return is_url(start_of(asked))
    if len(given) < len(names):
        raise UserError(
            f"{asked.root} names {len(given)} URLs, such as {shortened(hide(given[0]))}, among {len(names)} paths: "
            "give a list of each kind."
        )
    return True


def store_of(asked: Asked, names: Sequence[str]) -> tuple[AddressStore, list[str]]:
    """Where the images of a list are, and the name of each below what all of them lie below.

    Raises:
        UserError: they lie on several hosts, have queries of their own, or are not there.
    """
    start, query = split(start_of(asked))
    urls = [name if is_url(name) else f"{start.rstrip('/')}/{name}" for name in names]
    if secret := next((hide(name) for name in names if is_url(name) and hide(name) != name), None):
        raise UserError(f"{asked.root} names a URL with a query or credentials of its own, {secret}: leave these out.")
    schemes, below = {url.partition("://")[0] for url in urls}, [_normal(url) for url in urls]
    base = start.partition("://")[2].rstrip("/")
    if not all(one.startswith(f"{base}/") for one in below):
        base = posixpath.commonpath([posixpath.dirname(one) for one in below])
    if len(schemes) > 1 or not base:
        raise UserError(f"{asked.root} names URLs of several hosts: give a list for each, as several roots.")
    keys = [one[len(base) + 1 :] for one in below]
    version = hashlib.sha256("\0".join(keys).encode("utf-8", "surrogatepass")).hexdigest()
    folder = RemoteFolder(Address(f"{schemes.pop()}://{base}{query}"), version, blocks_of(asked.reading.kept))
    _check(asked, folder, keys)
    return AddressStore(folder, Strings.of(keys)), keys


def _normal(url: str) -> str:
    """A URL without its scheme, and without . and .. in it."""
    host, slash, path = url.partition("://")[2].partition("/")
    return f"{host}{slash}{posixpath.normpath(f'/{path}').lstrip('/')}"


def _check(asked: Asked, folder: RemoteFolder, keys: Sequence[str]) -> None:
    """Hold that one of three images is there: to ask for each would take hours. What is read is kept."""
    for key in dict.fromkeys((keys[0], keys[len(keys) // 2], keys[-1])):
        try:
            folder.read(key, FIRST)
            return
        except fetch.Missing:
            continue
    raise UserError(
        f"{asked.root} names {len(keys)} images, and at {shortened(folder.url(keys[0]), 200)} there is none: correct "
        f"the paths, or say where they start with {asked.option('images_root')}URL."
    )

"""The way to a hub: who uploads, and one commit with all files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pretrain.runtime.errors import UserError
from pretrain.weights.hub.client import library, patiently, told
from pretrain.weights.hub.names import HubName, parse
from transfer.publish.folder import FILES


class Uploaded(NamedTuple):
    """commit: its 40 digits. url: of its page."""

    commit: str
    url: str


def target(typed: object) -> HubName:
    """Where to upload to, as a name without revision and file.

    Raises:
        UserError: another form.
    """
    name = parse(typed)
    if name.revision or name.file:
        raise UserError(f"--to {typed} names a revision or a file: give hf:USER/NAME, where a new commit is made.")
    return name


def check_token(name: HubName) -> None:
    """Refuse a missing or wrong token before any long work.

    Raises:
        UserError: as of `pretrain.weights.hub.client.told`.
    """
    hub = library(str(name))
    patiently(str(name), lambda: hub.HfApi().whoami())


def upload(folder: Path, name: HubName, private: bool) -> Uploaded:
    """Make one commit of the published files, and the repository where there is none.

    Args: folder, that holds them; name, of the repository; private, whether a new one is for its owner alone.

    Raises:
        UserError: no network, no right to it, or a card that the hub refuses.
    """
    hub = library(str(name))
    api = hub.HfApi()
    with told(str(name)):
        api.create_repo(name.repo, private=private, exist_ok=True)
        files = [hub.CommitOperationAdd(path_in_repo=one, path_or_fileobj=str(folder / one)) for one in FILES]
        done = api.create_commit(name.repo, files, commit_message="Publish a trunk with its card")
    return Uploaded(str(done.oid), str(done.commit_url))

"""From a name on a hub to a file on this disk, at one commit, through the folder that huggingface_hub keeps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import sha256_of
from pretrain.runtime.printable import say, shortened
from pretrain.weights.beside import BESIDE
from pretrain.weights.hub.client import PATIENCE, Unreachable, library, patiently
from pretrain.weights.hub.names import HubName, is_hub, kept_name, parse

USUAL = ("model.safetensors", "pytorch_model.bin")  # what timm and transformers call weights on a hub
WEIGHTS = (".safetensors", ".pth", ".pth.tar", ".pt", ".bin", ".pkl")
SHA256 = re.compile(r"[0-9a-f]{64}")  # as the client's folder calls large files
MOST = 6  # files that a message names


class Answer(NamedTuple):
    """What the hub says of a name: the commit, and its files with the SHA-256 of those that it knows it of."""

    commit: str
    files: dict[str, str]


def fetched(given: str | Path) -> Path:
    """Where the weights lie on this disk: a path itself, or the file of a name on the hub.

    A name without a commit is pinned to that of this moment. The commit and the SHA-256 are printed. A commit that was
    fetched before is found without the network; where the hub cannot be reached, what a branch had last is taken.

    Raises:
        UserError: no such name, revision or file, no right to it, no network, or a damaged file.
    """
    if not is_hub(given):
        return Path(given)
    asked = parse(given)
    path = _kept(asked) if asked.pinned else None
    if path is None:
        try:
            path = _download(asked, ask(asked))
        except Unreachable as error:
            path = _kept(asked)
            if path is None:
                raise
            tell(f"note: {str(error).partition(': ')[0]}; what was fetched last is taken")
    sha256 = _checked(path)
    name = kept_name(path)
    tell(f"{asked}: revision {name.revision if name else 'unknown'}, {path.name}, sha256 {sha256}")
    return path


def ask(asked: HubName) -> Answer:
    """What the hub says of a name now. Raises as of `fetched`."""
    hub = library(str(asked))
    told = patiently(
        str(asked),
        lambda: hub.HfApi().model_info(
            asked.repo, revision=asked.revision or None, timeout=PATIENCE, files_metadata=True
        ),
    )
    files = {one.rfilename: str((one.lfs or {}).get("sha256") or "") for one in told.siblings or ()}
    return Answer(str(told.sha), files)


def chosen(asked: HubName, files: Sequence[str]) -> str:
    """Which of the files of a name holds the weights.

    Raises:
        UserError: the one that was named is not there, none looks like weights, or several do.
    """
    weights = [one for one in files if one.endswith(WEIGHTS) and "/" not in one]
    if asked.file:
        if asked.file in files:
            return asked.file
        held = ", ".join(map(shortened, weights[:MOST])) or "no file of weights"
        raise UserError(f"{asked} does not exist: hf:{asked.repo} holds {held}; correct the file's name.")
    if usual := [one for one in USUAL if one in files]:
        return usual[0]
    if len(weights) == 1:
        return weights[0]
    if not weights:
        raise UserError(f"{asked} holds no file of weights ({', '.join(WEIGHTS)}): name another repository.")
    few = ", ".join(map(shortened, weights[:MOST]))
    raise UserError(f"{asked} holds several files of weights ({few}): name one, as in {asked.at(asked.revision)}/FILE.")


def _download(asked: HubName, answer: Answer) -> Path:
    """The weights, with what stands beside them and says what they are, all of one commit.

    The weights come last: another rank, or a later start, that finds them in the folder finds all of it. They are asked
    for by the revision that was typed, since the client then remembers which commit that was.
    """
    hub, file = library(str(asked)), chosen(asked, list(answer.files))

    def get(name: str, revision: str) -> Path:
        path = patiently(str(asked), lambda: hub.HfApi().hf_hub_download(asked.repo, name, revision=revision or None))
        return Path(path)

    for beside in (str(PurePosixPath(file).with_name(name)) for name in BESIDE):
        if beside in answer.files:
            get(beside, answer.commit)
    path = get(file, asked.revision)
    name = kept_name(path)
    if name and name.revision != answer.commit:  # pushed to since the hub was asked: then that commit, whole
        now = asked.at(name.revision)
        return _download(now, ask(now))
    return _held_against(path, answer.files[file])


def _kept(asked: HubName) -> Path | None:
    """The file in the client's folder; None where it is not there."""
    hub = library(str(asked))
    for file in (asked.file,) if asked.file else USUAL:
        found: Any = hub.try_to_load_from_cache(asked.repo, file, revision=asked.revision or None)
        if isinstance(found, str):
            return Path(found)
    return None


def _checked(path: Path) -> str:
    """The SHA-256 of a file of the client's folder, held against what that calls it."""
    name = path.resolve().name
    _held_against(path, name if SHA256.fullmatch(name) else "")
    return sha256_of(path)


def _held_against(path: Path, sha256: str) -> Path:
    if sha256 and (own := sha256_of(path)) != sha256:
        raise UserError(
            f"{path} is damaged: its SHA-256 is {own}, and the hub's is {sha256}; remove it and the file that it links "
            f"to ({path.resolve()}), and it is fetched again."
        )
    return path


def tell(sentence: str) -> None:
    """Print a line, on the first process alone."""
    from pretrain.runtime import distributed  # imports torch, for which --help need not wait

    if distributed.asked_rank() == 0:
        say(sentence)

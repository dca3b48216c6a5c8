"""What is published: weights as safetensors, config.json, and the card, each checked before any of it is there."""

from __future__ import annotations

import importlib
import importlib.util
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from packaging.version import Version

from pretrain.models.trunks import is_timm, plain_trunk, usual_size
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import sha256_of, write_json, write_text
from pretrain.weights.beside import CONFIGURATION
from pretrain.weights.trunk import TrunkFile
from transfer.convert.destinations import safetensors
from transfer.convert.peers import peer_of
from transfer.convert.verify import SIDE, TOLERANCE, write_verified
from transfer.convert.write import provenance_of
from transfer.publish.configuration import configuration
from transfer.publish.header import UNKNOWN, Said, header
from transfer.report.model_card import Facts, Published, card_of

WEIGHTS, CARD = "model.safetensors", "README.md"  # as hubs and their clients call them
FILES = (WEIGHTS, CONFIGURATION, CARD)
LOCAL = "local-dir:"  # before a folder that timm reads
READS_FOLDERS = "1.0.16"  # the first timm that does


class Written(NamedTuple):
    """sha256: of the weights. told: what was compared with what, in lines."""

    sha256: str
    told: list[str]


def check_place(out: Path) -> None:
    """Refuse a folder that holds anything but what was published there before.

    Raises:
        UserError: naming it.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"--to {out} is a file: name a folder.")
    others = sorted({one.name for one in out.iterdir()} - set(FILES)) if out.is_dir() else []
    if others:
        raise UserError(
            f"--to {out} holds other files ({others[0]}): name a new folder, or an earlier one of this tool."
        )


def write_folder(out: Path, facts: Facts, said: Said, home: str, name: str) -> Written:
    """Write what is published of a trunk to the folder `out`, which holds all of it or what it held before.

    Args:
        out: the folder.
        facts: of the trunk, its run and its results.
        said: what only the user can say.
        home: what timm calls the place where others find it.
        name: of the model.

    Raises:
        UserError: a network that others have none of, or features that differ.
    """
    safetensors.DESTINATION.require(facts.trunk, facts.file)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        draft = Path(folder, "draft")
        draft.mkdir()
        told = _write_weights(draft / WEIGHTS, facts)
        write_json(draft / CONFIGURATION, configuration(facts.trunk))
        told.append(_in_timm(draft, facts.trunk))
        sha256 = sha256_of(draft / WEIGHTS)
        place = Published(WEIGHTS, sha256, home, "" if said.licence == UNKNOWN else said.licence)
        root = str(facts.run.setting("data.root", "")) if facts.run else str(facts.trunk.meta.get("data") or "")
        top = header(name, facts.trunk, said, root, facts.own_results)
        write_text(draft / CARD, f"---\n{top}\n---\n\n{card_of(facts, place)}")
        out.mkdir(exist_ok=True)
        for file in FILES:
            os.replace(draft / file, out / file)
    return Written(sha256, told)


def _write_weights(path: Path, facts: Facts) -> list[str]:
    """Write the weights, and compare their features with the source's in the library that the source is of."""
    verifier = safetensors.verifier()
    origin = provenance_of(facts.folder / facts.file, facts.trunk)

    def write(draft: Path) -> None:
        safetensors.write(draft, facts.trunk, origin)

    differences = write_verified(path, facts.trunk, write, verifier.stages)
    peer, most = peer_of(facts.trunk).library, max(differences.values())
    return [f"{WEIGHTS}: largest difference from the source in {peer} {most:.1e} (allowed {TOLERANCE:.0e})"]


@torch.no_grad()
def _in_timm(folder: Path, trunk: TrunkFile) -> str:
    """Load the folder in timm, and say how far its features are from the source's.

    Raises:
        UserError: further than conversion allows.
    """
    if not importlib.util.find_spec("timm"):
        return f"{CONFIGURATION}: not checked, since timm is not installed: pip install 'unigrad[timm]'"
    timm = importlib.import_module("timm")
    if Version(timm.__version__) < Version(READS_FOLDERS):
        first = f"{READS_FOLDERS} is the first"
        return f"{CONFIGURATION}: not checked, since timm {timm.__version__} reads no folders: {first}"
    network = timm.create_model(f"{LOCAL}{folder}", pretrained=True).eval().double()
    side = usual_size(trunk.arch) if is_timm(trunk.arch) else SIDE
    images = torch.randn(1, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    own = plain_trunk(trunk.arch, trunk.channels)
    own.load_state_dict(trunk.state, strict=True)
    expected = own.eval().double()(images)
    difference = (network(images) - expected).abs().max().item()
    if not difference <= TOLERANCE * min(1.0, expected.abs().max().item()):
        raise UserError(
            f"timm reads the folder as another network: its features differ by {difference:.1e}; nothing was written. "
            "This is a fault of publishing; report it."
        )
    return f"{CONFIGURATION}: largest difference from the source in timm's {LOCAL} {difference:.1e}"


def facts_of_file(path: Path, trunk: TrunkFile) -> Facts:
    """What a card says of a file that stands alone."""
    meta = {key: value for key, value in trunk.meta.items() if key != "run"}
    return Facts(None, path.parent, Path(path.name), replace(trunk, meta=meta), sha256_of(path))

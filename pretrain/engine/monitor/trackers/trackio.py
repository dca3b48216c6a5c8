"""trackio: a SQLite file here, a Space of Hugging Face (TRACKIO_SPACE_ID), or a server (TRACKIO_SERVER_URL)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretrain.engine.monitor.tracker import PROJECT, Ended, Identity, Kind, Place
from pretrain.runtime.errors import UserError

PLACES = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")  # where runs are sent; neither: they stay on this machine


class Trackio:
    """As ../tracker.py describes a tracker."""

    def start(self, place: Place) -> Identity:
        """trackio finds a run again by its name, so that has an id in it."""
        import trackio

        self.library: Any = trackio
        self.name = place.identity.get("id") or f"{place.name.replace('/', '-')}-{secrets.token_hex(4)}"
        project = place.identity.get("project") or place.project or os.environ.get("TRACKIO_PROJECT") or PROJECT
        where = next((found for name in PLACES if (found := os.environ.get(name))), "")
        config = None if place.identity else dict(place.config)
        self.run = trackio.init(project, name=self.name, config=config, resume="allow", embed=False)
        space = f"https://huggingface.co/spaces/{where}" if where and "://" not in where else ""
        return {"id": self.name, "project": project, "url": space}

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A row of the run."""
        self.run.log(dict(values), step=step)

    def images(self, step: int, pictures: Mapping[str, Path]) -> None:
        """Copied into trackio's folder."""
        self.run.log({name: self.library.Image(str(path)) for name, path in pictures.items()}, step=step)

    def artefact(self, path: Path) -> None:
        """A version of a file by the run's name."""
        self.run.log_artifact(path, name=f"{self.name}-{path.name}", type="model" if path.suffix == ".pth" else "file")

    def finish(self, ended: Ended) -> None:
        """Send what is left."""
        self.run.finish()


def check(place: Place) -> None:
    """Refuse to begin without the token that the chosen place wants.

    Raises:
        UserError: there is none.
    """
    server = os.environ.get("TRACKIO_SERVER_URL", "")
    if space := os.environ.get("TRACKIO_SPACE_ID"):
        from huggingface_hub import get_token

        if not get_token():
            raise UserError(
                f"TRACKIO_SPACE_ID={space} needs a token of Hugging Face: run `hf auth login`, set HF_TOKEN, "
                "or unset it."
            )
    elif server and "write_token=" not in server and not os.environ.get("TRACKIO_WRITE_TOKEN"):
        raise UserError("TRACKIO_SERVER_URL needs a token to write: set TRACKIO_WRITE_TOKEN, or unset it.")


TRACKER = Kind("trackio", "on this machine, in a Space, or on a server", Trackio, "trackio", "trackio", check)

"""Weights & Biases: online, offline (WANDB_MODE=offline), or offline because the server did not answer."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pretrain.engine.monitor.tracker import PATIENCE, PROJECT, Ended, Identity, Kind, Place, is_refused
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import say

SHORTEST = 40  # letters of an API key of any kind
FOLDER = "wandb"  # in the run folder: what is sent later
EXIT_CODES = {"done": 0, "stopped": 0, "failed": 1}
STEP = "step"  # the axis of all curves, so that W&B's own count of calls means nothing


class WandB:
    """As ../tracker.py describes a tracker."""

    def start(self, place: Place) -> Identity:
        """A run whose id we choose; without an answer it is kept in RUN/wandb for `wandb sync`."""
        import wandb

        self.folder, offline = place.folder, not _online()
        self.library: Any = wandb
        self.id = place.identity.get("id") or secrets.token_hex(4)
        project = place.identity.get("project") or place.project or os.environ.get("WANDB_PROJECT") or PROJECT
        try:
            self.run = self._init(place, project, offline)
        except wandb.errors.Error as error:
            if offline:
                raise
            reason = " ".join(str(error).split())[:200]
            say(f"warning: W&B does not answer ({reason}): send {_kept(place)} later by `wandb sync`.")
            wandb.teardown()  # its service takes the id to be in use
            self.run = self._init(place, project, True)
        self.run.define_metric(STEP, hidden=True)
        self.run.define_metric("*", step_metric=STEP)
        if place.identity and not place.joins:
            self.run.config.update(dict(place.config), allow_val_change=True)
        return {"id": self.id, "project": project, "url": "" if self.run.offline else str(self.run.url)}

    def _init(self, place: Place, project: str, offline: bool) -> Any:
        settings = self.library.Settings(
            console="off", silent=True, disable_code=True, disable_git=True, init_timeout=PATIENCE
        )
        if "finish_timeout" in type(settings).model_fields:  # newer clients wait for ever without it
            settings.finish_timeout = PATIENCE
        return self.library.init(
            project=project,
            id=self.id,
            name=place.name,
            config=None if place.identity else dict(place.config),
            dir=os.environ.get("WANDB_DIR") or str(place.folder),
            mode="offline" if offline else None,
            resume="allow",
            settings=settings,
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A row of the history."""
        self.run.log({STEP: step, **values})

    def images(self, step: int, pictures: Mapping[str, Path]) -> None:
        """Copied into the client's folder."""
        self.run.log({STEP: step} | {name: self.library.Image(str(path)) for name, path in pictures.items()})

    def artefact(self, path: Path) -> None:
        """A file of the run, below the run folder's name: W&B has a config.yaml of its own."""
        self.run.save(str(path), base_path=str(self.folder.parent), policy="now")

    def finish(self, ended: Ended) -> None:
        """Wait for what is still to be sent, as long as the client's patience lasts."""
        self.run.finish(exit_code=EXIT_CODES[ended])


def _kept(place: Place) -> Path:
    return Path(os.environ.get("WANDB_DIR") or place.folder, FOLDER)


def _settings() -> Any:
    """The client's own, from its variables and files."""
    import wandb

    return wandb.setup(wandb.Settings(silent=True)).settings


def _online() -> bool:
    return _settings().mode in (None, "online", "run", "shared")


def _key() -> str | None:
    """From WANDB_API_KEY, or from where `wandb login` has put it."""
    import wandb

    key: str | None = _settings().api_key or wandb.api.api_key
    return key


def check(place: Place) -> None:
    """Refuse to begin without a key, unless nothing is to be sent.

    Raises:
        UserError: there is none, or part of one.
    """
    if not _online() or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return
    key = _key()
    if key and len(key) < SHORTEST:
        raise UserError(
            f"W&B's API key has {len(key)} letters and needs {SHORTEST}: copy it whole into WANDB_API_KEY, or run "
            "`wandb login --relogin`."
        )
    if not key:
        raise UserError(
            "run.trackers=wandb finds no API key: run `wandb login`, or set WANDB_API_KEY; WANDB_MODE=offline needs "
            "none."
        )


def ask(place: Place) -> None:
    """Ask the server whom the key belongs to.

    Raises:
        UserError: to nobody.
    """
    if not _online() or not (key := _key()):
        return
    import requests

    server = str(_settings().base_url).rstrip("/")
    question = {"query": "query { viewer { id } }"}
    if is_refused(partial(requests.post, f"{server}/graphql", json=question, auth=("api", key)), _is_nobody):
        raise UserError(
            f"{server} refuses W&B's API key: set another one by `wandb login --relogin` or WANDB_API_KEY, or use "
            "WANDB_MODE=offline."
        )


def _is_nobody(answer: Any) -> bool:
    return bool(answer["data"]["viewer"] is None)


TRACKER = Kind("Weights & Biases", "online or offline (WANDB_MODE)", WandB, "wandb", "wandb", check, ask, alone=True)

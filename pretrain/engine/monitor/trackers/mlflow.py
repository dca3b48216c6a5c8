"""MLflow: the server or store of MLFLOW_TRACKING_URI; without one, a SQLite file beside the run folder."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from pretrain.engine.monitor.tracker import PATIENCE, PROJECT, Ended, Identity, Kind, Place, is_refused
from pretrain.runtime.errors import UserError
from pretrain.runtime.urls import hide

URI, EXPERIMENT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"
DEFAULTS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(PATIENCE), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
SEARCH = "api/2.0/mlflow/experiments/search"
STATES = {"done": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
FREE = re.compile(r"[^\w\-. /]")  # what the name of a metric may not hold
LONGEST, MOST = 6000, 100  # letters of a parameter's value; parameters in one request


class MLflow:
    """As ../tracker.py describes a tracker."""

    def start(self, place: Place) -> Identity:
        """The server gives the run its id."""
        self.client, self.joins = _client(place), place.joins
        if known := place.identity.get("id"):
            self.id = known
            if not place.joins:
                self.client.update_run(known, status="RUNNING")
            return dict(place.identity)
        name = place.project or os.environ.get(EXPERIMENT) or PROJECT
        found = self.client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._create(name, place)
        config = dict(place.config)
        commit, command = str(config.pop("commit", "")), str(config.pop("command", ""))
        tags = {"mlflow.source.name": "tools/pretrain.py", "mlflow.source.git.commit": commit, "command": command}
        self.id = self.client.create_run(experiment, run_name=place.name, tags=tags).info.run_id
        self._parameters(config)
        uri = hide(_uri(place))
        shown = f"{uri.rstrip('/')}/#/experiments/{experiment}/runs/{self.id}" if _is_web(uri) else ""
        return {"id": self.id, "experiment": experiment, "uri": uri, "url": shown}

    def _create(self, name: str, place: Place) -> str:
        """A new experiment; without a server its files lie beside the SQLite file, not where the job works."""
        beside = None if os.environ.get(URI) else (place.folder.parent / "mlartifacts").as_uri()
        experiment: str = self.client.create_experiment(name, artifact_location=beside)
        return experiment

    def _parameters(self, config: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        found = [Param(name, str(value)[:LONGEST]) for name, value in _flat(config)]
        for place in range(0, len(found), MOST):
            self.client.log_batch(self.id, params=found[place : place + MOST])

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One request."""
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        self.client.log_batch(self.id, [Metric(FREE.sub("_", name), one, now, step) for name, one in values.items()])

    def images(self, step: int, pictures: Mapping[str, Path]) -> None:
        """As MLflow's pages show them beside the curves; by a slash in its name older servers lose the end of one."""
        for name, path in pictures.items():
            with Image.open(path) as picture:
                self.client.log_image(
                    self.id, picture.convert("RGB"), key=FREE.sub("_", name).replace("/", "."), step=step
                )

    def artefact(self, path: Path) -> None:
        """Into the run's store of files."""
        self.client.log_artifact(self.id, str(path))

    def finish(self, ended: Ended) -> None:
        """Every call was sent when it was made; what joins a run leaves its state."""
        if not self.joins:
            self.client.set_terminated(self.id, STATES[ended])


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _uri(place: Place) -> str:
    """Where the run is kept: as the environment says now, else where it began, else beside the run folder."""
    began = "" if "redacted" in place.identity.get("uri", "") else place.identity.get("uri", "")
    return os.environ.get(URI) or began or f"sqlite:///{place.folder.parent / 'mlflow.db'}"


def _is_web(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _client(place: Place) -> Any:
    from mlflow import MlflowClient

    for name, value in DEFAULTS.items():  # else a server that is gone is asked again for minutes
        os.environ.setdefault(name, value)
    return MlflowClient(_uri(place))


def check(place: Place) -> None:
    """Refuse an address that MLflow does not know.

    Raises:
        UserError: such as one without its scheme.
    """
    uri = _uri(place)
    if uri.startswith("sqlite:"):
        return  # opening one makes it, which takes seconds: the tracker's thread does
    try:
        _client(place)
    except Exception as error:  # MlflowException, or what a plugin raises
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{URI}={hide(uri)} is no address of MLflow ({reason}): give one such as http://HOST:5000 or "
            "sqlite:///FILE.db."
        ) from error


def ask(place: Place) -> None:
    """Ask a server for one experiment.

    Raises:
        UserError: it wants other credentials.
    """
    uri = _uri(place)
    if not _is_web(uri):
        return
    import requests
    from mlflow.utils.credentials import read_mlflow_creds

    creds, token = read_mlflow_creds(), os.environ.get("MLFLOW_TRACKING_TOKEN")
    named = (creds.username, creds.password or "") if creds.username else None
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if is_refused(
        partial(requests.get, f"{uri.rstrip('/')}/{SEARCH}", auth=named, headers=headers, params={"max_results": 1})
    ):
        raise UserError(
            f"the MLflow server {hide(uri)} refuses these credentials: set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."
        )


TRACKER = Kind("MLflow", "a server or store (MLFLOW_TRACKING_URI)", MLflow, "mlflow", "mlflow", check, ask)

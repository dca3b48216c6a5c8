"""TensorBoard: event files in RUN/tensorboard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from pretrain.engine.monitor.tracker import Ended, Identity, Kind, Place


class TensorBoard:
    """As ../tracker.py describes a tracker."""

    def start(self, place: Place) -> Identity:
        """What was drawn after `place.step` is drawn no more, unless a result joins the run.

        Raises:
            ValueError: the folder's name is not UTF-8, which TensorBoard does not take.
        """
        from torch.utils.tensorboard import SummaryWriter

        try:
            purge = None if place.joins else place.step + 1  # the first step that is done again
            self.writer = SummaryWriter(str(place.folder / "tensorboard"), purge_step=purge)
        except UnicodeEncodeError as error:
            raise ValueError("it takes UTF-8 names only") from error
        return {"folder": "tensorboard"}

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A point of each curve."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def images(self, step: int, pictures: Mapping[str, Path]) -> None:
        """Decoded, and written as PNG into the event file."""
        for name, path in pictures.items():
            with Image.open(path) as picture:
                self.writer.add_image(name, np.asarray(picture.convert("RGB")), step, dataformats="HWC")

    def artefact(self, path: Path) -> None:
        """Nothing: event files hold no files, and this one lies beside them."""

    def finish(self, ended: Ended) -> None:
        """Write what is left."""
        self.writer.close()


TRACKER = Kind("TensorBoard", "event files in RUN/tensorboard", TensorBoard, forgets=True)

"""A trunk of one checkpoint on one labelled set: the rows that evaluators share, computed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from pretrain.data.sources import ImageSource
from pretrain.models.pixels import Pixels
from pretrain.models.trunks import width_of
from pretrain.weights.trunk import TrunkFile, build_trunk, tensors_sha256
from transfer.datasets.labelled import Labelled
from transfer.features import cache
from transfer.features.extract import check_finite, extract
from transfer.features.on_device import chosen_precision
from transfer.features.pictures import resize_for
from transfer.features.rows import Features
from transfer.features.wanted import Wanted
from transfer.options import Common

Around = Callable[[nn.Module], nn.Module]


@dataclass(frozen=True)
class Source:
    """Where the trunk and the images come from, and the rows that evaluators share."""

    checkpoint: Path
    trunk_file: TrunkFile
    sha256: str
    data: Labelled
    common: Common
    device: torch.device

    def trunk(self) -> nn.Module:
        """A fresh copy of the trunk, in eval mode."""
        return build_trunk(self.trunk_file)

    @property
    def width(self) -> int:
        """Length of a feature row."""
        return width_of(self.trunk_file.arch)

    @cached_property
    def trunk_sha256(self) -> str:
        """Of the tensors of the trunk, whatever file they lie in."""
        return tensors_sha256(self.trunk_file.state)

    @cached_property
    def rows(self) -> tuple[Features, Features]:
        """Of train and val; kept on disk where a cache is given.

        Raises:
            UserError: rows that are not finite, or a cache that cannot be written or is damaged.
        """
        return self.other_rows("", lambda trunk: trunk, self.width)

    def other_rows(self, kind: str, around: Around, width: int, squashed: bool = False) -> tuple[Features, Features]:
        """Rows (train, val) of a network around the trunk.

        Args:
            kind, around, width, squashed: as of `OtherRows`.

        Raises:
            UserError: as of `rows`.
        """
        both = self.data.train, self.data.val
        train, val = (self._rows_of(source, kind, around, width, squashed) for source in both)
        return train, val

    def rows_of(self, source: ImageSource) -> Features:
        """Rows of any images, as of `Subject.rows_of`."""
        return self._rows_of(source, "", lambda trunk: trunk, self.width)

    def _rows_of(self, source: ImageSource, kind: str, around: Around, width: int, squashed: bool = False) -> Features:
        common = self.common
        transform = common.image_size, None if squashed else resize_for(common.image_size, common.resize)
        precision = chosen_precision(common.frozen_precision, self.device)
        reading = common.batch_size, common.workers, self.device
        minutes, interpolation = common.timeout_minutes, common.interpolation
        if common.cache:
            pixels = Pixels(*self.trunk_file.pixels)
            wanted = Wanted(self.sha256, source, width, *transform, precision, pixels, kind, interpolation)
            return cache.features(Path(common.cache), wanted, lambda: around(self.trunk()), *reading, minutes)
        given, what = (around(self.trunk()), source, *transform, *reading), f"features of {source.root.name}"
        features = extract(*given, what, minutes=minutes, precision=precision, interpolation=interpolation)
        check_finite(features.rows, features.names, source.where)
        return features

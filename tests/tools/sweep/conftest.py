"""A folder of images, and one whole sweep that the tests of it share."""

from __future__ import annotations

import pytest

from helpers.painted import paint_both
from helpers.played_sweeps import swept, written


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return paint_both(tmp_path_factory.mktemp("data") / "data", train=2, val=2)


@pytest.fixture(scope="session")
def whole(data, tmp_path_factory):
    """A sweep that nothing interrupts: (its folder, its trials by name)."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, swept(written(folder), data, folder / "out")

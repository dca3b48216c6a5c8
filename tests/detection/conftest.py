"""Small sets in every format, for the tests of this folder."""

from __future__ import annotations

import pytest


@pytest.fixture
def sets(tmp_path):
    """A folder with voc/, coco/ and what else helpers/detection_samples.py writes."""
    pytest.importorskip("detectron2")
    from helpers.detection_samples import write_sets

    return write_sets(tmp_path / "sets")

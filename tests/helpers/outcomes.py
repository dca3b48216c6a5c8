"""Outcomes of images beside a result, held against the result's own numbers."""

from __future__ import annotations

import numpy as np
import pytest

from transfer import per_image


def retold(result, folder):
    """The metrics of a result that its outcomes tell again, each image once, to six digits; the outcomes too."""
    kept = per_image.load(folder / result.artefacts["per_image"])
    both = [name for name in result.metrics if name in kept.metrics]
    once = np.ones((1, len(kept)), np.float32)
    found = {name: float(kept.values(name, once)[0]) for name in both}
    assert found == pytest.approx({name: result.metrics[name] for name in both}, rel=1e-6)
    return both, kept

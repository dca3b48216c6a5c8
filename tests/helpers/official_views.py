"""The paper's views at 64 pixels, as arguments of MultiCrop."""

from __future__ import annotations

from dataclasses import asdict

from pretrain.config import Views

OFFICIAL = {
    name: value
    for name, value in asdict(Views(size=64)).items()
    if name != "photometry" and not name.startswith("local")
}

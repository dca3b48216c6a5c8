"""The experiment trackers, one file each (../tracker.py says what one is); run.trackers=[NAME] takes its name."""

from __future__ import annotations

from importlib import import_module

from pretrain.engine.monitor.tracker import Kind


def find(name: str) -> Kind:
    """The tracker of the file NAME.py, whose library is not imported by that."""
    found: Kind = import_module(f"{__name__}.{name}").TRACKER
    return found

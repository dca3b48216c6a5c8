"""No test of sources leaves an index in the caches of whoever runs it."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def caches(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("caches")))

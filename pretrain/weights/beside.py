"""What a checkpoint's neighbours say of it: the configuration files that hubs and detectron2 keep in its folder."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

LONGEST = 1 << 20  # bytes of a configuration that are read
CONFIGURATION, PREPROCESSING = "config.json", "preprocessor_config.json"  # of a hub's folder
BESIDE = (CONFIGURATION, PREPROCESSING, "config.yaml")  # all that is read
HUB = re.compile(r"(model|pytorch_model)\b.*\.(safetensors|bin)$")  # as transformers and timm call files of weights
DETECTRON2 = re.compile(r"model_(final|\d+)\.pth$")  # as detectron2's trainers call checkpoints


def neighbours(path: Path) -> dict[str, Any]:
    """What stands beside a file: `hub`, of config.json and preprocessor_config.json; `detectron2`, of config.yaml."""
    found: dict[str, Any] = {}
    if HUB.fullmatch(path.name):
        found["hub"] = {**_read(path.with_name(CONFIGURATION)), **_read(path.with_name(PREPROCESSING))}
    if DETECTRON2.fullmatch(path.name):
        found["detectron2"] = _read(path.with_name("config.yaml"))
    return {name: one for name, one in found.items() if one}


def _read(path: Path) -> dict[str, Any]:
    """A dictionary in JSON or YAML; empty where there is none that can be read."""
    try:
        if path.stat().st_size > LONGEST:
            return {}
        text = path.read_text(encoding="utf-8")
        read = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return dict(read) if isinstance(read, Mapping) else {}

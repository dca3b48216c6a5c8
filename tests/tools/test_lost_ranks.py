"""A rank whose partner is gone ends in one sentence and with the exit code after which a launcher starts anew."""

from __future__ import annotations

import sys

import pytest
import torch

from helpers import tool_words, two_ranks
from helpers.detection_samples import random_trunk
from pretrain.runtime.errors import LOST

LEAVES = "import torch; from pretrain.runtime import distributed; distributed.start(torch.device('cpu'))"


@pytest.mark.parametrize("tool", tool_words.TOOLS)
def test_a_rank_that_has_met_another_and_loses_it_says_so(tmp_path, tool):
    place = tool_words.furnish(tmp_path)
    torch.save(random_trunk("resnet18", 0).state_dict(), trunk := tmp_path / "trunk.pth")
    (tmp_path / "leaves.py").write_text(LEAVES)
    stays = tool_words.words(tool, place, tmp_path / "out", str(trunk))
    told, _ = two_ranks.tools((stays, {}), ([sys.executable, str(tmp_path / "leaves.py")], {}))
    assert told.returncode == LOST, told.stderr
    assert "error: rank 0 has lost the others: one of them has ended, and says why" in told.stderr
    assert "Traceback" not in told.stderr

"""pretrain.runtime.seeds: draws of a seed that leave the generators as they were."""

from __future__ import annotations

import pytest
import torch

from pretrain.runtime.seeds import drawing_from


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1, -3, hash((0, 1, 2))])
def test_draws_of_a_seed_are_those_of_torchs_own_and_the_generator_goes_on_where_it_was(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        expected = torch.rand(5), torch.randint(10**6, (5,)), torch.randperm(9)
    torch.manual_seed(1)
    following = torch.rand(3)
    torch.manual_seed(1)
    with pytest.raises(KeyError), drawing_from(seed):
        drawn = torch.rand(5), torch.randint(10**6, (5,)), torch.randperm(9)
        raise KeyError
    assert all(map(torch.equal, drawn, expected))
    assert torch.equal(torch.rand(3), following)


def test_draws_of_a_seed_ask_nothing_of_other_devices(monkeypatch):
    def asked(_seed: int) -> None:
        raise AssertionError("a device was seeded, or its seeding noted with the call stack")

    for device in (torch.cuda, torch.xpu):
        monkeypatch.setattr(device, "manual_seed_all", asked)
    with pytest.raises(AssertionError):
        torch.manual_seed(0)
    with drawing_from(0):
        torch.rand(1)

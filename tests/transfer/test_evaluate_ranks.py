"""Evaluation by two ranks equals that by one process; what is dealt to ranks twice counts once."""

from __future__ import annotations

import os

import pytest
import torch
from torch.utils.data import DistributedSampler

from helpers.outcomes import retold
from helpers.painted import paint_both
from helpers.tiny_runs import free_port
from helpers.two_ranks import started
from pretrain.engine.checkpoint import export_trunk
from pretrain.models.trunks import build_trunk
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from tools import evaluate
from transfer import results
from transfer.features import cache

QUICK = ["image_size=16", "workers=0", "device=cpu", "threads=1"]
FROZEN = ["batch_size=4", "head.batch_size=7"]
RUNS = {
    "fast": [
        "knn,linear,transfer",
        *FROZEN,
        "probe=fast",
        "head.epochs=8",
        "head.lrs=[0.03,0.01]",
        "head.weight_decays=[1e-4]",
        "penalties=3",
        "weakest=0.01",
    ],
    "augmented": [
        "linear",
        *FROZEN,
        "probe=augmented",
        "head.epochs=2",
        "head.lrs=[1.0,0.1]",
        "head.weight_decays=[0.0]",
    ],
    "semi": ["semi", "batch_size=8", "fraction=0.5", "epochs=2", "lr_trunk=0.5", "lr_head=5"],
    "sweep": ["semi", "batch_size=8", "fraction=0.5", "epochs=1", "sweep=[0.01,1.0]", "sweep_images=5"],
}


def command(place, out, name):
    task, *more = RUNS[name]
    where = ["--checkpoint", f"{place}/trunk.pth", "--data", f"{place}/colours", "--out", f"{out}/{name}-{{task}}.json"]
    return [task, *where, *QUICK, *more, *([] if task == "semi" else [f"cache={out}/cache"])]


def join(rank, world_size, ports, place, out):
    torch.set_num_threads(1)
    cache.PART = 4  # parts for each of the two
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
    }
    for name, port in zip(RUNS, ports[:-1], strict=True):
        os.environ["MASTER_PORT"] = str(port)
        evaluate.main(command(place, out, name))
    os.environ["MASTER_PORT"] = str(ports[-1])
    distributed.start(torch.device("cpu"))
    dealt = {}
    for count in (1, 2, 9):
        mine = distributed.share(count)
        assert mine == list(DistributedSampler(range(count), shuffle=False))
        dealt[count] = distributed.gather_rows(torch.tensor(mine)[:, None] * 10.0, mine, count)
    torch.save(dealt, f"{out}/{rank}.pth")
    distributed.stop()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("place")
    paint_both(root / "colours", train=7, val=3)  # 21 and 9 images: odd, so that one rank is dealt a copy
    torch.manual_seed(0)
    export_trunk(root / "trunk.pth", build_trunk("resnet18")[0], "resnet18", {"step": 1, "seed": 0})
    return root


@pytest.fixture(scope="module")
def two_ranks(place, tmp_path_factory):
    out = tmp_path_factory.mktemp("two")
    started(join, (2, [free_port() for _ in (*RUNS, "dealing")], str(place), str(out)))
    return out


def test_a_padded_share_counts_once(two_ranks):
    for rank in range(2):
        for count, rows in torch.load(two_ranks / f"{rank}.pth", weights_only=True).items():
            assert rows[:, 0].tolist() == [10.0 * place for place in range(count)]


@pytest.mark.parametrize("name", RUNS)
def test_two_ranks_equal_one_process(two_ranks, place, tmp_path, name):
    evaluate.main(command(place, tmp_path, name))
    files = sorted(path.name for path in tmp_path.glob("*.json"))
    assert files == sorted(path.name for path in two_ranks.glob(f"{name}-*.json")) and files
    for file in files:
        alone, together = results.load(tmp_path / file), results.load(two_ranks / file)
        assert together.metrics == pytest.approx(alone.metrics) and together.counts == alone.counts
        for result, folder in ((alone, tmp_path), (together, two_ranks)):
            assert retold(result, folder)[0] == list(result.metrics)
        found, expected = (result.settings["found"] for result in (together, alone))
        assert found.pop("held_out_top1", {}) == pytest.approx(expected.pop("held_out_top1", {}))
        # weights changed by 1e-7 move the loss of a fine-tuning by up to 2e-4; of the head it is this rank's rows'
        near = 1e-3 if alone.task == "semi" else 0.3
        assert found.pop("last_loss", 0) == pytest.approx(expected.pop("last_loss", 0), rel=near)
        assert found == expected


@pytest.mark.parametrize(("task", "told"), [("knn", "give cache=FOLDER"), ("semi", "batch_size=7 cannot be shared")])
def test_what_several_processes_cannot_share_is_told(place, tmp_path, monkeypatch, task, told):
    monkeypatch.setenv("WORLD_SIZE", "2")
    where = ["--checkpoint", f"{place}/trunk.pth", "--data", f"{place}/colours", "--out", f"{tmp_path}/r.json"]
    with pytest.raises(UserError, match=told):
        evaluate.main([task, *where, "image_size=16", "batch_size=7"])

"""Which device a process gets. There is no GPU here: what torch says of them is put in its place."""

from __future__ import annotations

import pytest
import torch

from pretrain.augment.multicrop import Batch
from pretrain.config import Config, load
from pretrain.engine.loading import on_device
from pretrain.engine.validate import ready
from pretrain.runtime import provenance
from pretrain.runtime.devices.device import choose_device
from pretrain.runtime.errors import UserError
from pretrain.train import _slow_launches


@pytest.fixture
def gpus(monkeypatch):
    """Let torch see a number of GPUs from a process of a local rank; the devices that were made current."""
    current = []

    def see(count, local_rank=0):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "set_device", current.append)
        monkeypatch.setenv("LOCAL_RANK", str(local_rank))
        return current

    return see


def test_auto_takes_the_gpu_of_its_local_rank_and_makes_it_current(gpus):
    current = gpus(4, local_rank=2)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda", 2)
    assert current == [torch.device("cuda", 2)] * 2


def test_a_cpu_is_taken_where_it_is_asked_for_or_all_there_is(gpus):
    assert gpus(4) == [] and choose_device("cpu") == torch.device("cpu")
    assert gpus(0) == [] and choose_device("auto") == torch.device("cpu")


@pytest.mark.parametrize(
    "count, local_rank, name, said",
    [
        (0, 0, "cuda", "--device=cuda, but torch sees no GPU: use --device=cpu"),
        (2, 2, "auto", "process 2 of this machine has no GPU of its own, since torch sees 2: start at most 2"),
        (1, 0, "gpu", "--device=gpu is not known: choose one of auto, cpu, cuda"),
    ],
)
def test_a_device_that_is_not_there_is_told_with_its_option(gpus, count, local_rank, name, said):
    current = gpus(count, local_rank)
    with pytest.raises(UserError, match=said):
        choose_device(name, "--device")
    assert current == []


def test_pretraining_makes_its_gpu_current_before_anything_else_touches_cuda(gpus):
    current = gpus(2, local_rank=1)
    assert ready(load(Config, None, ["run_dir=r", "data.root=d"])) == torch.device("cuda", 1)
    assert current == [torch.device("cuda", 1)] and not torch.cuda.is_initialized()


@pytest.fixture
def backends():
    """torch's settings of its backends, put back afterwards."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark
    yield lambda: (cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark)
    cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = before


def test_fp32_is_fp32_unless_asked_and_pretraining_lets_cudnn_choose_its_kernels(gpus, backends, monkeypatch):
    gpus(1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "H100")
    choose_device("auto")
    assert backends() == (False, False, False) and provenance.hardware() == "1 x H100, TF32 off"
    ready(load(Config, None, ["run_dir=r", "data.root=d"]))
    assert backends() == (False, False, True)
    ready(load(Config, None, ["run_dir=r", "data.root=d", "run.tf32=true"]))
    assert backends() == (True, True, True) and provenance.command().endswith("\nhardware 1 x H100, TF32 on\n")


@pytest.mark.parametrize("count, word, said", [(0, "", "needs a GPU"), (1, "run.compile=false", "needs run.compile")])
def test_cuda_graphs_are_refused_where_nothing_is_compiled_for_a_gpu(gpus, count, word, said):
    gpus(count)
    with pytest.raises(UserError, match=f"run.cuda_graphs=true {said}.*: leave it out"):
        ready(load(Config, None, ["run_dir=r", "data.root=d", "run.cuda_graphs=true", *word.split()]))


@pytest.mark.parametrize(
    "device, words, told",
    [
        ("cuda", "optim.batch_size=64", True),
        ("cuda", "optim.batch_size=128", False),
        ("cuda", "optim.batch_size=128 optim.accumulate=2", True),
        ("cuda", "optim.batch_size=64 run.cuda_graphs=true", False),
        ("cuda", "optim.batch_size=64 run.compile=false", False),
        ("cpu", "optim.batch_size=64", False),
    ],
)
def test_a_run_of_few_images_on_a_gpu_hears_of_cuda_graphs(device, words, told):
    cfg = load(Config, None, ["run_dir=r", "data.root=d", *words.split()])
    assert ("try run.cuda_graphs=true" in _slow_launches(cfg, torch.device(device))) == told


@pytest.mark.skipif(not torch.cuda.is_available(), reason="copies to a GPU")
def test_batches_arrive_on_the_gpu_whole_and_in_their_order():
    source = [torch.randint(0, 255, (2, 64, 3, 96, 96), dtype=torch.uint8).pin_memory() for _ in range(6)]
    device, busy = torch.device("cuda"), torch.randn(4096, 4096, device="cuda")
    batches = (Batch((crops,), (crops.float()[..., 0, 0, 0],), [str(place)]) for place, crops in enumerate(source))
    for place, batch in enumerate(on_device(batches, device)):
        for _ in range(20):
            busy = busy @ busy / 4096  # the steps' stream is behind
        assert torch.equal(batch.crops[0].cpu(), source[place]) and batch.unreadable == [str(place)]


def test_batches_for_a_cpu_are_passed_on_as_they_are():
    given = [Batch((torch.zeros(1),), None, [str(place)]) for place in range(3)]
    passed = list(on_device(iter(given), torch.device("cpu")))
    assert all(one is other for one, other in zip(passed, given, strict=True))

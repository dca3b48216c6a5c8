"""What tools/scaling.py computes from the shapes is what real gloo ranks send and hold.

Two ranks and few rows here; `UNIGRAD_SCALING_RANKS=2,4,8 pytest tests/tools/test_scaling.py` takes all rows and
that many processes (several minutes).
"""

from __future__ import annotations

import os
from functools import cache

import pytest
import torch

from helpers.collectives import Listening
from helpers.tiny_runs import TINY, free_port
from helpers.two_ranks import started
from pretrain.augment.multicrop import Batch
from pretrain.config import Config, load
from pretrain.engine.learner import build
from pretrain.methods import ROWS, keywords
from pretrain.methods.collectives import Sent
from pretrain.methods.memory import CurrentBatch
from pretrain.runtime import distributed
from pretrain.runtime.errors import run_tool
from pretrain.step import step
from tools import scaling
from tools.benchmarks import step_cost

ASKED = os.environ.get("UNIGRAD_SCALING_RANKS")
RANKS = [int(count) for count in (ASKED or "2").split(",")]
IMAGES, WIDTH = 16, 16
LOCAL = "views.local_count=1 views.local_size=16"
EVERYTHING = f"{LOCAL} mixing.cutmix_alpha=1 optim.accumulate=2"
FEW = ("unigrad", "simclr", f"byol {LOCAL}", f"barlow_twins method.positive_target=stop_gradient {EVERYTHING}")
MANY = (
    *(row for row in ROWS if row not in FEW),
    "unigrad run.precision=bf16 optim.optimiser=lars",
    f"unigrad method.negative_target=stop_gradient optim.momentum=0 {EVERYTHING}",
    f"vicreg {LOCAL}",
    f"vicreg_l2 {LOCAL}",
)
CASES = FEW + (MANY if ASKED else ())
REMEMBERED = ("corr", "through", "rows")  # buffers that are a method's memory


def configured(name):
    name, *words = name.split()
    queue = ["method.queue_size=64"] if "queue_size" in keywords(name) else []
    asked = [f"method.name={name}", f"optim.batch_size={IMAGES}", *words, *queue]
    return [*TINY, "run_dir=r", "data.root=d", *asked]


def batch_of(cfg, ranks):
    sizes = [(2, cfg.views.size), *([(cfg.views.local_count, cfg.views.local_size)] if cfg.views.local_count else [])]
    return Batch(
        tuple(torch.randint(0, 255, (views, IMAGES // ranks, 3, size, size)).byte() for views, size in sizes), None, []
    )


def nbytes(values):
    return sum(value.nbytes for value in values if isinstance(value, torch.Tensor))


def third_step(name, ranks):
    """What this rank hands to collectives in a run's third step (DDP settles its buckets before), and then holds."""
    cfg = load(Config, None, configured(name))
    learner = build(cfg, torch.device("cpu"))
    for done in (0, 1):
        step(learner, batch_of(cfg, ranks), done, 3)
    with Listening() as listening:
        step(learner, batch_of(cfg, ranks), 2, 3)
    heard = [(each.op, each.bytes, each.dtype) for each in listening.heard]
    return heard, held_by(learner, IMAGES // ranks)


def held_by(learner, images):
    """Bytes of what a learner holds between two steps, the F behind the effective rank included."""
    learner.health.observe(torch.randn(2, images, WIDTH))
    learning = [*learner.model.online.parameters(), *learner.form.parameters()]
    samples = getattr(learner.form, "samples", None)
    gathered = [samples.rows] if isinstance(samples, CurrentBatch) else []
    buffers = [*learner.form.named_buffers(), *learner.health.named_buffers()]
    memory = [value for name, value in buffers if name.rpartition(".")[2] in REMEMBERED]
    other = [value for name, value in buffers if name.rpartition(".")[2] not in REMEMBERED]
    return {
        "parameters": nbytes([*learner.model.state_dict().values(), *learner.form.parameters(), *other]),
        "gradients": nbytes(value.grad for value in learning),
        "optimiser": nbytes(each for state in learner.optimizer.state.values() for each in state.values()),
        "memory": nbytes([*memory, *gathered]),
    }


def join(rank, ranks, port, path):
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.start(torch.device("cpu"))
    torch.save({name: third_step(name, ranks) for name in CASES}, f"{path}/{rank}.pth")
    distributed.stop()


@pytest.fixture(scope="module", params=RANKS)
def ranks_seen(request, tmp_path_factory):
    """(number of ranks, what each heard and held by case)."""
    path, ranks = tmp_path_factory.mktemp("ranks"), request.param
    started(join, (ranks, free_port(), str(path)), ranks)
    return ranks, [torch.load(path / f"{rank}.pth") for rank in range(ranks)]


@cache
def planned(name):
    return step_cost.step_cost(None, configured(name))


@pytest.mark.parametrize("name", CASES)
def test_bytes_and_numbers_of_collectives_are_those_of_real_ranks(ranks_seen, name):
    ranks, seen = ranks_seen
    for heard, _ in (each[name] for each in seen):
        sent = planned(name).sent(ranks)
        for op in ("all_reduce", "all_gather"):
            own = [size for other, size, _ in heard if other == op.replace("_", "") + "_"]
            assert sum(each.bytes for each in sent if each.op == op) == sum(own)
            assert sum(each.calls for each in sent if each.op == op) == len(own)
        forward = [size for _, size, dtype in heard if dtype == torch.float64]
        moments = [each for each in sent if each.kind in ("moments, online", "moments, target")]
        assert (sum(each.bytes for each in moments), sum(each.calls for each in moments)) == (
            sum(forward),
            len(forward),
        )


@pytest.mark.parametrize("name", CASES)
def test_memory_between_steps_is_that_of_real_ranks(ranks_seen, name):
    ranks, seen = ranks_seen
    for _, held in (each[name] for each in seen):
        expected = planned(name).held(ranks)
        assert {key: expected[key] for key in held} == held


def test_a_ring_moves_twice_what_is_reduced_and_once_what_is_gathered():
    """R ranks, each with 1/R of S bytes in hand at a time: R-1 rounds to add them up, R-1 more to hand them round."""
    for ranks in (2, 8, 1024):
        whole = 3 * ranks
        assert Sent("F", "all_reduce", whole, 1).wire(ranks) == 2 * (ranks - 1) * (whole // ranks)
        assert Sent("rows", "all_gather", whole // ranks, 1).wire(ranks) == (ranks - 1) * (whole // ranks)


def test_a_batch_that_does_not_split_is_told_in_its_line():
    text = step_cost.tables(planned("unigrad"), 8, step_cost.Assumed(400.0, 12.5, 20.0, 1300.0))
    lines = [line for line in text.splitlines() if "does not split" in line]
    assert [line.split(" | ")[0] for line in lines] == ["| 4", "| 8", "| 16", "| 32", "| 64", "| 128"]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["method.name=unigard"], "did you mean unigrad?"),
        (["optim.batch_size=12"], "optim.batch_size=12 does not split"),
        (["optim.batch_size=3", "--per-node", "1"], "one process sends nothing"),
        (["--latency", "0"], "'0' is not a number above 0"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        run_tool(lambda: scaling.main(arguments))
    assert ended.value.code == 2
    assert said in capsys.readouterr().err

"""A run that is asked to stop, or killed while it writes, goes on bit for bit; and a folder holds one run at a time."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
import torch

from helpers import tool_process, two_ranks
from helpers.tiny_runs import (
    ONE_THREAD,
    assert_same_run,
    command,
    configure,
    curves,
    free_port,
    last_checkpoint,
    write_images,
)
from pretrain.engine import checkpoint
from pretrain.runtime import distributed
from pretrain.runtime.errors import STOPPED, UserError
from pretrain.runtime.lock import lock_run_folder
from pretrain.runtime.processes.signals import Stopping, Wish
from pretrain.train import train

# lines of 3 steps in a run of 16, so that a stop falls between two of them
STEPS, EVERY = 16, 3
WORDS = [
    "optim.epochs=8",
    f"run.log_every={EVERY}",
    "run.checkpoint_every_epochs=5",
    "method.balance=1",
    "optim.base_lr=0.2",
]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def uninterrupted(images, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    train(configure(images, run_dir, *WORDS))
    return run_dir


def _asked_to_stop(words: list[str], number: signal.Signals) -> tuple[int, str]:
    """Every process of the run gets the signal, as SLURM, a container's end and `timeout` send it."""
    with tool_process.started(words, ONE_THREAD, apart=True) as tool:
        tool.wait_for_line(f"step {EVERY}/")
        os.killpg(tool.pid, number)
        done = tool.end()
    return done.returncode, done.stdout


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_from_which_the_run_goes_on_bit_for_bit(images, uninterrupted, tmp_path, number):
    run_dir = tmp_path / "run"
    code, said = _asked_to_stop(command(images, run_dir, *WORDS, "data.workers=1"), number)
    step = last_checkpoint(run_dir)["step"]
    assert code == STOPPED and EVERY <= step < STEPS, said
    assert said.splitlines()[-1].startswith(f"stopped by {number.name} after step {step} of {STEPS}, kept in {run_dir}")
    train(configure(images, run_dir, *WORDS))
    assert_same_run(uninterrupted, run_dir)


def test_going_on_with_another_number_of_processes_works_and_is_said_not_to_be_bit_for_bit(
    images, uninterrupted, tmp_path
):
    run_dir = tmp_path / "run"
    _asked_to_stop(command(images, run_dir, *WORDS), signal.SIGUSR2)
    ranks = two_ranks.tools(*[(command(images, run_dir, *WORDS), {})] * 2)
    assert [rank.returncode for rank in ranks] == [0, 0], [rank.stderr for rank in ranks]
    assert "2 processes instead of 1: the run goes on, but not bit for bit" in ranks[0].stdout
    lines = curves(run_dir), curves(uninterrupted)
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]]
    assert lines[0][1]["positive"] == pytest.approx(lines[1][1]["positive"], rel=1e-3)


def test_what_a_killed_process_left_half_written_is_cleared_away_and_never_read(tmp_path):
    parts = {"model": torch.nn.Linear(2, 2)}
    checkpoint.save(tmp_path, 3, parts, {}, 2, monitor=[])
    half = tmp_path / "checkpoints/.step_00000006.pth.123.part"
    half.write_bytes(b"PK cut short")
    assert checkpoint.newest(tmp_path, pytest.fail)[1]["step"] == 3
    checkpoint.save(tmp_path, 6, parts, {}, 2, monitor=[])
    assert not half.exists() and checkpoint.newest(tmp_path, pytest.fail)[1]["step"] == 6


def test_a_full_disk_keeps_the_earlier_checkpoints_and_is_told(tmp_path):
    checkpoint.save(tmp_path, 3, {"model": torch.nn.Linear(2, 2)}, {}, 1, monitor=[])
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path / "checkpoints"]).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        checkpoint.save(tmp_path, 6, {"model": torch.nn.Linear(2, 2)}, {}, 1, monitor=[])
        with pytest.raises(UserError, match=r"step 9 could not be written .*the newest is .*step_00000006.pth: free"):
            checkpoint.save(tmp_path, 9, {"model": torch.nn.Linear(200, 200)}, {}, 1, monitor=[])
        assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000006.pth"]
    finally:
        subprocess.run(["umount", tmp_path / "checkpoints"], check=True)


def test_a_folder_holds_one_run(tmp_path):
    told: list[str] = []
    with lock_run_folder(tmp_path, told.append):
        second = lock_run_folder(tmp_path, told.append, here=0)
        with pytest.raises(UserError, match=f"another process trains in {tmp_path} .*process {os.getpid()}"), second:
            pass
        assert told == []
        (tmp_path / ".lock").write_text("elsewhere 12\n")
        third = lock_run_folder(tmp_path, told.append, elsewhere=1)
        with pytest.raises(UserError, match="on elsewhere, process 12"), third:
            pass
        assert told == [f"waiting for {tmp_path}/.lock, which elsewhere holds (at most 1 s)"]
    with lock_run_folder(tmp_path, told.append, here=0):
        pass


def test_a_second_run_in_the_same_folder_is_refused(images, tmp_path):
    with lock_run_folder(Path(tmp_path), print):
        told = tool_process.run(command(images, tmp_path), timeout=120)
    assert told.returncode == 2 and "another process trains in" in told.stderr and "Traceback" not in told.stderr


def _rank(rank: int, port: int, folder: str) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.start(torch.device("cpu"))
    wish = Wish()
    stopping = Stopping(wish)
    answers = []
    for step in range(6):
        if (rank, step) == (1, 2):
            wish.signal = signal.SIGUSR2
        answers.append(stopping.agreed())
    stopping.finish()
    torch.save(answers, f"{folder}/{rank}.pth")
    try:
        distributed.on_rank_0(lambda: lock_run_folder(Path("/proc/nowhere"), print).__enter__())
    except UserError as error:
        Path(folder, f"{rank}.txt").write_text(str(error))
    distributed.stop()


def test_one_rank_that_was_asked_stops_all_at_the_same_step_and_a_failure_of_rank_0_is_everybodys(tmp_path):
    two_ranks.started(_rank, (free_port(), str(tmp_path)))
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pth", weights_only=True) == [False, False, False, True, True, True]
        assert "/proc/nowhere cannot be written" in (tmp_path / f"{rank}.txt").read_text()

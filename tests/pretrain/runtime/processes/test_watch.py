"""No loader hangs a run: late batches, stuck, dead and refusing workers end it in one sentence, and at once."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from helpers import tool_process
from helpers.repository import ROOT
from helpers.tiny_runs import ONE_THREAD, command, configure, last_checkpoint, write_images
from pretrain.data.loader import StepSampler
from pretrain.data.sources import open_source
from pretrain.engine import checkpoint
from pretrain.engine.loading import make_loader, patience_of
from pretrain.runtime.errors import UserError
from pretrain.runtime.processes import shared_memory
from pretrain.runtime.processes.interrupts import starting_processes
from pretrain.runtime.processes.pool import mapped
from pretrain.runtime.processes.watch import Patience, deaths_told, watched
from pretrain.runtime.processes.workers import init_worker
from pretrain.train import train

BRIEFLY = Patience(0.01, "the folder", "data.workers", "run.timeout_minutes")
LONG = Patience(5, "the folder", "data.workers", "run.timeout_minutes", 7)


class Deed(Dataset):
    """Three batches; a worker does something else before the second."""

    def __init__(self, deed):
        self.deed = deed

    def __len__(self):
        return 3

    def __getitem__(self, index):
        if index == 1:
            return self.deed()
        return torch.zeros(4)


def sleep():
    time.sleep(600)


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def leave():
    os._exit(3)


def refuse():
    raise UserError("no file under F can be decoded, for example f (Odd).")


def unsendable():
    return lambda: None


def no_room():
    class Full:
        def __reduce__(self):
            raise RuntimeError("unable to allocate shared memory(shm) for file </t>: No space left on device (28)")

    return Full()


def run(deed, workers, patience):
    loader = DataLoader(Deed(deed), num_workers=workers, worker_init_fn=init_worker, batch_size=None)
    return list(watched(loader, patience))


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("deed", [sleep, stop])
def test_a_batch_that_does_not_come_ends_in_a_sentence_and_leaves_no_worker(deed, workers):
    if deed is stop and not workers:
        pytest.skip("it would stop the test itself")
    before = signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGCHLD)
    with pytest.raises(
        UserError, match=r"no image has come for 0.01 minutes: the disk of the folder .*raise run.timeout"
    ):
        run(deed, workers, BRIEFLY)
    assert not multiprocessing.active_children()
    assert signal.getsignal(signal.SIGALRM) == before[0] and signal.getitimer(signal.ITIMER_REAL) == (0, 0)


DEATHS = {
    die: r"a worker that reads the folder has died \(Killed\), .* lower data.workers",
    leave: r"a worker that reads the folder has died \(exit code 3\)",
    unsendable: r"a worker that reads the folder has died \(exit code 74\)",
    no_room: r"/dev/shm, is full \(the workers need 7 MiB\): give it more",
    refuse: r"^no file under F can be decoded, for example f \(Odd\)\.$",
}


@pytest.mark.parametrize("deed", DEATHS, ids=lambda deed: deed.__name__)
def test_a_worker_that_cannot_go_on_ends_it_at_once(deed):
    begun = time.monotonic()
    with pytest.raises(UserError, match=DEATHS[deed]):
        run(deed, 2, LONG)
    assert time.monotonic() - begun < 60  # of five minutes that it had


def kill(path):
    os.kill(os.getpid(), signal.SIGKILL)


def wait(path):
    time.sleep(600)


@pytest.mark.parametrize(
    ("deed", "told"), [(kill, "worker that reads the folder has died"), (wait, "no image has come")]
)
def test_packing_does_not_wait_for_a_worker_that_is_gone_or_stuck(deed, told):
    patience = LONG if deed is kill else BRIEFLY
    with pytest.raises(UserError, match=told):
        list(watched(mapped(deed, 2, (Path("a"), Path("b"))), patience))


def test_an_alarm_while_workers_start_is_answered_once_they_have_started():
    heard, before = [], signal.signal(signal.SIGALRM, lambda number, _: heard.append(number))
    try:
        with starting_processes():
            signal.raise_signal(signal.SIGALRM)
            assert not heard
        assert heard == [signal.SIGALRM]
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_worker_that_dies_while_a_batch_is_taken_from_it_is_told(error):
    def broken():
        yield 1
        raise error

    with pytest.raises(UserError, match="a worker that reads the folder has died"):
        list(watched(broken(), LONG))


def test_what_is_no_fault_of_a_loader_passes_through():
    def broken():
        yield 1
        raise RuntimeError("a defect")

    assert list(watched([1, 2, 3], BRIEFLY)) == [1, 2, 3]
    with pytest.raises(RuntimeError, match="a defect"):
        list(watched(broken(), BRIEFLY))


def test_time_between_batches_does_not_count():
    met = []
    for one in watched(range(3), BRIEFLY):
        time.sleep(0.4)  # together more than the limit of 0.6 s
        met.append(one)
    assert met == [0, 1, 2]


def test_a_wait_that_no_signal_ends_is_left_all_the_same():
    """As in a read that the kernel never ends; here the wait is not in the main thread, where signals arrive."""
    code = (
        "import sys, threading, time; from pretrain.runtime.processes import watch; watch.LAST_RESORT = 0.5\n"
        "from pretrain.runtime.processes.watch import Patience, watched\n"
        "def slow():\n    time.sleep(600); yield 1\n"
        "wait = lambda: list(watched(slow(), Patience(0.01, 'F', 'workers')))\n"
        "thread = threading.Thread(target=wait); thread.start(); thread.join()"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert told.returncode == 2 and told.stderr.startswith("error: no image has come for 0.01 minutes: the disk of F")
    assert told.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


def test_a_run_whose_worker_is_stuck_keeps_its_checkpoint_and_goes_on_from_it(images, tmp_path):
    """The worker is stopped from outside, as a dead file server stops it."""
    words = ["run.timeout_minutes=0.2", "data.workers=1", "optim.epochs=2000", "run.checkpoint_every_epochs=0"]
    words.append("run.stop_on_collapse=false")
    run_dir = tmp_path / "run"
    with tool_process.started(command(images, run_dir, *words), ONE_THREAD) as tool:
        tool.wait_for_line("step 3/")
        for child in Path(f"/proc/{tool.pid}/task/{tool.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGSTOP)
        done = tool.end(120)
    told = done.stderr
    assert done.returncode == 2 and "no image has come for 0.2 minutes" in told and "Traceback" not in told, told
    step = last_checkpoint(run_dir)["step"]
    assert step >= 3
    train(configure(images, run_dir, *words, f"optim.epochs={step // 2 + 1}", "data.workers=0"))
    assert last_checkpoint(run_dir)["step"] > step or step % 2 == 0


def test_shortage_is_what_the_file_system_says(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    assert shared_memory.shortage(free // 2, "workers", tmp_path) == ""
    told = shared_memory.shortage(free * 2, "workers", tmp_path)
    assert f"need {-(-2 * free // 2**20)} MiB of shared memory" in told and "lower workers" in told
    assert shared_memory.shortage(10**15, "workers", tmp_path / "nowhere") == ""


def test_the_need_is_what_waiting_batches_take(images, tmp_path):
    """Two workers run four batches ahead of the one in use; what is held is read from the kernel's tables."""
    words = ["data.workers=2", "optim.batch_size=20", "optim.epochs=40", "views.size=64", "views.local_count=2"]
    cfg = configure(images, tmp_path, *words, "views.local_size=40")
    source = open_source(images)
    loader = make_loader(cfg, source, StepSampler(20, 20, 40, 0), torch.device("cpu"))
    batches, others = watched(loader, patience_of(cfg)), set(shared_files(os.getpid()))
    next(batches)
    deadline = time.monotonic() + 300
    while (taken := bytes_of(shared_by_all() - others)) < 9 * batch_bytes():
        assert time.monotonic() < deadline, f"{taken} bytes"
        time.sleep(0.1)
    time.sleep(2)  # in which they would go on, if they were let
    taken = bytes_of(shared_by_all() - others)
    assert 9 * batch_bytes() <= taken < 10 * batch_bytes()
    batches.close()
    assert taken <= patience_of(cfg).need * 2**20 <= taken * 1.3


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_workers_that_are_not_forked_make_the_same_views(images, tmp_path, method):
    def first(workers):
        loader = make_loader(cfg, source, StepSampler(20, 8, 1, 0), torch.device("cpu"))
        loader.num_workers, loader.prefetch_factor = workers, 2 if workers else None
        return next(watched(loader, LONG)).crops[0]

    cfg, source, before = configure(images, tmp_path), open_source(images), multiprocessing.get_start_method()
    alone = first(0)
    multiprocessing.set_start_method(method, force=True)
    try:
        assert torch.equal(first(1), alone)
    finally:
        multiprocessing.set_start_method(before, force=True)


def batch_bytes():
    return 20 * 3 * (2 * 64**2 + 2 * 40**2)


def shared_by_all():
    """Files of this process, which may have taken batches that come later, and of its workers."""
    pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    return {file for pid in pids for file in shared_files(pid)}


def bytes_of(files):
    return sum(size for _, size in files)


def shared_files(pid):
    """(inode, size) of the torch tensors in shared memory that a process holds open."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if "torch_" in os.readlink(link):
                yield os.stat(link).st_ino, os.stat(link).st_size
        except FileNotFoundError:
            continue


def tiny_shared_memory(size, *words):
    """Run a command with a /dev/shm of that size; needs the right to mount."""
    script = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"'
    return subprocess.run(
        ["unshare", "-m", "bash", "-c", script, "-", *words],
        capture_output=True,
        text=True,
        env=ONE_THREAD,
        timeout=200,
    )


@pytest.fixture(scope="module")
def mounts():
    if shutil.which("unshare") is None or tiny_shared_memory("1m", "true").returncode:
        pytest.skip("this user may not mount")


@pytest.mark.usefixtures("mounts")
def test_shared_memory_that_is_too_small_is_told_before_the_start_with_the_need(images, tmp_path):
    words = command(images, tmp_path / "run", "data.workers=2", "views.size=64", "optim.batch_size=16")
    told = tiny_shared_memory("1m", *words)
    need = -(-(2 * 4 + 2) * 16 * 2 * (3 * 64**2 + 4 * 11) // 2**20)
    assert told.returncode == 2 and told.stderr.count("error: ") == 1 and "Traceback" not in told.stderr
    assert f"need {need} MiB of shared memory, and /dev/shm has 1 MiB free" in told.stderr
    assert not (tmp_path / "run" / "checkpoints").exists()


class Interrupted:
    """A network whose state is asked for at the moment at which torch tells of a worker's death."""

    def state_dict(self):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")


def test_a_worker_that_dies_while_a_checkpoint_is_written_is_no_fault_of_the_disk(tmp_path):
    with (
        pytest.raises(UserError, match=r"a worker that reads the folder has died \(Killed\), most often"),
        deaths_told(LONG),
    ):
        checkpoint.save(tmp_path, 3, {"network": Interrupted()}, {}, keep=2)

"""The launcher without SLURM: what it decides and tells, and what its tasks are on this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from helpers import tool_process
from helpers.repository import ROOT
from pretrain.runtime.errors import UserError
from tools import launch
from tools.launcher import cli, job_record, plan, schedulers, submission
from tools.launcher.request import Launch, Request
from tools.launcher.worker import exit_codes
from tools.launcher.worker import logs as joblogs
from tools.launcher.worker import rank as ranks

TELL = """
import json, os, sys
names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
print(json.dumps({name: os.environ.get(name) for name in names}))
"""


def _launch(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools/launch.py"), *arguments]
    return tool_process.run(command, {**os.environ, **environment}, folder, 600)


def _run_here(code: str, count: int, folder: Path) -> tuple[dict[int, exit_codes.Exit], str]:
    request, commands = Request("test", tasks=count), ((sys.executable, "-c", code),)
    asked = Launch("local", "evaluate", commands, str(folder), request, folder, {"CUDA_VISIBLE_DEVICES": ""})
    record = job_record.new_record(asked, schedulers.find_scheduler("local").submit(asked))
    return submission.attend(record), record.job_id


def test_without_slurm_one_sentence_names_the_local_way(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    done = _launch("--nodes", "8", "data.root=images", folder=tmp_path, PATH="")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "no SLURM" in done.stderr and "--cluster local" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_dry_run_needs_no_slurm_writes_nothing_and_shows_everything(tmp_path: Path) -> None:
    options = ["--nodes", "8", "--time", "1d2h30m", "--partition", "gpu", "--account", "me", "--qos", "high"]
    options += ["--constraint", "h200", "--exclude", "n[1-2]", "--mem", "64G", "--slurm", "reservation=r 1"]
    options += ["--slurm", "exclusive", "--cpus", "12", "--run-dir", "my run", "--dry-run"]
    done = _launch(*options, "data.root=images", "optim.epochs=7", folder=tmp_path, PATH="")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for line in (
        "--nodes=8", "--ntasks-per-node=8", "--gpus-per-node=8", "--time=1590", "--partition=gpu", "--account=me",
        "--qos=high", "--constraint=h200", "--exclude='n[1-2]'", "--mem=64G", "--reservation='r 1'", "--exclusive",
        "--cpus-per-task=12", "--job-name=unigrad_r50_100ep", "--signal=B:USR2@120",
    ):  # fmt: skip
        assert f"#SBATCH {line}" in lines
    srun = next(line for line in lines if line.startswith("srun"))
    assert "--kill-on-bad-exit=1" in srun and "--cpus-per-task=12" in srun
    assert "64 task(s)" in done.stdout and re.search(r"/my run/code/\w+/tools/pretrain.py' --config", done.stdout)
    resolved = yaml.safe_load(done.stdout.partition("# resolved configuration:")[2])  # long paths are wrapped
    assert resolved["optim"]["epochs"] == 7 and resolved["run_dir"] == f"{tmp_path}/my run"
    assert list(tmp_path.iterdir()) == []


def test_default_is_pretraining_the_paper(tmp_path: Path) -> None:
    tool, args, arguments = cli.split_arguments(["--nodes", "8", "data.root=images"])
    decided = plan.plan(tool, args, arguments)
    assert (decided.cluster, decided.tool, decided.request.nodes, decided.request.gpus) == ("slurm", "pretrain", 8, 8)
    ((_, _, option, named, *_),) = decided.commands
    config = Path(named)
    assert option == "--config"
    assert config == ROOT / "configs/pretrain/unigrad_r50_100ep.yaml" and config.is_file()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["pretrian", "--nodes", "8"], "did you mean 'pretrain'"),
        (["--node", "8", "data.root=x"], "did you mean '--nodes'"),
        (["data.rot=x"], "did you mean 'data.root'"),
        ([], "data.root is not set"),
        (["--cluster", "local", "data.root=absent"], "does not exist"),
        (["--cluster", "local", "--nodes", "2", "data.root=."], "--tasks N"),
        (["--time", "3m", "data.root=."], "SLURM warns"),
        (["--tasks", "0", "data.root=."], "--tasks 0 is below 1"),
        (["convert", "--tasks", "2", "x"], "one process"),
        (["evaluate", "--trials", "5", "knn"], "needs to be 1 or more, and {trial}"),
        (["--trials", "5", "data.root=."], "compare.py --seeds"),
        (["--retries", "-1", "data.root=."], "--retries -1 is below 0"),
        (["--config", "absent.yaml", "data.root=."], "absent.yaml is not a file"),
    ],
)
def test_mistakes_are_told_before_anything_is_submitted(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=told):
        launch.main(arguments)
    assert list(tmp_path.iterdir()) == []


def test_time_without_a_unit_is_refused(tmp_path: Path) -> None:
    done = _launch("--time", "5", "data.root=.", folder=tmp_path)
    assert done.returncode == 2 and "such as 3d12h" in done.stderr


def test_no_option_of_a_tool_looks_like_a_misspelt_one_of_the_launcher() -> None:
    for option in (
        "--config",
        "--show",
        "--checkpoint",
        "--data",
        "--out",
        "--resume",
        "--visualise",
        "--to",
        "--branch",
    ):
        assert cli.split_arguments(["evaluate", option, "x"])[2] == [option, "x"]
    assert cli.split_arguments(["evaluate", "knn", "--", "--node", "x"])[2] == ["knn", "--node", "x"]


def test_a_run_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = _launch("prepare_data", "--cluster", "local", "--run-dir", "file/run", "synthetic", "x", folder=tmp_path)
    assert done.returncode == 2 and "cannot be written" in done.stderr and done.stderr.count("\n") == 1


def test_every_task_knows_its_place(tmp_path: Path) -> None:
    ended, job_id = _run_here(TELL, 3, tmp_path)
    assert [ended[rank].code for rank in range(3)] == [0, 0, 0]
    logs = [joblogs.log_file(tmp_path / "jobs", job_id, rank).read_text().splitlines() for rank in range(3)]
    told = [json.loads(next(line for line in log if line.startswith("{"))) for log in logs]
    assert [entry["RANK"] for entry in told] == [entry["LOCAL_RANK"] for entry in told] == ["0", "1", "2"]
    assert {entry["WORLD_SIZE"] for entry in told} == {"3"} and {entry["MASTER_ADDR"] for entry in told} == {
        "127.0.0.1"
    }
    assert len({entry["MASTER_PORT"] for entry in told}) == 1 and int(told[0]["MASTER_PORT"]) in ranks.PORTS
    assert {entry["CUDA_VISIBLE_DEVICES"] for entry in told} == {""}


def test_a_restarted_job_gets_another_port(monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = schedulers.find_scheduler("slurm")
    variables = {"SUBMITIT_EXECUTOR": "slurm", "SLURM_JOB_ID": "17", "SLURM_JOB_NODELIST": "localhost,unknown.invalid"}
    variables |= {"SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    first = ranks.rendezvous(slurm.rank_environment())
    assert {name: first[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")} == {
        "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost",
    }  # fmt: skip
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert ranks.rendezvous(slurm.rank_environment())["MASTER_PORT"] != first["MASTER_PORT"]
    monkeypatch.setenv("SLURM_JOB_NODELIST", "unknown.invalid,localhost")
    with pytest.raises(SystemExit, match=r"cannot resolve 'unknown\.invalid'"):
        ranks.rendezvous(slurm.rank_environment())
    monkeypatch.setenv("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1")
    assert ranks.rendezvous(slurm.rank_environment())["MASTER_ADDR"] == "127.0.0.1"


def test_gloo_gets_the_network_that_leads_to_the_first_node_unless_one_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    assert ranks.interface_towards("127.0.0.1") == "lo" and ranks.interface_towards("unknown.invalid") is None
    if shutil.which("ip"):  # the kernel's own answer, where this machine has a way out
        asked = subprocess.run(["ip", "-o", "-4", "route", "get", "192.0.2.1"], capture_output=True, text=True)
        if "dev" in (told := asked.stdout.split()):
            assert ranks.interface_towards("192.0.2.1") == told[told.index("dev") + 1]


@pytest.mark.parametrize(
    ("how", "code", "told"),
    [("sys.exit(3)", 3, "exit code 3;"), ("os.kill(os.getpid(), 9)", 137, r"exit code 137 \(SIGKILL\);")],
)
def test_a_failing_task_ends_the_others(tmp_path: Path, how: str, code: int, told: str) -> None:
    script = (
        "import os, pathlib, sys, time\n"
        f"here = pathlib.Path({str(tmp_path)!r})\n"
        "(here / f'started-{os.environ[\"RANK\"]}').touch()\n"
        "while len(list(here.glob('started-*'))) < 3:\n    time.sleep(0.05)\n"  # one not yet started tells nothing
        f"if os.environ['RANK'] == '1':\n    print('why', flush=True)\n    {how}\n"
        "time.sleep(600)"
    )
    ended, job_id = _run_here(script, 3, tmp_path)
    assert ended[1].code == code and {ended[rank].code for rank in (0, 2)} == {128 + signal.SIGTERM}
    failed = exit_codes.first_failure(ended, job_id, 3, tmp_path / "jobs")
    assert failed is not None and failed[0] == code
    assert re.search(told, failed[1]) and failed[1].startswith("rank 1 of 3") and failed[1].endswith("last words: why")


def test_a_rank_that_lost_the_others_is_not_told_for_the_one_that_was_lost(tmp_path: Path) -> None:
    ended = {0: exit_codes.Exit(0, "a", 69, 1.0)}
    told = exit_codes.first_failure(ended, "1", 2, tmp_path)
    assert told is not None and told[0] == 1 and told[1].startswith("rank 1 of 2 ended without telling its exit code")
    ended[1] = exit_codes.Exit(1, "b", 2, 2.0)
    told = exit_codes.first_failure(ended, "1", 2, tmp_path)
    assert told is not None and told[0] == 2 and told[1].startswith("rank 1 of 2 on b ended with exit code 2")


def test_the_tools_exit_code_and_output_come_back(tmp_path: Path) -> None:
    words = ["prepare_data", "--cluster", "local", "--run-dir", "run", "synthetic", "set", "--train", "8", "--val", "8"]
    good = _launch(*words, "--scenes", "1", folder=tmp_path)
    assert good.returncode == 0 and "all synthetic" in good.stdout and "submitit" not in good.stdout
    job = json.loads((tmp_path / "run/job.json").read_text())
    assert job["cluster"] == "local" and job["commands"][0][1].endswith("tools/prepare_data.py")
    assert "all synthetic" in Path(job["log_of_rank_0"]).read_text()
    bad = _launch(*words, "--scenes", "2", folder=tmp_path)
    assert bad.returncode == 2 and "made with other arguments" in bad.stdout
    assert bad.stderr.startswith("error: prepare_data: rank 0 of 1") and bad.stderr.count("\n") == 1


@pytest.mark.parametrize(("retries", "code"), [(1, 0), (0, 137)])
def test_a_crash_here_is_started_again_as_often_as_asked(
    retries: int, code: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    been = "import os, pathlib\nif not pathlib.Path('been').exists():\n    pathlib.Path('been').touch()\n"
    words = (sys.executable, "-c", f"{been}    os.kill(os.getpid(), 9)")
    request = Request("test", retries=retries)
    launched = Launch("local", "evaluate", (words,), str(tmp_path), request, tmp_path / "run", {})
    assert submission.start_launch(launched, follow=True) == code
    told = capfd.readouterr()
    assert ("starting again from the newest checkpoint (retry 1 of 1)" in told.out) == bool(retries)
    assert ("exit code 137 (SIGKILL)" in told.err) == bool(code)


def test_ending_the_launcher_ends_its_tasks(tmp_path: Path) -> None:
    words = ["prepare_data", "--cluster", "local", "--run-dir", str(tmp_path / "run")]
    command = [sys.executable, str(ROOT / "tools/launch.py"), *words, "synthetic", str(tmp_path / "set")]
    process = subprocess.Popen([*command, "--train", "1000000"], stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob(".set.part/classes/train/*/*.jpg")):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 128 + signal.SIGTERM
    (told,) = [json.loads(path.read_text()) for path in (tmp_path / "run/jobs").glob("*_exit.json")]
    assert told["code"] == 128 + signal.SIGTERM
    count = len(list(tmp_path.glob(".set.part/classes/train/*/*.jpg")))
    time.sleep(0.5)
    assert len(list(tmp_path.glob(".set.part/classes/train/*/*.jpg"))) == count

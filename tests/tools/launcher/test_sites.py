"""What clusters differ in: how GPUs are asked for, what a site always needs, what sbatch makes of the environment."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from helpers.launched import planned, script_of
from pretrain.runtime.errors import UserError
from tools import pretrain as pretrain_tool
from tools.launcher import cli, plan, schedulers, snapshot
from tools.launcher.gpus import Gpus, gpus_argument, gpus_in
from tools.launcher.pipeline import spec
from tools.launcher.request import Launch
from tools.launcher.schedulers import slurm
from tools.launcher.site import origins, surroundings


def gpus_asked(launched: Launch) -> list[str]:
    return [line for line in script_of(launched) if line.startswith(("--gpu", "--gres", "--tres"))]


GPUS = {
    "--gpus 4": (["--gpus-per-node=4"], 4),
    "--gpus a100:4": (["--gpus-per-node=a100:4"], 4),
    "--gpus 4 --slurm gpus-per-node=a100:4": (["--gpus-per-node=a100:4"], 4),
    "--gpus 0 --tasks 4 --slurm gres=gpu:4": (["--gres=gpu:4"], 4),
    "--slurm gres=gpu:4": (["--gres=gpu:4"], 4),
    "--slurm gres=gpu:a100:2,gpu:v100:1,license:matlab:9": (["--gres=gpu:a100:2,gpu:v100:1,license:matlab:9"], 3),
    "--slurm gres=gpu:a100:4(S:0-1)": (["--gres=gpu:a100:4(S:0-1)"], 4),
    "--slurm gres=gpu": (["--gres=gpu"], 1),
    "--slurm gpus_per_node=4": (["--gpus-per-node=4"], 4),
    "--nodes 2 --slurm gpus=8": (["--gpus=8"], 4),
    "--slurm gres=shard:2": (["--gpus-per-node=8", "--gres=shard:2"], 8),
    "--gpus 0": ([], 0),
    "--gres gpu:a100:4": (["--gres=gpu:a100:4"], 4),
    "--gres gpu": (["--gres=gpu:8"], 8),
    "--gres gpu:a100 --gpus 2": (["--gres=gpu:a100:2"], 2),
    "--gres gpu --gpus a100:2": (["--gres=gpu:a100:2"], 2),
    "--gres gpu --gpus 0": ([], 0),
}


@pytest.mark.parametrize("words", GPUS)
def test_gpus_are_asked_for_once_and_every_rank_sees_them(words: str) -> None:
    launched = planned(*shlex.split(words.replace("(", "'('").replace(")", "')'")))
    asked, count = GPUS[words]
    assert sorted(gpus_asked(launched)) == sorted(asked)
    assert launched.request.gpus == count and launched.request.tasks == (count or 1)
    assert ("CUDA_VISIBLE_DEVICES" in launched.environment) == (count == 0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--gpus 2 --slurm gres=gpu:4", "differ: keep one"),
        ("--gpus a100:4 --slurm gres=gpu:4", "differ: keep one"),
        ("--slurm gres=gpu:4 --slurm gpus-per-node=2", "4 and for 2 GPUs a node"),
        ("--slurm gpus-per-task=1", "hides a rank's GPU"),
        ("--slurm tres-per-task=gres:gpu:1", "hides a rank's GPU"),
        ("--nodes 3 --slurm gpus=8", "cannot be shared equally by --nodes 3"),
        ("--cluster local --gpus a100:4 data.root=.", "names a kind"),
        ("--gpus 2 --gres gpu:4", "differ: keep one"),
        ("--gres gpu:4 --slurm gpus-per-node=2", "keep one of them"),
        ("--gres shard:4", "asks for no GPU"),
        ("--slurm nodes=2", "use --nodes"),
        ("--slurm ntasks_per_node=2", "use --tasks"),
        ("--slurm time=5", "use --time"),
        ("--slurm --output=x", "use --run-dir"),
        ("--slurm =x", "no option of sbatch"),
        ("--slurm 'a b=c'", "no option of sbatch"),
        ("--slurm 'comment=a\nb'", "the end of a line"),
        ("--partition 'a\n#SBATCH --x'", "the end of a line"),
        ("--setup 'a\nb'", "the end of a line"),
        ("--srun ntasks=3", "use --tasks"),
        ("--srun kill-on-bad-exit=0", "use --retries"),
        ("--srun 'a b'", "no option of srun"),
        ("--environment 1x=2", "not NAME=VALUE"),
        ("--apptainer absent.sif", "absent.sif does not exist"),
        ("--container-mounts /a:/b", "needs a container"),
        ("--cluster local --container-image x data.root=.", "give --apptainer IMAGE"),
        ("--cluster local --apptainer docker://x data.root=.", "has neither apptainer nor singularity"),
        ("--cluster local --python /absent data.root=.", "no program of this machine"),
        ("--name 'a\nb'", "the end of a line"),
        ("--nodes 99999999999", "above 1,000,000"),
        ("--run-dir runs/%j", "holds '%j', in whose place submitit"),
        ("run_dir=runs/50%%Aug", "holds '%A', in whose place submitit"),
    ],
)
def test_what_contradicts_itself_is_one_sentence(words: str, told: str, tmp_path: Path) -> None:
    split = shlex.split(words)
    split = [f"--slurm={word}" if split[place - 1] == "--slurm" and place else word for place, word in enumerate(split)]
    with pytest.raises(UserError, match=told):
        planned(*[word for word in split if word != "--slurm"])


@pytest.mark.parametrize("text", ["4", "a100:4", "0", "nvidia_h100.80gb:8"])
def test_a_number_of_gpus_reads_as_it_is_written(text: str) -> None:
    assert str(gpus_argument(text)) == text


@pytest.mark.parametrize("text", ["-1", "a100", "4:a100", "four", "99999", "a100:", ":4", "1.5", ""])
def test_what_is_no_number_of_gpus_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.split_arguments([f"--gpus={text}", "data.root=x"])
    assert ended.value.code == 2 and "neither a number of GPUs" in capsys.readouterr().err


def test_options_without_gpus_say_nothing_of_them() -> None:
    assert gpus_in({"gres": "license:1", "exclusive": True}, 1) is None and Gpus(2).kind == ""


# --- a site's defaults --------------------------------------------------------------------------------------------

SITE = "account: me\npartition: gpu\ngpus: a100:4\ntime: 1d\nslurm: [reservation=r 1, exclusive]\n"


def test_a_site_file_is_put_before_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site.yaml").write_text(SITE)
    monkeypatch.setenv("UNIGRAD_CLUSTER", str(tmp_path / "site.yaml"))
    request = planned("--partition", "debug").request
    assert request.options == {"partition": "debug", "account": "me"} and request.minutes == 1440
    assert (request.gpus, request.gpu_kind, request.tasks) == (4, "a100", 4)
    assert request.extra == {"reservation": "r 1", "exclusive": True}
    here = planned("--cluster", "local", "--gpus", "0", f"data.root={tmp_path}").request
    assert (here.options, here.gpus, here.minutes) == ({}, 0, 3 * 1440)  # a site is a cluster
    (tmp_path / "other.yaml").write_text("account: you\n")
    assert planned("--site", str(tmp_path / "other.yaml")).request.options == {"account": "you"}


def test_a_site_file_holds_for_the_stages_of_a_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site.yaml").write_text(SITE)
    monkeypatch.setenv("UNIGRAD_CLUSTER", str(tmp_path / "site.yaml"))
    entry = {"name": "one", "tool": "evaluate", "args": ["knn"], "gpus": "h100:2"}
    (command,) = spec.read_stage(entry, {"out": str(tmp_path)}, "here", "slurm").commands
    _, args, _ = cli.split_arguments(list(command.words[2:]))
    assert (args.account, args.gpus, args.time) == ("me", Gpus(2, "h100"), 1440)


WHOLE = """
account: me
gres: gpu:a100
python: /opt/python
setup: [module load cuda, ulimit -l unlimited]
environment: {HF_HOME: /scratch/hf, UNIGRAD_DATA: IMAGES, NCCL_DEBUG: INFO}
srun: {mpi: pmix, exact: "true"}
container-image: pytorch
scratch: $TMPDIR/images
container-mounts: /data:/data
"""


def test_at_a_site_the_number_of_nodes_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file lies where programs keep theirs, and gives everything but the number of nodes."""
    (tmp_path / "images/train").mkdir(parents=True)
    (tmp_path / "images/val").mkdir()
    (tmp_path / "unigrad").mkdir()
    (tmp_path / "unigrad/cluster.yaml").write_text(WHOLE.replace("IMAGES", str(tmp_path / "images")))
    monkeypatch.setenv("PATH", "")  # no srun that could be asked for pyxis
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("UNIGRAD_CLUSTER")
    monkeypatch.setenv("NCCL_DEBUG", "WARN")  # of this shell, which is nearer than the site
    tool, args, arguments = cli.split_arguments(["--nodes", "8", "--setup", "date", "--environment=HF_HOME=/x"])
    launched = plan.plan(tool, args, arguments)
    assert f"root: {tmp_path}/images/train\n" in launched.shown[0] and launched.commands[0][0] == "/opt/python"
    assert (launched.request.nodes, launched.request.gpus, launched.request.options["account"]) == (8, 8, "me")
    assert launched.environment["UNIGRAD_SCRATCH"] == "$TMPDIR/images"  # the node's own
    assert launched.environment["HF_HOME"] == "/x" and launched.environment["NCCL_DEBUG"] == "WARN"
    shown = schedulers.find_scheduler("slurm").preview(snapshot.from_snapshot(launched))
    script = shown[1].splitlines()
    order = [script.index(line) for line in ("module load cuda", "ulimit -l unlimited", "date")]
    assert order == sorted(order) and "#SBATCH --gres=gpu:a100:8" in script
    assert not any(line.startswith("#SBATCH --container") for line in script)
    assert script[-1].endswith(f" /opt/python -u -m submitit.core._submit {launched.logs}")
    mounts = f"{launched.run_dir}:{launched.run_dir},{os.getcwd()}:{os.getcwd()},/data:/data"
    assert shown[-1].endswith(f"--mpi=pmix --exact=true --container-image=pytorch --container-mounts={mounts}")
    table = [line.removeprefix("#   ").split("  ") for line in origins.table(args, launched.request)[1:]]
    lines = {words[0]: words[-1].strip() for words in table}
    site = f"site file {tmp_path}/unigrad/cluster.yaml"
    assert lines["--nodes=8"] == lines["--setup=date"] == lines["--environment=HF_HOME=/x"] == "command line"
    assert lines["--account=me"] == lines["--setup='module load cuda'"] == site and lines["--retries=3"] == "default"
    monkeypatch.setenv("UNIGRAD_CLUSTER", "")
    assert planned().request.options == {}


@pytest.mark.parametrize("folders", [("train", "cat"), ("train", "val")])
def test_a_variable_stands_in_for_the_images(
    folders: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in folders:
        (tmp_path / name).mkdir()
    monkeypatch.setenv("UNIGRAD_DATA", str(tmp_path))
    root = tmp_path / "train" if folders == ("train", "val") else tmp_path
    assert f"root: {root}\n" in plan.plan(*cli.split_arguments([])).shown[0]
    pretrain_tool.main(["--show", "data.root=mine"])
    assert "root: mine\n" in capsys.readouterr().out
    monkeypatch.delenv("UNIGRAD_DATA")
    with pytest.raises(UserError, match="add data.root=FOLDER .*, or set UNIGRAD_DATA in the environment"):
        plan.plan(*cli.split_arguments(["run_dir=x"]))


def test_a_rank_runs_in_its_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "singularity").touch()  # the name of old installations
    (tmp_path / "singularity").chmod(0o755)
    (tmp_path / "image.sif").touch()
    monkeypatch.chdir(tmp_path)
    launched = planned("--apptainer", "image.sif", "--container-mounts", "/a:/b:ro", "--gpus", "1")
    ((program, *words),) = [surroundings.tool_command(launched, command, False) for command in launched.commands]
    binds = [f"{launched.run_dir}:{launched.run_dir}", f"{tmp_path}:{tmp_path}", "/a:/b:ro"]
    told = ["exec", "--nv", *(f"--bind={bind}" for bind in binds), f"--pwd={tmp_path}", "image.sif", "python3"]
    assert program == "apptainer" and words[: len(told)] == told
    monkeypatch.setenv("PATH", str(tmp_path))
    assert surroundings.runnable((program, *words)) == ("singularity", *words)
    (tmp_path / "singularity").unlink()
    with pytest.raises(UserError, match="neither apptainer nor singularity"):
        surroundings.runnable((program, *words))


def test_setup_comes_before_a_rank_of_this_machine_and_ends_it_where_it_fails(tmp_path: Path) -> None:
    for setup, wanted in (
        ("export A='1 2'; cd /", (0, "1 2 /\n", "")),
        ("false", (2, "", "error: --setup false ended")),
    ):
        launched = planned("--cluster", "local", "--setup", setup, f"data.root={tmp_path}", "--gpus", "0")
        words = surroundings.tool_command(launched, ["sh", "-c", 'echo "$A $PWD"'], True)
        done = subprocess.run(words, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == wanted[:2] and done.stderr.startswith(wanted[2])


@pytest.mark.parametrize(
    ("text", "told"),
    [("acount: me", "did you mean 'account'"), ("nodes: 2", "no option 'nodes'"), ("account: {}", "one plain value"),
     ("slurm: [[a]]", "one plain value"), ("account: @x", "not valid YAML"), ("account:", "one plain value"),
     ("account: [a, b]", "not a list"), ("partition: {a: b}", "not a list"), ("setup: {}", "one plain value")],
)  # fmt: skip
def test_a_bad_site_file_is_one_sentence(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(text)
    with pytest.raises(UserError, match=told):
        planned("--site", str(tmp_path / "site.yaml"))
    with pytest.raises(UserError, match=r"site file .* is not a file"):
        planned("--site", str(tmp_path / "absent.yaml"))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("sbatch: error: Invalid account or account/partition combination specified", "--account"),
        ("sbatch: error: No partition specified or system default partition", "--partition"),
        ("sbatch: error: Invalid qos specification", "--qos"),
        ("sbatch: error: Requested time limit is invalid (missing or exceeds some limit)", "--time"),
        ("sbatch: error: Invalid generic resource (gres) specification", "TYPE:N"),
        ("sbatch: error: Requested node configuration is not available", "TYPE:N"),
        ("sbatch: error: something else", "--cluster local"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_option_that_a_site_requires(said: str, told: str) -> None:
    assert told in slurm._remedy(said)


# --- the environment ----------------------------------------------------------------------------------------------

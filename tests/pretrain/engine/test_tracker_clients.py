"""The trackers' own clients: one run through interruption, ranks and results; keys asked for before the run.

A client that is not installed is skipped; CONTRIBUTING.md says which of them `make test` has.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from helpers import tool_process, two_ranks
from helpers.repository import ROOT
from helpers.tiny_runs import ONE_THREAD, RESNET18, command, configure, curves, free_port, write_images
from helpers.tracker_files import READERS, board_curve, wandb_history
from pretrain.engine.monitor.tracker import Place
from pretrain.engine.monitor.trackers import find
from pretrain.engine.monitor.tracking import joined, read_record
from pretrain.runtime.errors import UserError
from pretrain.train import train
from transfer.results import Result, load
from transfer.tracked import tell_results

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket.*127.0.0.1:ResourceWarning")  # of wandb 0.19
LONGER = ("optim.epochs=4", "run.tracker_weights=true", "run.checkpoint_every_epochs=1", "run.measure_every_epochs=2")
STEPS = [1, 2, 3, 4, 5, 6, 7, 8]
CLIENTS = ("wandb", "mlflow", "trackio")


def installed(name):
    spec = find_spec(name)
    return spec is not None and spec.origin is not None


def client(name):
    return pytest.param(name, marks=pytest.mark.skipif(not installed(name), reason=f"{name} is not installed"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory):
    """A server of MLflow on a SQLite file; None where it is not installed."""
    if find_spec("mlflow") is None or find_spec("sqlalchemy") is None:
        yield None
        return
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{folder}/runs.db", "--artifacts-destination", str(folder / "files")]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words], env=os.environ | quiet, stdout=log, stderr=log, cwd=folder
        )
    address = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            break
        except OSError:
            assert server.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
    yield address
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Of all tests here, for trackio reads where its folder is only when it is imported."""
    return tmp_path_factory.mktemp("home")


def alone(patch, home):
    """No client finds anything of whoever runs the tests, nor the network."""
    for name in [name for name in os.environ if name.startswith(("WANDB", "MLFLOW", "TRACKIO", "HF_"))]:
        patch.delenv(name)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "TRACKIO_DIR", "HF_HOME"):
        patch.setenv(name, str(home))
    patch.setenv("NETRC", str(home / ".netrc"))
    patch.setenv("WANDB_ERROR_REPORTING", "false")
    patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture
def quiet(tmp_path, home, monkeypatch):
    alone(monkeypatch, home)
    monkeypatch.chdir(tmp_path)
    yield monkeypatch
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()
        gc.collect()  # here, where an open socket is no error


def interrupted(_):
    """What measures the trunk, after step 4."""
    raise KeyboardInterrupt


def a_result(export, picture):
    return Result(
        **{"task": "knn", "protocol": "k-NN", "dataset": "ten classes", "metrics": {"top1 k=20": 31.25}, "seed": 0},
        **{"counts": {}, "init": "pretrained", "arch": "resnet18", "checkpoint": str(export), "checkpoint_sha256": "0"},
        **{"pretraining": {"step": 8}, "artefacts": {"images": [picture.name]}},
    )


def number(tracker, name):
    """How a tracker spells the name of a number."""
    return name.replace("=", "_") if tracker == "mlflow" else name


def picture(tracker, name):
    """How a tracker spells the name of a picture."""
    return name.replace("/", ".") if tracker == "mlflow" else name


@pytest.mark.filterwarnings("default")  # of the clients and what they import
@pytest.mark.parametrize("name", [client(one) for one in CLIENTS])
def test_a_run_is_one_run_of_its_tracker_through_resume_and_results(images, tmp_path, quiet, mlflow_server, name):
    quiet.setenv("WANDB_MODE", "offline")
    quiet.setenv("MLFLOW_TRACKING_URI", mlflow_server or "")
    run_dir, trackers = tmp_path / "runs" / "one", f"run.trackers=[tensorboard,{name}]"
    with pytest.raises(KeyboardInterrupt):
        train(configure(images, run_dir, trackers, *LONGER), interrupted)
    assert read_record(run_dir)[name]["told"] == 3  # while the checkpoint is of step 2: step 3 is done again
    export = train(configure(images, run_dir, trackers, *LONGER))
    Image.new("RGB", (8, 8)).save(tmp_path / "map.png")
    tell_results({tmp_path / "knn.json": a_result(export, tmp_path / "map.png")})
    assert board_curve(run_dir / "tensorboard", "lr") == STEPS
    assert board_curve(run_dir / "tensorboard", "knn/ten classes/top1 k=20") == [8]
    record = read_record(run_dir)[name]
    told = READERS[name](run_dir, record)
    assert record["told"] == 8 and told.runs == {record["id"]}
    rates = [line["lr"] for line in curves(run_dir)]
    assert told.numbers["lr"] == [pytest.approx(one) for one in zip(STEPS, rates, strict=True)]
    assert told.numbers[number(name, "knn/ten classes/top1 k=20")] == [(8, 31.25)]
    assert told.pictures == {"views": [1], picture(name, "knn/ten classes/map"): [8]}
    assert told.files == {"config.yaml", "command.txt", "trunk.pth"}
    if name == "wandb":
        assert len(wandb_history(run_dir / "wandb")) == 3  # two starts and a result
    if name == "mlflow":
        assert record["url"] == f"{mlflow_server}/#/experiments/{record['experiment']}/runs/{record['id']}"
        run = sys.modules["mlflow"].MlflowClient(record["uri"]).get_run(record["id"])
        assert run.info.status == "FINISHED" and run.data.params["optim.base_lr"] == "1.0"


@pytest.fixture(scope="module")
def detected(images, home, mlflow_server, tmp_path_factory):
    """The folder of a run of two ranks that told all trackers, and the result of a detector that began from its trunk.

    Both by their commands.
    """
    pytest.importorskip("detectron2")
    from helpers.detection_samples import C4, tiny, write_sets

    folder = tmp_path_factory.mktemp("detected")
    run, sets = folder / "run", write_sets(folder / "sets")
    trackers = ",".join(["tensorboard", *filter(installed, CLIENTS)])
    words = command(images, run, RESNET18, "optim.epochs=2", f"run.trackers=[{trackers}]")
    tool = [str(ROOT / "tools" / "train_detection.py"), "--config", str(C4), "--out", str(run / "detector")]
    with pytest.MonkeyPatch.context() as patch:
        alone(patch, home)
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("MLFLOW_TRACKING_URI", mlflow_server or "")
        env = ONE_THREAD | os.environ
        ranks = two_ranks.tools(*[(words, ONE_THREAD)] * 2)
        assert [rank.returncode for rank in ranks] == [0, 0], [rank.stderr for rank in ranks]
        told = tool_process.run([words[0], *tool, *tiny(C4, sets, run / "export" / "trunk.pth")], env=env)
        assert told.returncode == 0 and "warning" not in told.stdout, told.stdout + told.stderr
        yield run, load(run / "detector" / "result.json")


@pytest.mark.parametrize("name", ["tensorboard", *map(client, CLIENTS)])
def test_two_ranks_are_one_run_of_its_tracker_and_a_detector_from_its_trunk_joins_it(detected, name):
    run_dir, result = detected
    record, of = read_record(run_dir)[name], f"{result.task}/{result.dataset}"
    told = READERS[name](run_dir, record)
    assert told.runs == {record.get("id", name)}
    rates = [line["lr"] for line in curves(run_dir)]
    assert told.numbers["lr"] == [pytest.approx(one) for one in zip(STEPS[:4], rates, strict=True)]
    for metric, value in result.metrics.items():
        assert told.numbers[number(name, f"{of}/{metric}")] == [pytest.approx((4, value), nan_ok=True)]
    drawn = {picture(name, f"{of}/{Path(one).stem}") for one in result.artefacts["images"]}
    assert len(drawn) == 3 and told.pictures == {"views": [1], **dict.fromkeys(drawn, [4])}


class Unwilling(BaseHTTPRequestHandler):
    """A server that knows no key and no user."""

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def unwilling():
    with ThreadingHTTPServer(("127.0.0.1", 0), Unwilling) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def place(folder):
    return Place(folder, "a/b", "", {}, 0, {})


@pytest.mark.parametrize("name", [client("wandb")])
def test_wandb_without_a_key_is_refused_before_the_run_and_offline_needs_none(tmp_path, quiet, name):
    with pytest.raises(UserError, match="finds no API key: run `wandb login`"):
        find(name).check(place(tmp_path))
    sys.modules["wandb"].teardown()  # it reads its variables once
    quiet.setenv("WANDB_API_KEY", "k" * 39)
    with pytest.raises(UserError, match="W&B's API key has 39 letters and needs 40"):
        find(name).check(place(tmp_path))
    sys.modules["wandb"].teardown()
    quiet.setenv("WANDB_MODE", "offline")
    find(name).check(place(tmp_path))
    find(name).ask(place(tmp_path))


@pytest.mark.parametrize("name", [client("wandb"), client("mlflow")])
def test_credentials_that_the_server_refuses_are_told_before_the_run(tmp_path, quiet, unwilling, name):
    quiet.setenv("WANDB_API_KEY", "k" * 40)
    for address, refused in ((unwilling, True), (f"http://127.0.0.1:{free_port()}", False)):
        quiet.setenv("WANDB_BASE_URL", address)
        quiet.setenv("MLFLOW_TRACKING_URI", address)
        find(name).check(place(tmp_path))
        if refused:
            with pytest.raises(UserError, match="refuses"):
                find(name).ask(place(tmp_path))
        else:
            find(name).ask(place(tmp_path))  # nobody answers: the run goes on, and says so
        if name == "wandb":
            sys.modules["wandb"].teardown()


@pytest.mark.parametrize("name", [client("trackio")])
def test_trackio_is_refused_a_space_or_server_without_a_token(tmp_path, quiet, name):
    find(name).check(place(tmp_path))
    quiet.setenv("TRACKIO_SERVER_URL", "http://127.0.0.1:1")
    with pytest.raises(UserError, match="TRACKIO_SERVER_URL needs a token"):
        find(name).check(place(tmp_path))
    quiet.setenv("TRACKIO_SPACE_ID", "someone/space")
    with pytest.raises(UserError, match="TRACKIO_SPACE_ID=someone/space needs a token"):
        find(name).check(place(tmp_path))


@pytest.mark.parametrize("name", [client("wandb")])
def test_a_result_whose_run_wants_a_key_that_is_gone_warns_and_writes_nothing(tmp_path, quiet, capsys, name):
    (tmp_path / "trackers.json").write_text(json.dumps({"wandb": {"id": "abc", "project": "p"}}))
    with joined(tmp_path) as tracking:
        tracking.numbers(1, {"top1": 1.0})
        tracking.numbers(1, {"top5": 1.0})
    told = capsys.readouterr().out
    assert told.count("warning: the tracker wandb has failed (run.trackers=wandb finds no API key") == 1
    assert not (tmp_path / "wandb").exists() and read_record(tmp_path)["wandb"] == {"id": "abc", "project": "p"}

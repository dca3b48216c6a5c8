"""Set-up: an installed copy works away from the clone, and broken environments are told in one sentence."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torchvision
from packaging.requirements import Requirement

from helpers.repository import ROOT

PINNED = ("timm", "hub", "wandb", "sweep")  # extras that the test environment has, at their oldest too
DATA = (".yaml", ".j2", ".css", ".js", ".json")  # what the report reads beside its modules
INSPECT = """
import importlib, importlib.metadata as metadata, json, pkgutil
from packaging.requirements import Requirement
distribution = metadata.distribution("unigrad")
requirements = [Requirement(text) for text in distribution.requires]
unmet = [str(one) for one in requirements if one.marker is None
         and not one.specifier.contains(metadata.version(one.name), prereleases=True)]
modules = {}
for package in map(importlib.import_module, ("pretrain", "transfer")):
    names = [found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    modules |= {name: importlib.import_module(name).__file__ for name in (package.__name__, *names)}
print(json.dumps({"unmet": unmet, "count": len(requirements), "modules": modules,
                  "data": [str(file) for file in distribution.files if file.parts[0] in ("pretrain", "transfer")
                           and file.suffix not in (".py", ".pyc")],
                  "top": sorted({file.parts[0] for file in distribution.files})}))
"""


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A fresh environment that sees the packages of this one, but neither this clone nor an editable install of it.

    A folder named in a .pth file is searched for packages, while .pth files inside it, which is how an editable install
    points to the clone, are not read.
    """
    folder = tmp_path_factory.mktemp("clean")
    assert run(sys.executable, "-m", "venv", "--without-pip", folder).returncode == 0
    python = folder / "bin" / "python"
    purelib = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
    places = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    (purelib / "dependencies.pth").write_text("\n".join(places) + "\n")
    return python, purelib


@pytest.fixture(scope="module")
def wheel(clean, tmp_path_factory):
    """A wheel of a checkout, made by pip and installed: its interpreter, site-packages and commit."""
    python, purelib = clean
    copy = tmp_path_factory.mktemp("copy")  # building leaves files beside setup.py
    for name in ("pretrain", "transfer", "tools", "configs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    git = ("git", "-C", copy, "-c", "user.name=a", "-c", "user.email=a@b.c")
    assert not any(run(*git, *words).returncode for words in (["init"], ["add", "."], ["commit", "-qm", "All"]))
    options = ("--no-deps", "--no-build-isolation")
    built = run(sys.executable, "-m", "pip", "wheel", *options, "-w", copy / "dist", copy)
    assert built.returncode == 0, built.stderr
    [file] = (copy / "dist").glob("unigrad-*.whl")
    installed = run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", file)
    assert installed.returncode == 0, installed.stderr
    return python, purelib, run(*git, "rev-parse", "HEAD").stdout.strip()


@pytest.fixture
def unigrad(wheel, tmp_path):
    """Run the installed command in an empty folder, which is a dirty checkout of somebody else."""
    python, purelib, _ = wheel
    assert run("git", "init", purelib.parents[2]).returncode == 0  # the environment lies in it

    def command(*words):
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return run(python.with_name("unigrad"), *words, cwd=tmp_path, env=environment)

    return command


def test_an_installed_copy_imports_whole_from_an_empty_folder(wheel, tmp_path):
    python, purelib, _ = wheel
    done = run(python, "-I", "-c", INSPECT, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["unmet"] == [] and found["count"] > 10
    assert all(Path(file).is_relative_to(purelib) for file in found["modules"].values())
    assert set(found["modules"]) == {
        module_name(path) for name in ("pretrain", "transfer") for path in (ROOT / name).rglob("*.py")
    }
    data = {str(path.relative_to(ROOT)) for path in (ROOT / "transfer").rglob("*") if path.suffix in DATA}
    assert data == {name for name in found["data"] if Path(name).suffix in DATA} != set()
    assert [name for name in found["top"] if name != ".."] == [
        "pretrain",
        "transfer",
        "unigrad",
        "unigrad-0.1.0.dist-info",
    ]


def test_a_wheel_holds_every_tool_and_configuration_inside_its_own_package(wheel):
    own = wheel[1] / "unigrad"
    for folder in ("tools", "configs"):
        there, here = (
            {path.relative_to(root): path.read_bytes() for path in _files(root / folder)} for root in (own, ROOT)
        )
        assert there == {path: content for path, content in here.items() if path.name != "README.md"} != {}


def _files(folder):
    """What is committed of a folder: all files but those that Python compiles."""
    return [path for path in folder.rglob("*.*") if path.is_file() and "__pycache__" not in path.parts]


def test_the_command_says_its_version_and_commit_and_every_tool_without_torch(wheel, unigrad):
    assert unigrad("--version").stdout == f"unigrad 0.1.0 (wheel of commit {wheel[2]})\n"
    told = run(wheel[0], "-X", "importtime", "-m", "unigrad", "--help", cwd=wheel[1].parent)
    words = {line.split()[0] for line in told.stdout.splitlines() if line.startswith("  ")}
    tools = {path.stem for path in (ROOT / "tools").glob("[!_]*.py")}
    assert words == tools - {"train_detection"} | {"detection"}
    assert "pretrain.runtime.errors" in told.stderr and not re.search(r"\| +(torch|numpy)\b", told.stderr)
    assert unigrad().returncode == 2


def test_a_tool_shows_its_examples_and_tells_mistakes_as_they_are_typed_here(unigrad):
    told = unigrad("convert", "--help").stdout
    assert told.startswith("usage: unigrad convert ") and "unigrad convert runs/demo/export/trunk.pth" in told
    assert "tools/convert.py" not in told
    refused = unigrad("pretrain", "--config", "configs/absent.yaml")
    assert refused.returncode == 2 and "configs/absent.yaml" in refused.stderr and refused.stderr.count("\n") == 1
    unknown = unigrad("pretain")
    assert unknown.returncode == 2 and "did you mean 'pretrain'?" in unknown.stderr


def test_a_shipped_configuration_is_found_from_any_folder(unigrad):
    words = ("--config", "configs/pretrain/demo.yaml", "--show")
    shown = unigrad("pretrain", *words)
    assert shown.stdout == run(sys.executable, ROOT / "tools" / "pretrain.py", *words, cwd=ROOT).stdout != ""


def test_a_job_of_a_wheel_runs_a_copy_that_has_the_form_of_a_clone(wheel, unigrad, tmp_path):
    options = ("--cluster", "local", "--gpus", "0", "--run-dir", "job")
    done = unigrad("launch", "prepare_data", *options, "--", "synthetic", "made", "--train", "8", "--val", "8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [*(tmp_path / "made").rglob("*.jpg")]
    [code] = (tmp_path / "job" / "code").iterdir()
    assert json.loads((code / "snapshot.json").read_text())["commit"] == wheel[2]
    assert (code / "uncommitted.diff").read_text() == ""
    files = [path for name in ("tools", "configs", "pretrain") for path in (ROOT / name).rglob("*.[py][ya]*")]
    absent = [
        path for path in files if path.suffix in (".py", ".yaml") and not (code / path.relative_to(ROOT)).is_file()
    ]
    assert absent == []


def test_every_dependency_has_a_lower_bound_and_the_oldest_versions_are_these_bounds():
    call = next(node for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if isinstance(node, ast.Call))
    options = {keyword.arg: keyword.value for keyword in call.keywords}
    extras = ast.literal_eval(options["extras_require"])
    declared = ast.literal_eval(options["install_requires"]) + [one for name in PINNED for one in extras[name]]
    bounds = {}
    for requirement in map(Requirement, declared):
        lower = [one.version for one in requirement.specifier if one.operator == ">="]
        assert len(lower) == 1, f"{requirement} has no lower bound, so nobody knows the oldest version that works"
        bounds[requirement.name] = lower[0]
    lines = (ROOT / "tests" / "oldest.txt").read_text().splitlines()
    assert bounds == dict(line.split("==") for line in lines if "==" in line)


def test_the_oldest_versions_have_an_environment_of_their_own():
    planned = run("make", "-n", "test-oldest", cwd=ROOT).stdout
    assert (
        ".venv-oldest/bin/python -m pip install -c tests/oldest.txt -e '.[test]'" in planned
        or (ROOT / ".venv-oldest" / ".installed").is_file()
    )
    assert ".venv-oldest/bin/python -m pytest" in planned and "--ignore tests/slurm" in planned


def install_detectron2(*arguments, path=None):
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    return run(sys.executable, ROOT / "tools" / "install_detectron2.py", *arguments, env=environment)


def test_a_detectron2_that_is_there_is_reported_and_left_alone():
    import detectron2

    folder = Path(detectron2.__file__).parent
    before = folder.stat().st_mtime_ns
    done = install_detectron2()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"detectron2 {detectron2.__version__} in {folder} imports")
    assert "RoIAlign and NMS (torchvision's): there" in done.stdout
    assert folder.stat().st_mtime_ns == before


def test_a_broken_detectron2_is_told_with_its_reason(tmp_path):
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "__init__.py").write_text("raise ImportError('libcudart.so.9 is not there')")
    done = install_detectron2("--check", path=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "error: detectron2 cannot be imported (ImportError: libcudart.so.9 is not there): "
        "run `python tools/install_detectron2.py`.\n"
    )


def test_a_torchvision_without_its_operators_is_told_in_one_sentence(tmp_path):
    """torchvision's own Python files without its compiled libraries: the state a '+cpu' torch leaves it in."""
    ignore = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(Path(torchvision.__file__).parent, tmp_path / "torchvision", ignore=ignore)
    traceback = run(sys.executable, "-c", "import torchvision", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert "operator torchvision::nms does not exist" in traceback.stderr, "the oracle: torch's own words"
    done = install_detectron2("--check", path=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: this torch has no torchvision whose operators load")
    assert done.stderr.count("\n") == 1


def test_only_a_compiled_library_that_this_python_tries_and_cannot_load_is_deleted(clean):
    python, purelib = clean
    folder = purelib / "detectron2"
    folder.mkdir()
    (folder / "__init__.py").touch()
    own = folder / f"_C{sysconfig.get_config_var('EXT_SUFFIX')}"
    other = folder / "_C.cpython-27m-x86_64-linux-gnu.so"
    for library in (own, other):
        library.write_bytes(b"built for another torch")
    code = "from tools.install_detectron2 import drop_unusable_library; drop_unusable_library()"
    done = run(python, "-c", code, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert f"deleted {own.name}" in done.stdout
    assert not own.exists() and other.exists()


@pytest.fixture
def set_up(tmp_path):
    """A copy of what the Makefile looks at, as if everything was installed a moment ago."""
    for name in ("Makefile", "setup.py", "tools/install_detectron2.py", ".venv/.installed"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    shutil.copy(ROOT / "Makefile", tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", ["demo", "test"])
def test_the_second_make_installs_nothing(set_up, command):
    assert "pip install" not in run("make", "-n", command, cwd=set_up).stdout


@pytest.mark.parametrize("changed", ["setup.py", "tools/install_detectron2.py"])
def test_make_installs_again_when_the_requirements_change(set_up, changed):
    os.utime(set_up / ".venv/.installed", (0, 0))
    assert "pip install" in run("make", "-n", "test", cwd=set_up).stdout
    os.utime(set_up / ".venv/.installed")
    os.utime(set_up / changed, (4e9, 4e9))
    assert "pip install" in run("make", "-n", "test", cwd=set_up).stdout


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (None, "is not found"),
        ("exec {python} -c 'import sys; sys.version_info = (3, 9); exec(sys.argv[1])' \"$2\"", "is older than 3.10"),
        (
            'exec {python} -c \'import sys; sys.modules["venv"] = None; exec(sys.argv[1])\' "$2"',
            "lacks the venv module",
        ),
    ],
)
def test_a_python_that_cannot_work_is_told_in_one_sentence(set_up, script, sentence):
    (set_up / ".venv/.installed").unlink()
    python = set_up / "python"
    if script:
        python.write_text("#!/bin/sh\n" + script.format(python=sys.executable) + "\n")
        python.chmod(0o755)
    done = run("make", "test", f"PYTHON={python}", cwd=set_up)
    assert done.returncode == 2
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(told) == 1 and sentence in told[0], done.stderr

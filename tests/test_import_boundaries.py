"""The one-way arrows between the rooms, read from the source: imports inside functions count like all others."""

import ast
from functools import cache
from graphlib import TopologicalSorter

import pytest

from helpers.repository import ROOT

ROOMS = ("pretrain", "transfer", "tools")
# what each of the lower modules may import from this repository; the rest of pretrain is held by the other tests
ALLOWED = {
    "pretrain.runtime.processes.interrupts": set(),
    "pretrain.runtime.printable": set(),
    "pretrain.runtime.repository": set(),
    "pretrain.runtime.errors": {
        "pretrain.runtime.processes.interrupts",
        "pretrain.runtime.printable",
        "pretrain.runtime.repository",
    },
    "pretrain.runtime.files": {"pretrain.runtime.errors"},
    "pretrain.config": {
        "pretrain.runtime.options",
        "pretrain.models",
        "pretrain.methods",
        "pretrain.augment.options",
        "pretrain.data.options",
        "pretrain.optim.build",
        "pretrain.optim.optimisers",
        "pretrain.optim.options",
        "pretrain.runtime.registry",
    },
    "pretrain.runtime.options.rules": {"pretrain.runtime.errors"},
    "pretrain.runtime.options.text": {"pretrain.runtime.errors"},
    "pretrain.runtime.options.arguments": {"pretrain.runtime.repository"},
    "pretrain.runtime.distributed": {"pretrain.runtime.errors"},
    "pretrain.models.norm_kernels": set(),
    "pretrain.models.batchnorm": {
        "pretrain.models.norm_kernels",
        "pretrain.runtime.distributed",
        "pretrain.runtime.errors",
    },
    "pretrain.gradients": set(),
    "pretrain.methods.collectives": set(),
    "pretrain.methods.folded": set(),
    "pretrain.methods.row": {"pretrain.methods.collectives"},
    "pretrain.methods.memory": {
        "pretrain.methods.collectives",
        "pretrain.methods.folded",
        "pretrain.runtime.distributed",
        "pretrain.runtime.errors",
    },
    "pretrain.methods": {"pretrain.methods.row", "pretrain.runtime.errors", "pretrain.runtime.options"},
    "pretrain.objective": {"pretrain.methods", "pretrain.runtime.errors"},
    "pretrain.engine.monitor.diagnostics": {
        "pretrain.runtime.distributed",
        "pretrain.methods",
        "pretrain.methods.memory",
    },
}
# what the file of a form may import
FORM = {
    "pretrain.gradients",
    "pretrain.methods.collectives",
    "pretrain.methods.folded",
    "pretrain.methods.memory",
    "pretrain.methods.row",
    "pretrain.models.batchnorm",
    "pretrain.runtime.distributed",
    "pretrain.runtime.errors",
    "pretrain.runtime.options",
}


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {name_of(path): path.read_text(encoding="utf-8") for room in ROOMS for path in (ROOT / room).rglob("*.py")}


def dotted(node):
    """a.b.c as a string, '' for anything that is not a chain of names."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@cache
def mentioned(source):
    """Every module that a source imports, however late, and every chain such as torch.distributed that it follows."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide an arrow"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute):
            found.add(dotted(node))
        elif isinstance(node, ast.Call) and dotted(node.func).split(".")[-1] in ("import_module", "__import__"):
            found |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return found


def inside(name, package):
    return name == package or name.startswith(f"{package}.")


def ours(name):
    """The modules of this repository that a module imports, without the packages that only hold them."""
    return {other for other in mentioned(SOURCES[name]) & set(SOURCES) if other not in HOLDERS and other != name}


HOLDERS = {  # packages whose __init__ imports nothing from here, and the rooms
    name
    for name, source in SOURCES.items()
    if name in ROOMS
    or any(inside(other, name) for other in SOURCES if other != name)
    and not mentioned(source) & set(SOURCES)
}


def users_of(package):
    return {name for name, source in SOURCES.items() if any(inside(other, package) for other in mentioned(source))}


@pytest.mark.parametrize(
    "source",
    [
        "import detectron2.layers",
        "def f():\n    from detectron2 import layers",
        "import importlib\nimportlib.import_module('detectron2.layers')",
        "if 1:\n    __import__('detectron2.layers')",
    ],
)
def test_every_way_of_importing_is_seen(source):
    assert "detectron2.layers" in mentioned(source)


def test_an_attribute_chain_counts_as_naming_a_module():
    assert "torch.distributed" in mentioned("import torch\ntorch.distributed.get_rank()")


@pytest.mark.parametrize("package", ["transfer", "detectron2", "submitit", "tools"])
def test_pretrain_stands_alone(package):
    assert not {name for name in users_of(package) if inside(name, "pretrain")}


def test_nobody_imports_the_tools():
    assert all(inside(name, "tools") for name in users_of("tools"))


def test_submitit_stays_in_the_tools():
    assert all(inside(name, "tools") for name in users_of("submitit"))


def test_detectron2_stays_in_its_room():
    outside = {name for name in users_of("detectron2") if not inside(name, "transfer.detection")}
    assert outside == set()
    assert users_of("detectron2"), "the room that knows detectron2 is gone, or this test no longer sees it"


def test_only_the_tools_open_the_detection_room():
    callers = users_of("transfer.detection")
    assert all(inside(name, "transfer.detection") or inside(name, "tools") for name in callers)


def test_only_comm_names_torch_distributed():
    assert users_of("torch.distributed") == {"pretrain.runtime.distributed"}


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_the_lower_modules_import_no_more_than_is_drawn(name):
    assert ours(name) <= ALLOWED[name]


@pytest.mark.parametrize("name", [name for name in SOURCES if name.startswith("pretrain.methods.")])
def test_a_form_knows_the_gradients_and_its_memory_and_no_other_form(name):
    assert ours(name) <= FORM


@pytest.mark.parametrize("name", [name for name in SOURCES if inside(name, "pretrain.weights")])
def test_what_reads_weights_knows_the_networks_and_no_run(name):
    rooms = ("pretrain.weights", "pretrain.models", "pretrain.runtime")
    assert all(any(inside(other, room) for room in rooms) for other in ours(name))


def test_no_module_imports_in_a_circle():
    assert list(TopologicalSorter({name: ours(name) for name in SOURCES}).static_order())


def test_only_the_tools_start_training():
    assert all(inside(name, "tools") for name in users_of("pretrain.train"))

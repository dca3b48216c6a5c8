"""The files of docs/launching.md for Kubernetes, SkyPilot and ssh: valid YAML, and one command that its tools take."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml
from torch.distributed.run import get_args_parser

from helpers import pages
from helpers.repository import ROOT
from pretrain.config import Config, load
from tools import pretrain

TEXT = (ROOT / "docs/launching.md").read_text(encoding="utf-8").partition("## Without SLURM")[2]
KUBERNETES, SKYPILOT = map(yaml.safe_load, pages.blocks(TEXT, ("yaml",)))
(SSH,) = pages.blocks(TEXT, ("bash",))
PODS = KUBERNETES["spec"]["pytorchReplicaSpecs"]


def container(replica: str) -> dict:
    (only,) = PODS[replica]["template"]["spec"]["containers"]
    return only


def torchrun(script: str) -> list[str]:
    """The words of its one torchrun, whose variables stay as they are."""
    (found,) = re.findall(r"torchrun (?:.*\\\n)*.*", script)
    return shlex.split(found.replace("\\\n", " ").strip().removesuffix("&").strip().removesuffix('"'))


SCRIPTS = {"Kubernetes": container("Master")["args"][0], "SkyPilot": SKYPILOT["run"], "ssh": SSH}


@pytest.mark.parametrize("where", SCRIPTS)
def test_the_command_is_the_same_everywhere_and_its_tools_take_it(where: str) -> None:
    words = torchrun(SCRIPTS[where])
    assert words == torchrun(SCRIPTS["ssh"])
    for name in ("NODES", "GPUS", "HEAD"):
        environment = {one["name"] for one in container("Master")["env"]} if where == "Kubernetes" else set()
        assert name in environment or f"{name}=" in SCRIPTS[where]
    values = {"$NODES": "4", "$GPUS": "8", "$HEAD:29500": "first:29500"}
    asked = get_args_parser().parse_args([values.get(word, word) for word in words[1:]])
    assert (asked.nnodes, asked.nproc_per_node, asked.max_restarts, asked.rdzv_endpoint) == ("4", "8", 3, "first:29500")
    assert asked.training_script == "tools/pretrain.py"
    options = pretrain.parser().parse_intermixed_args(asked.training_script_args)
    assert load(Config, ROOT / options.config, options.overrides).run_dir == "/shared/runs/r50"


def test_every_pod_is_the_same_and_together_they_are_the_nodes() -> None:
    assert container("Worker") == container("Master") and KUBERNETES["kind"] == "PyTorchJob"
    nodes = sum(PODS[replica]["replicas"] for replica in PODS)
    assert str(nodes) == next(one["value"] for one in container("Master")["env"] if one["name"] == "NODES")
    assert nodes == SKYPILOT["num_nodes"] == len(re.search(r'HOSTS="(.*)"', SSH)[1].split())

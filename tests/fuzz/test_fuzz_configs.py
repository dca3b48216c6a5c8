"""Configurations and overrides of every tool, damaged or mistyped: read as they say, or refused in one sentence."""

import functools
import os
import re
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import strategies as st

from helpers.damaged import ODD, a_changed_tree, damaged_bytes
from helpers.fuzzing import outcome, search
from helpers.repository import ROOT
from pretrain.config import Config
from pretrain.engine import validate
from pretrain.runtime.errors import UserError
from pretrain.runtime.options import dump, load, options
from tools.launcher import cli
from tools.launcher.pipeline.spec import read_pipeline
from transfer.evaluate import choose
from transfer.evaluators import evaluators
from transfer.options import Common

PRETRAINING = {one.name: one.default for one in options(Config)}
TYPED = st.one_of(
    st.sampled_from(["", " ", "null", "~", "true", "0", "-1", "1e9", "1e400", "nan", "inf", ".inf", "0x10", "1_000"]),
    st.sampled_from(["9" * 30, "[", "[1,2]", "1,2", "'x'", "%j", "@x", "${out}", "#", "a: b", "~/x", "~nobody/x", "é"]),
    st.sampled_from(["sgd", "lars", "moco_v2", "vicreg", "directpred", "barlow_twins", "fp16", "resnet18", "cpu"]),
    st.integers().map(str),
    st.floats().map(repr),
    st.text(max_size=12),
)
ODD_NAMES = st.sampled_from(
    ["", ".", "a.", ".a", "optim", "optim.", "optim.epochs.x", "optim..epochs", "=", "method.x"]
)


def words_of(names):
    """Overrides of options, most of which are there."""
    name = st.one_of(*[st.sampled_from(sorted(names))] * 4, ODD_NAMES, st.text(max_size=6))
    return st.lists(st.builds("{}={}".format, name, TYPED) | st.text(max_size=4), max_size=4)


def holds(held, typed):
    """Whether an option holds the text, or the whole number, that was typed; other spellings are not judged."""
    if isinstance(held, str):
        return held == (os.path.expanduser(typed) if typed[:1] == "~" else typed)
    return type(held) is not int or not re.fullmatch("0|-?[1-9][0-9]*", typed) or held == int(typed)


def yaml_of(tree):
    return yaml.safe_dump(tree).encode("utf-8", "surrogatepass")


def files_like(path):
    """The bytes of a YAML with changed values, or damaged."""
    plain = path.read_bytes()
    trees = a_changed_tree(yaml.safe_load(plain)).map(yaml_of)
    return st.one_of(trees, trees, damaged_bytes(plain), ODD.map(yaml_of))


def test_options_of_pretraining_are_what_is_written_or_refused(tmp_path):
    path, again = tmp_path / "c.yaml", tmp_path / "again.yaml"
    given = ["run_dir=r", "data.root=d"]

    def read(words):
        cfg = load(Config, path, [*given, *words])
        validate.ready(cfg)
        torch.set_num_threads(1)
        return cfg

    def check(content, words):
        path.write_bytes(content)
        cfg = outcome(lambda: read(words), tmp_path)
        if isinstance(cfg, UserError):
            return
        again.write_text(dump(cfg), encoding="utf-8")
        assert dump(load(Config, again)) == again.read_text(encoding="utf-8")
        last = {name: value for name, _, value in (word.partition("=") for word in words)}
        for name, value in last.items():
            if isinstance(PRETRAINING.get(name), str | int):
                assert holds(functools.reduce(getattr, name.split("."), cfg), value)
        again.unlink()

    files = files_like(ROOT / "configs" / "pretrain" / "demo.yaml")
    search(check, 200, content=files | st.just(b""), words=words_of(PRETRAINING))


def test_options_of_evaluations_are_what_is_written_or_refused(tmp_path):
    path = tmp_path / "c.yaml"
    schemas = [Common, *(one.options for one in evaluators().values())]
    known = {one.name for schema in schemas for one in options(schema)}
    tree = {"image_size": 32, "workers": 0, "seed": 3, "k": [5, 20], "cache": "x", "data": {"class_depth": 1}}

    def check(name, changed, words):
        path.write_bytes(yaml_of(changed))
        chosen = outcome(lambda: choose(name, path, words), tmp_path)
        if isinstance(chosen, UserError):
            return
        last = {key: value for key, _, value in (word.partition("=") for word in words)}
        for key in last.keys() & {one.name for one in options(Common)}:
            assert holds(functools.reduce(getattr, key.split("."), chosen.common), last[key])
        for key in {"image_size", "workers", "seed"} & changed.keys() - last.keys():
            assert isinstance(changed[key], str | bool | None) or getattr(chosen.common, key) == changed[key]

    search(check, 150, name=st.sampled_from(sorted(evaluators())), changed=a_changed_tree(tree), words=words_of(known))


def test_options_of_detection_are_read_or_refused(tmp_path):
    pytest.importorskip("detectron2")
    from transfer.detection.config.load import _leaves, defaults, load_config

    base = ROOT / "configs" / "detection" / "fpn"
    path = tmp_path / "c.yaml"
    for one in base.glob("Base-*.yaml"):
        (tmp_path / one.name).write_bytes(one.read_bytes())
    known = [key for key in _leaves(defaults()) if key.startswith(("SOLVER", "DATASETS", "INPUT", "TEST", "MODEL"))]

    def check(content, words):
        path.write_bytes(content)
        outcome(lambda: load_config(path, ["MODEL.WEIGHTS=random", *words]), tmp_path)

    plain = (base / "demo_mask_r18_fpn.yaml").read_bytes()
    search(check, 60, content=files_like(base / "demo_mask_r18_fpn.yaml") | st.just(plain), words=words_of(known))


def test_pipelines_are_read_or_refused(tmp_path):
    path = tmp_path / "c.yaml"
    plain = ROOT / "configs" / "demo.yaml"
    variables = yaml.safe_load(plain.read_bytes())["variables"]

    def check(content, words, cluster):
        path.write_bytes(content)
        read = outcome(lambda: read_pipeline(path, words, cluster), tmp_path)
        if not isinstance(read, UserError):
            out, stages = read
            assert out == Path(os.path.expanduser(str(out)))
            assert all("\0" not in word for stage in stages for command in stage.commands for word in command.words)

    files = files_like(plain) | st.just(plain.read_bytes())
    search(check, 60, content=files, words=words_of(variables), cluster=st.sampled_from(["local", "slurm"]))


def test_site_files_and_words_of_the_launcher_are_read_or_refused(tmp_path):
    path = tmp_path / "site.yaml"
    tree = {"partition": "gpu", "account": "a", "gpus": "a100:4", "slurm": ["gres=gpu:4", "exclusive"], "time": "3d"}
    own = ["--nodes", "--gpus", "--tasks", "--time", "--name", "--slurm", "--run-dir", "--retries", "--", "--x"]
    word = st.one_of(st.sampled_from(own), TYPED, st.builds("{}={}".format, st.sampled_from(own), TYPED))

    def check(changed, words):
        path.write_bytes(yaml_of(changed))
        outcome(lambda: refused_by_argparse(lambda: cli.split_arguments([f"--site={path}", *words])), tmp_path)

    search(check, 100, changed=a_changed_tree(tree), words=st.lists(word, max_size=4))


def refused_by_argparse(call):
    """argparse ends with exit code 2 after its own sentence."""
    try:
        return call()
    except SystemExit as end:
        if end.code != 2:
            raise
        raise UserError("argparse refuses it.") from end

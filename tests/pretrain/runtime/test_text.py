"""What people write reaches its option as they wrote it, from a command line and from a YAML file alike."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path

import pytest

from pretrain import config
from pretrain.runtime.errors import UserError
from pretrain.runtime.options import check, dump, load, option
from pretrain.runtime.options.arguments import Once, a_path
from pretrain.runtime.options.text import read_yaml, typed
from transfer.evaluators import evaluators
from transfer.options import Common, combined

NAMES = [
    "0123", "2024_05", "1:30", "1e3", "0x10", "007", "+5", ".5", "1.", "12:30:45", "2024-05-01",
    "yes", "off", "null", "~x",
    "runs/exp #2", "#2", "%j", "[2024] photos", "[a", "{a}", "@x", "${USER}", "${a", "$HOME", "*x", "&x", "!x",
    "|", ">",
    "/d/my: photos", "a:", "- a", "'a'", '"a', "a=b", " a ", "a\tb", "a,b",
    "`id`", "é", "図", "\udce9", "\\n", "a\\", "?",
]  # fmt: skip
EVALUATION = combined([Common, *(one.options for one in evaluators().values())])
TEXTS = [
    *((config.Config, name) for name in ("run_dir", "data.root", "data.val")),
    *((EVALUATION, name) for name in ("cache", "image_list")),
]


def value_of(loaded, name):
    for part in name.split("."):
        loaded = getattr(loaded, part)
    return loaded


@pytest.mark.parametrize("text", NAMES)
@pytest.mark.parametrize(("schema", "name"), TEXTS)
def test_a_text_is_taken_to_the_letter_and_survives_config_yaml(schema, name, text, tmp_path):
    loaded = load(schema, None, [f"{name}={text}"])
    assert value_of(loaded, name) == text
    if "\udce9" not in text:  # which no file in UTF-8 can hold as it is; dump escapes it
        (tmp_path / "config.yaml").write_text(dump(loaded), encoding="utf-8")
        assert load(schema, tmp_path / "config.yaml") == loaded


@pytest.mark.parametrize("text", ["0123", "2024_05", "1:30", "1e3", "yes", "2024-05-01", "%j x", "${a}"])
def test_a_text_in_a_yaml_file_needs_no_quotes_where_yaml_itself_needs_none(text, tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text(f"run_dir: {text.replace('%j', 'j%')}\n")
    assert load(config.Config, path).run_dir == text.replace("%j", "j%")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (int, "0123", 123),
        (int, "-5", -5),
        (float, "1e-3", 0.001),
        (float, "3", 3.0),
        (bool, "true", True),
        (bool, "No", False),
        (int | None, "null", None),
        (str | None, "null", None),
        (list[int], "[3, 4]", [3, 4]),
        (list[float], "1e-3,2", [0.001, 2.0]),
        (list[str], "['a b',c]", ["a b", "c"]),
        (list[int], "[]", []),
        (float, ".inf", float("inf")),
    ],
)
def test_a_text_becomes_the_type_of_its_option(kind, text, value):
    assert typed(kind, text) == value and isinstance(typed(kind, text), type(value))


@pytest.mark.parametrize(
    ("kind", "written"),
    [(int, "1:30"), (int, "1.5"), (int, "1e3"), (int, ""), (float, "x"), (bool, "2"), (list[int], "[1,a]"),
     (int, True), (float, True), (str, 5), (int, 5.0), (list[int], 5), (int, [5]), (bool, 1)],
)  # fmt: skip
def test_what_is_not_of_the_type_is_refused(kind, written):
    with pytest.raises(ValueError, match="no |not "):
        typed(kind, written)


def test_anchors_and_merges_of_a_file_work_and_are_not_for_a_command_line(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text("optim: &o\n  epochs: &n 7\n  warmup_epochs: 1\nrun:\n  log_every: *n\n")
    cfg = load(config.Config, path, ["run_dir=*n"])
    assert (cfg.optim.epochs, cfg.run.log_every, cfg.run_dir) == (7, 7, "*n")


@pytest.mark.parametrize(
    "content",
    [
        b"run_dir: @x", b"run_dir: %j", b"a: [1", b"\xff\xfe\x00", b"run_dir: !!python/object:os.system x",
        b"run_dir: !x y",
        b"optim: {epochs: 1, epochs: 2}", b"- a", b"a", b"? [a]\n: b", b"optim: 5", b"optim: [1]", b"run_dir: null",
        b"run_dir: {a: 1}", b"run_dir: [a]", b"optim:\n  1: 2", b"a: &a {b: *a}", b"[" * 5000, b"{a: " * 5000, b"\x00",
        b"optim: {<<: 5}",
    ],
)  # fmt: skip
def test_a_file_that_is_no_configuration_is_one_sentence(content, tmp_path):
    path = tmp_path / "some.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"some\.yaml") as told:
        load(config.Config, path)
    assert "\n" not in str(told.value)


def test_a_pipe_of_aliases_is_not_unfolded(tmp_path):
    """A billion texts in 200 bytes."""
    path = tmp_path / "laughs.yaml"
    rows = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    rows += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    path.write_text("\n".join(rows))
    with pytest.raises(UserError, match="there is no option 'a0'"):
        load(config.Config, path)


@pytest.mark.parametrize("content", ["", "# nothing\n", "optim:\n", "optim: null\n"])
def test_an_empty_file_or_section_changes_nothing(content, tmp_path):
    (tmp_path / "some.yaml").write_text(content)
    assert load(config.Config, tmp_path / "some.yaml") == load(config.Config, None)


def test_the_home_folder_is_put_in_once_and_only_where_a_path_is_meant(monkeypatch, tmp_path):
    @dataclasses.dataclass
    class Some:
        """A path and a text."""

        folder: str = option("", "a path", path=True)
        word: str = option("", "no path")

    monkeypatch.setenv("HOME", "/home/me")
    loaded = load(Some, None, ["folder=~/x~y", "word=~/x"])
    assert (loaded.folder, loaded.word) == ("/home/me/x~y", "~/x")
    (tmp_path / "some.yaml").write_text("folder: ~/x\n")
    assert load(Some, tmp_path / "some.yaml").folder == "/home/me/x" == str(a_path("~/x"))
    assert load(Some, None, ["folder=./~/x"]).folder == "./~/x"
    assert load(Some, None, ["folder=~nobody-of-this-name/x"]).folder == "~nobody-of-this-name/x"


def test_an_option_that_is_read_once_is_refused_twice(capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=a_path, action=Once)
    parser.add_argument("words", nargs="*")
    assert parser.parse_intermixed_args(["a", "--config", "x", "b"]).config == Path("x")
    with pytest.raises(SystemExit) as ended:
        parser.parse_intermixed_args(["--config", "x", "a", "--config=y"])
    assert ended.value.code == 2 and "--config is given twice" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "99999999999999999999", "-99999999999999999999", "1e400"])
def test_no_number_of_any_schema_may_be_endless(value):
    """Of all options that are numbers: refused as no number of the type, out of range, or none of a few choices."""
    for schema in (config.Config, EVALUATION):
        for field, kind in numbers(schema):
            if "float" in kind and value.lstrip("-").isdecimal() and not value.startswith("-"):
                continue  # 1e20 is a finite number
            with pytest.raises(UserError, match=rf"{field}.*(out of range|wrong type|is not known: choose one of)"):
                check(load(schema, None, [f"{field}={value}"]))


def numbers(schema, prefix=""):
    for field in dataclasses.fields(schema):
        default = getattr(schema(), field.name)
        if dataclasses.is_dataclass(default):
            yield from numbers(type(default), f"{prefix}{field.name}.")
        elif "int" in str(field.type) or "float" in str(field.type):
            yield f"{prefix}{field.name}", str(field.type)


def test_the_environment_is_left_alone():
    assert "USER_OF_NOBODY" not in os.environ
    assert load(config.Config, None, ["run_dir=$USER_OF_NOBODY"]).run_dir == "$USER_OF_NOBODY"
    assert read_yaml.__doc__

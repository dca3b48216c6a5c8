"""A name that stands in a file becomes a path below the folder that it belongs to, or one sentence."""

import os
from pathlib import Path

import pytest

from helpers.escapes import ESCAPES, UNWRITABLE
from pretrain.runtime.errors import UserError
from pretrain.runtime.names import path_inside
from pretrain.runtime.printable import printable


@pytest.mark.parametrize(
    "name", ["a.jpg", "below/a b.jpg", "ä/名.png", "..a/b..", "at 12:30.png", "console/nulls.txt", "./a"]
)
def test_an_honest_name_is_the_path_below_the_folder(tmp_path, name):
    assert path_inside(tmp_path, name, "list.txt") == Path(os.path.normpath(f"{tmp_path}/{name}"))


@pytest.mark.parametrize("name", [*ESCAPES, *UNWRITABLE], ids=ascii)
def test_any_other_name_is_refused_in_one_printable_sentence(tmp_path, name):
    with pytest.raises(UserError) as caught:
        path_inside(tmp_path, name, "list.txt")
    assert str(caught.value).isprintable() and str(caught.value).startswith("list.txt holds the name ")


@pytest.mark.parametrize("name", [None, 7, ["a"], {}, b"a", True])
def test_what_is_no_text_is_no_name(tmp_path, name):
    with pytest.raises(UserError, match="is no text"):
        path_inside(tmp_path, name, "list.txt")


def test_a_link_out_of_the_folder_is_followed_for_reading_only(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root" / "inner").mkdir(parents=True)
    (tmp_path / "root" / "out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "file.png").symlink_to(tmp_path / "elsewhere" / "mine.png")
    (tmp_path / "root" / "around").symlink_to("inner")
    for name in ("out/a.png", "out/deeper/a.png", "file.png"):
        with pytest.raises(UserError, match="leads through the link"):
            path_inside(tmp_path / "root", name, "list.txt")
        assert path_inside(tmp_path / "root", name, "list.txt", links=True) == tmp_path / "root" / name
    assert path_inside(tmp_path / "root", "around/a.png", "list.txt") == tmp_path / "root" / "around" / "a.png"


def test_the_folder_itself_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert path_inside(tmp_path / "link", "a", "list.txt") == tmp_path / "link" / "a"


def test_what_a_terminal_would_obey_is_shown_as_its_escape():
    told = UserError("a\x1b[2J\nerror: all is well\u202e\ud800\x9b")
    assert str(told) == "a\\x1b[2J\\nerror: all is well\\u202e\\ud800\\x9b"
    assert str(UserError(told)) == str(told) and printable("ä 名 \U0001f600") == "ä 名 \U0001f600"

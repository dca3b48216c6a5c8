"""The headers of configs/**.yaml: complete, in short sentences, and listed in configs/README.md."""

from __future__ import annotations

import pytest

from helpers import config_headers, pages
from helpers.repository import CONFIGS

FILES = config_headers.files()


def test_the_list_of_configurations_is_made_of_their_headers():
    """After a change: python tests/helpers/config_headers.py."""
    assert (CONFIGS / "README.md").read_text(encoding="utf-8") == config_headers.page()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CONFIGS).as_posix())
def test_a_header_says_what_the_file_is_its_command_and_the_number_to_expect(path):
    said = config_headers.header(path)
    assert said["What"].endswith(".")
    if path.name.startswith("Base-"):
        assert "Not a run by itself" in said["What"]
    else:
        assert path.relative_to(CONFIGS.parent).as_posix() in said["Command"] or path.stem == "unigrad_r50_100ep"
        assert said["Expect"].endswith(".")


def test_nine_in_ten_sentences_of_the_headers_are_short_and_none_is_long():
    said = [text for path in FILES for key, text in config_headers.header(path).items() if key != "Command"]
    counted = [(pages.words(sentence), sentence) for text in said for sentence in pages.sentences(text)]
    assert not [sentence for words, sentence in counted if words > 40]
    assert sum(words > 25 for words, _ in counted) <= len(counted) / 10

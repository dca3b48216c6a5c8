"""The pages are written in short sentences and in the words that docs/README.md lists."""

from __future__ import annotations

import re

import pytest

from helpers import pages
from helpers.repository import ROOT

SHORT, LONGEST = 25, 40  # words of a sentence
WORD = re.compile(r"^\| (\w[^|]*) \| [^|]+ \| ([^|]*)\|$", re.MULTILINE)  # of the table in docs/README.md
WRITTEN = [path for path in pages.PAGES if pages.name(path) != pages.MADE]


@pytest.mark.parametrize("path", WRITTEN, ids=pages.name)
def test_nine_in_ten_sentences_are_short_and_none_is_long(path):
    counted = {sentence: pages.words(sentence) for sentence in pages.sentences(path.read_text(encoding="utf-8"))}
    assert not [sentence for sentence, words in counted.items() if words > LONGEST]
    over = [sentence for sentence, words in counted.items() if words > SHORT]
    assert len(over) <= len(counted) / 10, over


def test_code_tables_and_headings_are_no_sentences_and_each_item_of_a_list_is_its_own():
    prose = "One two\nthree. `a b c` five.\n\n- An item.\n- Another [long name](x.md).\n"
    page = f"# A heading\n\n{prose}\n```sh\nls -l\n```\n| a |\n"
    assert [pages.words(sentence) for sentence in pages.sentences(page)] == [3, 2, 2, 3]


def test_a_word_has_one_name_in_all_pages():
    rows = re.findall(WORD, (ROOT / "docs" / "README.md").read_text(encoding="utf-8"))
    unwanted = {other.strip(): word for word, others in rows[1:] for other in others.split(",") if other.strip()}
    assert "student" in unwanted
    for path in WRITTEN:
        prose = " ".join(pages.sentences(path.read_text(encoding="utf-8")))
        used = [other for other in unwanted if re.search(rf"\b{other}s?\b", prose)]
        allowed = path.stem in ("conversion", "extending")  # which read files of projects that use other words
        assert allowed or not used, f"{path.name}: {used}, for which the word is {[unwanted[other] for other in used]}"


def test_the_readme_is_at_most_150_lines():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_citation_is_of_this_version():
    version = re.search(r'version="([^"]+)"', (ROOT / "setup.py").read_text())[1]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()

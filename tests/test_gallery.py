"""The pages of docs/gallery, and on models of one's own, run and print what they say they print."""

import doctest
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    path for path in sorted((ROOT / "docs" / "gallery").glob("*.md")) if ">>>" in path.read_text()
]
PAGES.append(ROOT / "docs" / "bring-your-own-model.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_the_page_prints_what_it_says(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testfile(str(page), module_relative=False, optionflags=flags, encoding="utf-8")
    assert result.attempted > 0
    assert result.failed == 0

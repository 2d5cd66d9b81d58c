"""The Python code of the pages is Python, and articles are named by what people search for."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path
from typing import Final

import pytest
from scripts.docs.pages import ROOT

from behaviour import test_what_people_ask as asked

PAGES: Final = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
ARTICLES: Final = sorted((ROOT / "docs" / "errors").glob("*.md"))

PARTS: Final = [
    "What it means",
    "The usual causes, the most frequent first",
    "How to see which it is",
    "The cure",
]


def blocks(page: Path) -> list[str]:
    found = re.findall(
        r"^( *)```python[^\n]*\n(.*?)^\1```$", page.read_text(), re.MULTILINE | re.DOTALL
    )
    return [textwrap.dedent(code) for _, code in found]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_the_code_is_python(page: Path) -> None:
    for code in blocks(page):
        compile(code, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("page", ARTICLES, ids=lambda page: page.stem)
def test_an_article_has_a_message_that_the_library_raises(page: Path) -> None:
    text = asked.one_line(page.read_text())
    assert [case.message for case in asked.CASES if case.message in text]


@pytest.mark.parametrize("page", ARTICLES, ids=lambda page: page.stem)
def test_an_article_says_what_it_means_and_what_to_do(page: Path) -> None:
    titles = re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE)
    assert PARTS == titles[: len(PARTS)]

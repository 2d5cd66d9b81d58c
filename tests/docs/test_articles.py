"""Articles have the error messages as titles that the libraries raise, and the same parts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy
from scripts.docs.pages import ROOT
from sqlalchemy.pool import QueuePool

from behaviour.test_what_people_ask import CASES, one_line

ARTICLES: Final = sorted((ROOT / "docs" / "errors").glob("*.md"))

PARTS: Final = [
    "What it means",
    "The usual causes, the most frequent first",
    "How to see which it is",
    "The cure",
]

SECONDS: Final = 0.01


def title(page: Path) -> str:
    return page.read_text().splitlines()[0]


@pytest.mark.parametrize("page", ARTICLES, ids=lambda page: page.stem)
def test_a_title_has_messages_that_the_library_raises(page: Path) -> None:
    quoted = re.findall(r'"([^"]+)"|`(TimeoutError)`', title(page))
    messages = [case.message for case in CASES]
    assert quoted
    for words in map("".join, quoted):
        assert [text for text in messages if text in words or words in text], words


def test_the_title_of_the_exhausted_pool_is_the_whole_message() -> None:
    engine = sqlalchemy.create_engine(
        "sqlite://", poolclass=QueuePool, pool_size=5, max_overflow=10, pool_timeout=SECONDS
    )
    out = [engine.connect() for _ in range(15)]
    with pytest.raises(sqlalchemy.exc.TimeoutError) as raised:
        engine.connect()
    for connection in out:
        connection.close()
    engine.dispose()
    message = str(raised.value).partition(" (Background")[0].replace(f"{SECONDS:.2f}", "30.00")
    assert f'# "{message}"' == title(ROOT / "docs" / "errors" / "queuepool-limit.md")


@pytest.mark.parametrize("page", ARTICLES, ids=lambda page: page.stem)
def test_an_article_says_what_it_means_and_what_to_do(page: Path) -> None:
    assert PARTS == re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", ARTICLES, ids=lambda page: page.stem)
def test_the_other_page_does_not_say_it_again(page: Path) -> None:
    index = (ROOT / "docs" / "what-people-ask.md").read_text()
    assert f"(errors/{page.name})" in index
    rest = one_line(index[index.index("\n## ") :])
    for words in map("".join, re.findall(r'"([^"]+)"|`(TimeoutError)`', title(page))):
        assert f'"{words}' not in rest

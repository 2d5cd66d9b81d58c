"""Each program of docs/quickstart.md is installed and run as the page says, and shows the same."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from support import quickstart
from support.quickstart import Block, host
from support.waiting import until

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres

TABS: Final = quickstart.tabs()

BY_ASYNCPG: Final = ("aiohttp",)
"""Tabs whose DATABASE_URL is one of asyncpg, as the page says."""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quickstart.wheels(tmp_path_factory.mktemp("wheels"))


def of(title: str, blocks: list[Block]) -> list[str]:
    return [block.text for block in blocks if block.title == title]


def shows(expected: str, printed: str) -> list[str]:
    """Return the lines that are expected and were not printed."""
    return [line for line in expected.splitlines() if line not in printed]


def test_the_page_has_a_tab_for_each_stack() -> None:
    expected = ["FastAPI", "Flask, gunicorn", "Django", "aiohttp", "Celery", "A script"]
    assert [*expected, "Many workers"] == list(TABS)
    for blocks in TABS.values():
        titles = [block.title for block in blocks]
        assert ["install", "output"] == [titles[0], titles[-1]]


@pytest.mark.parametrize("tab", TABS)
def test_a_program_shows_what_the_page_says(
    tab: str, wheels: Path, postgres: EmbeddedPostgres, short_path: Path
) -> None:
    blocks = TABS[tab]
    url = postgres.dsn if tab in BY_ASYNCPG else postgres.sqlalchemy_url("psycopg")
    environment = {
        "DATABASE_URL": url,
        "HOME": str(short_path),
        "PIP_CONSTRAINT": str(quickstart.CONSTRAINTS),
        "PIP_FIND_LINKS": str(wheels),
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_COMPILE": "1",
        "PIP_QUIET": "1",
    }
    expected = "".join(of("output", blocks))
    with host(short_path, environment) as there:
        (install,) = of("install", blocks)
        there.install(install)
        for block in blocks:
            if block.title.endswith(".py"):
                (there.folder / block.title).write_text(block.text)
        looks = of("look", blocks)
        if not looks:
            printed = "".join(map(there.run, of("run", blocks)))
            assert [] == shows(expected, printed), printed
            return
        (look,) = looks
        for run in of("run", blocks):
            there.start(run)
        for port in sorted(set(re.findall(r"127\.0\.0\.1:(\d+)", look))):
            there.await_port(port)
        printed = there.run(look)
        # A worker does its task later, and an exporter looks every few seconds.
        again = "\n".join(line for line in look.splitlines() if "/metrics" in line)
        with suppress(AssertionError):
            until(lambda: not shows(expected, printed + there.run(again)), "all is shown")
        printed += there.run(again)
        assert [] == shows(expected, printed), printed

"""`pytest --poolscope`, on small suites."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from launching.launched import environment

SUITE: Final = """\
import pytest
import sqlalchemy

engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool)
kept = []


@pytest.fixture(scope="session")
def shared():
    with engine.connect() as connection:
        yield connection


def keep():
    kept.append(engine.connect())


def test_that_returns_it():
    with engine.connect():
        pass


def test_that_is_given_one(shared):
    pass


def test_that_leaks():
    keep()


def test_that_drops_one():
    engine.connect()


def test_after_the_leak():
    pass


@pytest.mark.xfail(strict=True, raises=ValueError)
def test_that_fails_anyway():
    with engine.connect():
        raise ValueError
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "test_shop.py").write_text(SUITE)
    return tmp_path


def run(suite: Path, *options: str) -> str:
    # Not among the folders of these tests, which a new run tidies up.
    own = ("-p", "no:cacheprovider", "--basetemp", str(suite / "tmp"))
    command = [sys.executable, "-m", "pytest", *own, *options]
    ended = subprocess.run(
        command, cwd=suite, env=environment(), capture_output=True, text=True, check=False
    )
    return ended.stdout + ended.stderr


@pytest.mark.parametrize("options", [(), ("-n", "2", "--dist", "loadfile")], ids=["one", "xdist"])
def test_the_test_that_leaks_is_named_with_its_line(suite: Path, options: tuple[str, ...]) -> None:
    said = run(suite, "--poolscope", *options)
    assert "5 passed, 1 xfailed, 1 error" in said, said
    assert "ERROR at teardown of test_that_leaks" in said
    assert (
        "the test has left a connection of pool 'sqlite' (sqlalchemy) out, acquired at "
        "test_shop.py:15 in keep"
    ) in said
    assert "= poolscope =" in said
    assert "test_shop.py:32: critical: abandoned: " in said.partition("= poolscope =")[2]


def test_without_the_option_nothing_is_watched(suite: Path) -> None:
    said = run(suite)
    assert "5 passed, 1 xfailed" in said
    assert "poolscope" not in said.partition("collected")[2]

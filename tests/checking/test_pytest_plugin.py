"""`pytest --poolscope`, on small suites."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

import poolscope
from launching.launched import environment
from poolscope import Hold
from poolscope.checking import pytest_plugin
from poolscope.testing import FakeClock


def hold(held_seconds: float) -> Hold:
    return Hold(
        pool="orders",
        kind="asyncpg",
        site="a.py:1 in f",
        operation=None,
        now_at=None,
        held_seconds=held_seconds,
        owner=None,
        trace_id=None,
        overdue=False,
        abandoned=False,
        on_purpose=False,
        pid=1,
    )


def test_a_reading_that_takes_long_blames_no_test(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, pauses = FakeClock(), [5.0, 0.0]
    began = clock()
    monkeypatch.setattr(time, "monotonic", clock)

    def holders() -> list[Hold]:
        clock.advance(pauses.pop(0))
        return [hold(clock() - began + 1.0), hold(clock() - began - 0.5)]

    monkeypatch.setattr(poolscope, "holders", holders)
    clock.advance(1.0)
    # The first one began a second before the test, the other one half a second after.
    assert [0.5 + 5.0] == [each.held_seconds for each in pytest_plugin._left(began, clock())]
    assert [] == pauses


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


FIXTURES: Final = """\
import pytest
import sqlalchemy

engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool)
kept = []


@pytest.fixture
def careless():
    kept.append(engine.connect())


@pytest.fixture
def careful():
    with engine.connect() as connection:
        yield connection


@pytest.fixture
def late():
    given = []
    yield given
    for each in given:
        each.close()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_with_fixtures(careless, careful, late, number):
    late.append(engine.connect())


@pytest.mark.parametrize("number", [1, 2])
def test_that_fails_and_leaks(number):
    kept.append(engine.connect())
    assert number == 1
"""


@pytest.mark.parametrize("options", [(), ("-n", "2", "--dist", "loadfile")], ids=["one", "xdist"])
def test_what_fixtures_leave_out_is_said_at_the_end(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    (tmp_path / "test_fixtures.py").write_text(FIXTURES)
    said = run(tmp_path, "--poolscope", *options)
    assert "1 failed, 4 passed, 2 errors" in said, said
    assert "ERROR at teardown of test_that_fails_and_leaks[1]" in said
    assert "ERROR at teardown of test_that_fails_and_leaks[2]" in said
    end = said.partition("= poolscope =")[2]
    of_fixture = "a connection of pool 'sqlite' (sqlalchemy), acquired at test_fixtures.py:10"
    assert f"still out at the end: 3 x {of_fixture} in careless" in end
    assert "test_fixtures.py:15" not in end

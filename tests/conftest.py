"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy

from poolscope.errors import internal_errors
from poolscope.testing import FakeClock
from poolscope.watch import Watches

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A real PostgreSQL server, for the whole run."""
    from poolscope.demo.postgres import embedded_postgres

    with embedded_postgres() as server:
        yield server


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def watches(clock: FakeClock) -> Watches:
    """A set of watches of the test's own, whose time the test moves."""
    return Watches(clock)


@pytest.fixture(autouse=True)
def no_internal_errors(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test does, no hook of ours may have failed, unless the test makes one fail."""
    before = internal_errors.count
    yield
    if "makes_hooks_fail" not in request.keywords:
        assert internal_errors.count == before


@pytest.fixture
def collect() -> Iterator[None]:
    """Collect garbage before and after, for tests that depend on what is gone."""
    gc.collect()
    yield
    gc.collect()


@pytest.fixture(scope="session")
def promtool() -> str:
    """The path of promtool. A test that needs it is skipped without, but not in CI."""
    found = shutil.which("promtool")
    if found is None:
        missing = "promtool is missing; on Debian: apt-get install prometheus"
        if os.environ.get("POOLSCOPE_REQUIRE_TOOLS"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@pytest.fixture
def engines(postgres: EmbeddedPostgres) -> Iterator[Any]:
    """Makes engines on the real server, and disposes of them."""
    made = []

    def make(**options: Any) -> sqlalchemy.Engine:
        engine = sqlalchemy.create_engine(postgres.sqlalchemy_url("psycopg"), **options)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.dispose()

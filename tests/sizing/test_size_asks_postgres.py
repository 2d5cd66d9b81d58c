"""`poolscope size` asks a PostgreSQL server how many connections there are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prometheus_client import CollectorRegistry

import poolscope
from poolscope.demo.postgres import EmbeddedPostgres
from sizing.test_size_command import GIVEN, size
from support.bouncers import Bouncer
from support.ports import closed_port

SECRET = "open sesame"  # noqa: S105 - of the tests' own server


@pytest.fixture
def others(postgres: EmbeddedPostgres) -> Iterator[int]:
    """Some connections of other applications; how many there are, is said by the server itself."""
    connections = [psycopg.connect(postgres.dsn, autocommit=True) for _ in range(5)]
    query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    found = connections[0].execute(query).fetchone()
    assert found is not None
    yield int(found[0])
    for each in connections:
        each.close()


def ceiling(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert 0 == size(*arguments, "--surge", "0", "--format", "json")
    (found,) = json.loads(capsys.readouterr().out)
    return found["ceiling"]


def accepted(postgres: EmbeddedPostgres) -> int:
    with psycopg.connect(postgres.dsn) as connection:
        row = connection.execute(
            "SELECT current_setting('max_connections')::int"
            " - current_setting('superuser_reserved_connections')::int"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_the_server_says_what_it_accepts_and_who_else_is_there(
    postgres: EmbeddedPostgres, others: int, capsys: pytest.CaptureFixture[str]
) -> None:
    free = accepted(postgres) - others
    assert free == ceiling(capsys, *GIVEN, "--postgres", postgres.dsn)
    few = accepted(postgres) - 1
    assert few == ceiling(capsys, *GIVEN, "--postgres", postgres.dsn, "--others", "1")


def test_the_server_of_the_environment(
    postgres: EmbeddedPostgres,
    others: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POOLSCOPE_POSTGRES", postgres.dsn)
    assert accepted(postgres) - others == ceiling(capsys, *GIVEN)
    assert 47 == ceiling(capsys, *GIVEN, "--max-connections", "50")
    monkeypatch.setenv("POOLSCOPE_POSTGRES", f"{postgres.dsn} {postgres.dsn}")
    assert 2 == size(*GIVEN)
    assert "POOLSCOPE_POSTGRES names 2 servers" in capsys.readouterr().err
    monkeypatch.setenv("POOLSCOPE_POSTGRES", f"postgres:{SECRET}@db")
    assert 2 == size(*GIVEN)
    said = capsys.readouterr().err
    assert said.startswith("poolscope size: POOLSCOPE_POSTGRES: not a DSN: ")
    assert SECRET not in said


def test_connections_of_its_own_pools_are_not_those_of_others(
    postgres: EmbeddedPostgres, others: int, capsys: pytest.CaptureFixture[str], engines: Any
) -> None:
    registry = CollectorRegistry()
    engine = engines(pool_size=3, max_overflow=0)
    server, thread = poolscope.start_http_server(0, registry=registry)
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        with poolscope.watch(engine, "orders", registry=registry):
            held = [engine.connect() for _ in range(3)]
            for each in held:
                each.close()
            for _ in range(100):
                engine.connect().close()
            arguments = ("--url", url, "--for", "1s", "--postgres", postgres.dsn)
            # Nobody uses it meanwhile, so there is no advice, but a ceiling.
            assert accepted(postgres) - others == ceiling(capsys, *arguments)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--postgres", f"db:{SECRET}@db"), "not a DSN: it does not begin with postgresql://"),
        (("--postgres", f"postgresql://me:{SECRET}@db:0/x"), "not a DSN: its port"),
        (("--postgres", ""), "not a DSN"),
        (
            ("--postgres", "postgresql://db/x", "--max-connections", "9"),
            "give only one of --postgres and --max-connections",
        ),
    ],
)
def test_bad_servers_get_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
) -> None:
    assert 2 == size(*GIVEN, *arguments)
    said = capsys.readouterr().err
    assert said.startswith("poolscope size: ")
    assert complaint in said
    assert 1 == said.count("\n")
    assert SECRET not in said


def test_a_server_that_cannot_be_asked(
    tmp_path: Path, postgres: EmbeddedPostgres, capsys: pytest.CaptureFixture[str]
) -> None:
    bouncer = Bouncer(tmp_path, postgres.socket_dir, "scram-sha-256")
    secret = SECRET.replace(" ", "-")
    missing = f"postgresql://me:{secret}@127.0.0.1:{closed_port()}/postgres"
    try:
        for dsn, reason in (
            (bouncer.dsn("postgres", "console", secret), "authentication failed"),
            (missing, "Connection refused"),
            (f"postgresql://me:{secret}@no-such-host.invalid/postgres", ""),
        ):
            assert 1 == size(*GIVEN, "--postgres", dsn)
            said = capsys.readouterr()
            assert ("", 1) == (said.out, said.err.count("\n"))
            assert said.err.startswith("poolscope size: ")
            assert reason in said.err
            assert secret not in said.err
    finally:
        bouncer.end()

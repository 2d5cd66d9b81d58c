"""Names of databases, users and applications on a real PostgreSQL, whatever their bytes are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from psycopg import pq
from psycopg.pq.abc import PGconn

from poolscope.exporter import postgres as exporter_postgres
from poolscope.exporter.postgres import PostgresProbe
from support.probing import connect, probes

__all__ = ["connect", "probes"]

LATIN = "é".encode("latin-1")
"""One byte, which is no UTF-8."""


ENCODINGS = "LATIN1", "SQL_ASCII"


def encoded(postgres: Any, encoding: str) -> str:
    """Return the DSN of a database with this encoding."""
    parts = urlsplit(str(postgres.dsn))
    return parts._replace(path=f"/in_{encoding.lower()}").geturl()


def execute(connection: PGconn, *commands: bytes) -> None:
    for command in commands:
        result = connection.exec_(command)
        assert result.status == pq.ExecStatus.COMMAND_OK, result.error_message


@pytest.fixture
def admin(postgres: Any) -> Iterator[PGconn]:
    """A connection whose commands may have any bytes, and databases of other encodings."""
    created = [
        f"CREATE DATABASE in_{encoding} ENCODING '{encoding}' TEMPLATE template0 "
        "LC_COLLATE 'C' LC_CTYPE 'C'".encode()
        for encoding in ENCODINGS
    ]
    first = pq.PGconn.connect(postgres.dsn.encode())
    execute(first, *created)
    admin = pq.PGconn.connect(encoded(postgres, "SQL_ASCII").encode())
    yield admin
    admin.finish()
    execute(first, *(f"DROP DATABASE in_{each} WITH (FORCE)".encode() for each in ENCODINGS))
    first.finish()


@pytest.fixture
def stranger(admin: PGconn, postgres: Any) -> Iterator[PGconn]:
    """A connection of a user, to a database, whose names are no UTF-8."""
    execute(
        admin,
        b'CREATE DATABASE "caf%s" TEMPLATE template0' % LATIN,
        b'CREATE ROLE "us%sr" LOGIN' % LATIN,
    )
    connection = pq.PGconn.connect(
        b"host='%s' user='us%sr' dbname='caf%s' application_name='a\\\\b\x01%s'"
        % (str(postgres.socket_dir).encode(), LATIN, LATIN, LATIN)
    )
    assert connection.status == pq.ConnStatus.OK, connection.error_message
    yield connection
    connection.finish()
    execute(
        admin,
        b'DROP DATABASE "caf%s" WITH (FORCE)' % LATIN,
        b'DROP ROLE "us%sr"' % LATIN,
    )


async def names_of(probe: PostgresProbe) -> set[tuple[str, str, str]]:
    reading = await probe.ask()
    assert reading.up
    return {(each.database, each.user, each.application) for each in reading.connections}


@pytest.mark.usefixtures("stranger")
async def test_that_are_no_text_do_not_make_the_server_look_down(
    postgres: Any, probes: Any
) -> None:
    for dsn in (postgres.dsn, *(encoded(postgres, encoding) for encoding in ENCODINGS)):
        names = await names_of(probes(PostgresProbe, dsn))
        assert (r"caf\xe9", r"us\xe9r", r"a\b\x01\xe9") in names


async def test_of_utf_8_are_shown_as_they_are(
    admin: PGconn, postgres: Any, connect: Any, probes: Any
) -> None:
    name = '"日本\\語"'.encode()
    execute(admin, b"CREATE DATABASE %s TEMPLATE template0" % name, b"CREATE ROLE %s LOGIN" % name)
    try:
        await connect(postgres.dsn, user="日本\\語", database="日本\\語")
        for dsn in (postgres.dsn, *(encoded(postgres, encoding) for encoding in ENCODINGS)):
            names = await names_of(probes(PostgresProbe, dsn))
            assert ("日本\\語", "日本\\語", "orders") in names
    finally:
        execute(admin, b"DROP DATABASE %s WITH (FORCE)" % name, b"DROP ROLE %s" % name)


async def test_ever_new_names_of_applications_make_few_labels(
    postgres: Any, connect: Any, probes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter_postgres, "SHOWN_APPLICATIONS", 4)
    probe = probes(PostgresProbe, postgres.dsn)
    for _ in range(2):
        await connect(postgres.dsn, application="shop:orders:7")
    stranger = await connect(postgres.dsn, application="guest")
    labels: set[str] = set()
    for number in range(20):
        await stranger.execute(f"SET application_name = 'name {number}'")
        applications = (await probe.ask()).applications
        assert applications is not None
        labels |= applications
        assert "shop:orders" in applications
    assert 4 == len(labels)

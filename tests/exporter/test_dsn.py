"""DSNs are checked, and servers named, without revealing a secret."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from poolscope.exporter.dsn import check, label
from poolscope.exporter.pgbouncer import PgBouncerProbe
from poolscope.exporter.postgres import PostgresProbe


@pytest.fixture(autouse=True)
def no_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT"):
        monkeypatch.delenv(name, raising=False)


VALID_DSNS = [
    ("postgresql://db", "db:5432"),
    ("postgres://db:6432/orders", "db:6432"),
    ("postgresql://me:hunter2@db/orders?application_name=hunter2", "db:5432"),
    ("postgresql://me:hunter2@db:1/orders", "db:1"),
    ("postgresql://me:hunter2%40%2F%3F%23@db:1/orders", "db:1"),
    ("postgresql://me@db?password=hunter2&options=-c%20a%3Dhunter2", "db:5432"),
    ("postgresql://me:hunter2@first:1,second:2/orders", "first:1"),
    ("postgresql://me:hunter2@[2001:db8::1]/orders", "[2001:db8::1]:5432"),
    ("postgresql://me:hunter2@[::1]:5433/orders", "[::1]:5433"),
    ("postgresql:///orders", "localhost:5432"),
    ("postgresql://me:hunter2@/orders?host=db&port=5433", "db:5433"),
    ("postgresql://me:hunter2@/orders?host=one,two&port=1,2", "one:1"),
    ("postgresql://me@/orders?host=db:5433", "db:5433"),
    ("postgresql://me@/orders?host=::1", "[::1]:5432"),
    ("postgresql://me@/orders?host=/run/postgresql", "/run/postgresql:5432"),
    ("postgresql://me@/orders?host=%2Frun%2Fpostgresql&port=6432", "/run/postgresql:6432"),
    ("postgresql://%2Frun%2Fpostgresql/orders", "/run/postgresql:5432"),
    ("postgresql://me:hunter2@:5433/orders", "localhost:5433"),
]

MALFORMED_DSNS = [
    "",
    "hunter2",
    "host=db password=hunter2",
    "mysql://me:hunter2@db/orders",
    "POSTGRESQL+asyncpg://me:hunter2@db/orders",
    "postgresql://me:hunter2@db:port/orders",
    "postgresql://me:hunter2@db:0/orders",
    "postgresql://me:hunter2@db:65536/orders",
    "postgresql://me:hunter2@db:٣/orders",
    "postgresql://me:hunter2@db/orders?port=hunter2",
    "postgresql://me:hunter2@[::1/orders",
    "postgresql://me:hunter2℀@db/orders",
    "postgresql://me:hunter2@db/orders?hunter2",
    "postgresql://me:hunter2@db/orders?host=other",
    "postgresql://me:hunter2@db/orders?port=5433",
    "postgresql://me:hunter2@db\n/orders",
    # Characters that are not percent-encoded change where the parts of the URL end.
    "postgresql://me:p@hunter2@db/orders",
    "postgresql://me:1/hunter2@db/orders",
    "postgresql://me:1?hunter2@db/orders",
    "postgresql://me:1?a=hunter2@db/orders",
    "postgresql://me:1#hunter2@db/orders",
    "postgresql://db/orders?password=hunter2@",
]


class TestLabel:
    @pytest.mark.parametrize(("dsn", "expected"), VALID_DSNS)
    def test_it_is_the_address_of_the_server_and_nothing_else(
        self, dsn: str, expected: str
    ) -> None:
        assert expected == label(dsn)
        check(dsn)
        assert expected == PostgresProbe(dsn).label
        assert expected == PgBouncerProbe(dsn).label

    def test_it_uses_the_default_host_and_port_of_the_environment(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PGHOST", "one,two")
        monkeypatch.setenv("PGPORT", "5433")
        assert ("one:5433", "db:5433", "db:1") == (
            label("postgresql:///orders"),
            label("postgresql://db/orders"),
            label("postgresql://db:1/orders"),
        )


class TestMalformedDsn:
    @pytest.mark.parametrize("dsn", MALFORMED_DSNS)
    @pytest.mark.parametrize("do", [label, check, PostgresProbe, PgBouncerProbe])
    def test_the_error_is_one_line_that_does_not_repeat_it(
        self, do: Callable[[str], object], dsn: str
    ) -> None:
        with pytest.raises(ValueError, match=r"\Anot a DSN: .+\Z") as refused:
            do(dsn)
        assert "hunter2" not in str(refused.value)
        assert refused.value.__suppress_context__ or refused.value.__context__ is None

    def test_a_dsn_that_libpq_rejects_is_rejected_for_a_pgbouncer(self) -> None:
        dsn = "postgresql://me:hunter2%@db/orders"
        check(dsn)
        with pytest.raises(ValueError, match=r"\Anot a DSN: libpq does not accept it\Z"):
            PgBouncerProbe(dsn)

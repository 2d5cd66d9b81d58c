"""The exporter's probe of a real PostgreSQL, and of servers that fail."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from poolscope.exporter.postgres import APPLICATION_NAME, PostgresProbe
from poolscope.exporter.probes import ProbeError, Probes
from poolscope.readings.database_servers import ServerConnections, ServerReading
from support.probing import (
    ask_until,
    bouncers,
    cancel,
    connect,
    connect_until_refused,
    probe,
    probes,
    relay,
    relayed,
    run,
    silent,
    states,
)
from support.waiting import PATIENCE, eventually

__all__ = [
    "ask_until",
    "bouncers",
    "cancel",
    "connect",
    "connect_until_refused",
    "probe",
    "probes",
    "relay",
    "relayed",
    "run",
    "silent",
    "states",
]

AGE = """
SELECT extract(epoch FROM clock_timestamp() - state_change)::float8 FROM pg_stat_activity
WHERE pid = $1
"""

SETTINGS = """
SELECT 0 AS limit, 0 AS reserved, current_setting('statement_timeout')::bytea AS database,
    current_setting('transaction_read_only')::bytea AS user,
    current_setting('application_name')::bytea AS application,
    'idle' AS state, 1 AS count, 0.0::float8 AS oldest_seconds
"""
"""A query for the settings of the probe's connection, with the columns of the probe's query."""


class TestPostgres:
    async def test_connections_are_counted_by_state(
        self, probe: Any, postgres: Any, connect: Any
    ) -> None:
        in_transaction, aborted = await connect(postgres.dsn), await connect(postgres.dsn)
        waiting, _, _ = [await connect(postgres.dsn) for _ in range(3)]
        await in_transaction.execute("BEGIN; SELECT pg_advisory_xact_lock(10464)")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await aborted.execute("BEGIN; SELECT 1/0")
        lock = asyncio.create_task(waiting.execute("SELECT pg_advisory_xact_lock(10464)"))
        expected = {
            "active": 1,
            "idle": 2,
            "idle_in_transaction": 1,
            "idle_in_transaction_aborted": 1,
        }
        await ask_until(probe.ask, states, expected)
        await in_transaction.execute("COMMIT")
        await lock
        await ask_until(probe.ask, states, {"idle": 4, "idle_in_transaction_aborted": 1})

    async def test_a_state_has_the_age_of_its_oldest_connection(
        self, probe: Any, postgres: Any, connect: Any
    ) -> None:
        old, new, other = [await connect(postgres.dsn) for _ in range(3)]
        await old.execute("BEGIN")
        pid = old.get_server_pid()
        # The new transaction cannot reach this age before the probe asks.
        await ask_until(lambda: other.fetchval(AGE, pid), lambda age: age > 0.5, True)
        least = await other.fetchval(AGE, pid)
        await new.execute("BEGIN")
        reading = await probe.ask()
        most = await other.fetchval(AGE, pid)
        (group,) = [group for group in reading.connections if "idle_in_transaction" == group.state]
        age = group.oldest_seconds
        expected = ServerConnections("postgres", "postgres", "orders", group.state, 2, age)
        assert expected == group
        assert 0 < least <= age <= most

    async def test_connections_are_sorted_by_name_and_state(
        self, probe: Any, postgres: Any, connect: Any
    ) -> None:
        for name in ("d", "b", "e", "a", "c"):
            await connect(postgres.dsn, name)
        await (await connect(postgres.dsn, "b")).execute("BEGIN")
        names = [(group.application, group.state) for group in (await probe.ask()).connections]
        idle = [(name, "idle") for name in "abcde"]
        assert sorted([*idle, ("b", "idle_in_transaction")]) == names

    async def test_a_reading_has_the_limit_and_the_reserved_connections(
        self, probe: Any, postgres: Any, connect: Any
    ) -> None:
        other = await connect(postgres.dsn)
        limit, superusers, others = [
            int(await other.fetchval("SELECT current_setting($1)", name))
            for name in (
                "max_connections",
                "superuser_reserved_connections",
                "reserved_connections",
            )
        ]
        reading = replace(await probe.ask(), connections=(), applications=None)
        name = f"{postgres.socket_dir}:5432"
        assert ServerReading(name, True, limit, superusers + others) == reading

    async def test_a_probe_uses_one_named_connection_and_prepares_no_statements(
        self, probe: Any, postgres: Any, connect: Any
    ) -> None:
        for _ in range(3):
            assert {} == states(await probe.ask(), APPLICATION_NAME)
        other = await connect(postgres.dsn)
        query = "SELECT state FROM pg_stat_activity WHERE application_name = $1"
        assert ["idle"] == [row["state"] for row in await other.fetch(query, APPLICATION_NAME)]
        count = "SELECT count(*) FROM pg_prepared_statements"
        assert 0 == await probe._connection.fetchval(count)

    async def test_the_query_has_a_timeout_and_is_read_only(
        self, probe: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("poolscope.exporter.postgres.QUERY", SETTINGS)
        expected = ServerConnections("2500ms", "on", APPLICATION_NAME, "idle", 1, 0.0)
        assert (expected,) == (await probe.ask()).connections

    async def test_a_full_server_still_answers_a_connected_probe(
        self, probe: Any, postgres: Any, connect: Any
    ) -> None:
        await probe.ask()
        await connect_until_refused(connect, postgres.dsn, "sorry, too many clients already")
        reading = await probe.ask()
        assert reading.limit - 1 == sum(group.count for group in reading.connections)
        second = PostgresProbe(postgres.dsn)
        with pytest.raises(ProbeError, match=r"\Asorry, too many clients already\Z"):
            await second.ask()

    async def test_a_role_that_may_not_see_others_gets_unknown_states(
        self, probe: Any, probes: Any, postgres: Any, connect: Any
    ) -> None:
        other = await connect(postgres.dsn)
        await other.execute("BEGIN")
        await probe.ask()
        await probe._connection.execute("CREATE ROLE blind LOGIN")
        blind = PostgresProbe(
            f"postgresql://blind@/postgres?host={quote(str(postgres.socket_dir))}"
        )
        try:
            reading = await ask_until(blind.ask, states, {"unknown": 1})
            unknown = [group for group in reading.connections if group.application == "orders"]
            expected = ServerConnections("postgres", "postgres", "orders", "unknown", 1, 0.0)
            assert ([expected], {"unknown"}) == (
                unknown,
                {group.state for group in reading.connections},
            )
        finally:
            blind.terminate()
            await probe._connection.execute("DROP ROLE blind")

    async def test_a_probe_works_through_a_pgbouncer(
        self, bouncers: Any, probes: Any, connect: Any
    ) -> None:
        bouncer = bouncers(default_pool_size=2)
        dsn = bouncer.dsn("postgres")
        probe = probes(PostgresProbe, dsn)
        clients = [await connect(dsn, statement_cache_size=0) for _ in range(3)]
        for client in clients:
            # In between, other clients use the server connections of the PgBouncer.
            await client.execute("SELECT 1")
            await ask_until(probe.ask, lambda reading: reading.up, True)
        await clients[0].execute("BEGIN")
        await ask_until(probe.ask, states, {"idle_in_transaction": 1})
        assert f"127.0.0.1:{bouncer.port}" == probe.label


class TestFailingPostgres:
    async def test_a_probe_reconnects_after_its_connection_was_terminated(
        self, probe: Any, postgres: Any, connect: Any
    ) -> None:
        await probe.ask()
        before = probe._connection
        other = await connect(postgres.dsn)
        await other.execute("SELECT pg_terminate_backend($1)", before.get_server_pid())
        await eventually(True, before.is_closed)
        assert (await probe.ask()).up

    async def test_a_probe_of_a_hanging_server_can_be_cancelled(
        self, relay: Any, relayed: Any
    ) -> None:
        await relayed.ask()
        relay.silent = True
        asking = asyncio.create_task(relayed.ask())
        await eventually(True, lambda: relay.swallowed > 0)
        await cancel(asking)
        await eventually((1, 0), lambda: (relay.accepted, len(relay.clients)))
        relay.silent = False
        assert (await relayed.ask()).up

    async def test_a_server_that_hangs_up_while_it_is_asked_is_an_error(
        self, relay: Any, relayed: Any
    ) -> None:
        await relayed.ask()
        relay.silent = True
        asking = asyncio.create_task(relayed.ask())
        await eventually(True, lambda: relay.swallowed > 0)
        relay.hang_up()
        with pytest.raises((ProbeError, OSError)):
            await asking
        relay.silent = False
        assert (await relayed.ask()).up

    async def test_a_server_that_is_killed_is_down(self, caplog: Any) -> None:
        from poolscope.demo.postgres import embedded_postgres

        with embedded_postgres() as doomed:
            probes = Probes([PostgresProbe(doomed.dsn)], interval=0.0, timeout=PATIENCE)
            probes.start()
            await eventually(True, lambda: probes.readings()[0].up)
            assert () == probes.readings()[0].connections
            pid = int((doomed.socket_dir / "postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGQUIT)
            name = f"{doomed.socket_dir}:5432"
            await eventually(ServerReading(name), lambda: probes.readings()[0])
            await probes.close()
        ours = [record for record in caplog.records if record.name == "poolscope.exporter"]
        # While it shuts down, the server may take one more connection, and fail once more.
        assert ours
        assert all(f"{name} does not answer: " in record.getMessage() for record in ours)

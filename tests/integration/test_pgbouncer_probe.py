"""The exporter's questions to a real PgBouncer, and to servers that never answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from psycopg.pq import TransactionStatus

from poolscope.exporter.pgbouncer import PgBouncerProbe
from poolscope.exporter.postgres import PostgresProbe
from poolscope.exporter.probes import ProbeError, Probes, describe_error
from poolscope.readings.database_servers import BouncerPool
from support.ports import closed_port
from support.probing import (
    asked,
    bouncers,
    cancelled,
    connect,
    probe,
    probes,
    relay,
    relayed,
    run,
    silent,
    states,
    until_refused,
)
from support.waiting import eventually

__all__ = [
    "asked",
    "bouncers",
    "cancelled",
    "connect",
    "probe",
    "probes",
    "relay",
    "relayed",
    "run",
    "silent",
    "states",
    "until_refused",
]


class TestPgBouncer:
    async def test_pools_with_who_waits_and_the_limits(self, run: Any, connect: Any) -> None:
        bouncer, probe = run(default_pool_size=1, max_client_conn=20)
        dsn = bouncer.dsn("postgres")
        holder, waiter = [await connect(dsn, statement_cache_size=0) for _ in range(2)]
        await holder.execute("BEGIN")
        waiting = asyncio.create_task(waiter.execute("SELECT 1"))
        await asked(probe.ask, waits, [True])
        reading = await probe.ask()
        (pool,) = reading.pools
        clients = {**dict.fromkeys(pool.clients, 0), "active": 1, "waiting": 1}
        servers = {**dict.fromkeys(pool.servers, 0), "active": 1}
        wait = pool.oldest_wait_seconds
        assert BouncerPool("postgres", "postgres", clients, servers, wait) == pool
        assert (f"127.0.0.1:{bouncer.port}", True, 20, 1, 3, 1) == (
            reading.server,
            reading.up,
            reading.client_limit,
            reading.pool_size,
            reading.clients,
            reading.servers,
        )
        assert wait <= (await probe.ask()).pools[0].oldest_wait_seconds
        await holder.execute("COMMIT")
        await waiting
        await asked(probe.ask, waits, [False])

    async def test_one_that_is_full(self, run: Any, connect: Any) -> None:
        bouncer, probe = run(max_client_conn=4)
        await probe.ask()
        await until_refused(connect, bouncer.dsn("postgres"), "no more connections allowed")
        reading = await asked(probe.ask, lambda reading: reading.clients, 4)
        assert reading.client_limit == reading.clients

    async def test_one_that_hangs_is_left_without_a_word(self, run: Any) -> None:
        bouncer, probe = run()
        await probe.ask()
        bouncer.freeze()
        asking = asyncio.create_task(probe.ask())
        pgconn = probe._connection.pgconn
        await eventually(TransactionStatus.ACTIVE, lambda: pgconn.transaction_status)
        await cancelled(asking)
        assert probe._connection is None
        bouncer.thaw()
        reading = await asked(probe.ask, lambda reading: reading.clients, 1)
        assert reading.up

    async def test_one_that_is_killed_and_comes_back(self, run: Any) -> None:
        bouncer, probe = run()
        await probe.ask()
        bouncer.kill()
        bouncer.start()
        assert (await probe.ask()).up
        bouncer.kill()
        with pytest.raises(ProbeError, match="Connection refused"):
            await probe.ask()
        bouncer.start()
        assert (await probe.ask()).up

    async def test_one_that_is_killed_in_the_middle(self, run: Any) -> None:
        bouncer, probe = run()
        await probe.ask()
        bouncer.freeze()
        asking = asyncio.create_task(probe.ask())
        pgconn = probe._connection.pgconn
        await eventually(TransactionStatus.ACTIVE, lambda: pgconn.transaction_status)
        bouncer.kill()
        with pytest.raises(ProbeError, match="server closed the connection unexpectedly"):
            await asking

    async def test_who_is_no_admin_is_told_so(self, bouncers: Any, probes: Any) -> None:
        probe = probes(PgBouncerProbe, bouncers().dsn("pgbouncer", "postgres"))
        with pytest.raises(ProbeError) as refused:
            await probe.ask()
        assert "not allowed" in describe_error(refused.value)

    @pytest.mark.parametrize("make", [PgBouncerProbe, PostgresProbe])
    async def test_a_wrong_password_is_not_repeated(
        self, bouncers: Any, probes: Any, make: Any
    ) -> None:
        bouncer = bouncers("scram-sha-256")
        wrong = probes(make, bouncer.dsn("pgbouncer", "console", "hunter2"))
        with pytest.raises(ProbeError) as refused:
            await wrong.ask()
        assert "hunter2" not in describe_error(refused.value)
        assert "authentication failed" in describe_error(refused.value)

    async def test_a_right_password(self, bouncers: Any, probes: Any) -> None:
        bouncer = bouncers("scram-sha-256")
        dsn = bouncer.dsn("pgbouncer", "console", "open%20sesame")
        assert (await probes(PgBouncerProbe, dsn).ask()).up


def waits(reading: Any) -> list[bool]:
    return [pool.oldest_wait_seconds > 0 for pool in reading.pools]


class TestAServerThatNeverAnswers:
    @pytest.mark.parametrize("make", [PostgresProbe, PgBouncerProbe])
    @pytest.mark.parametrize("mode", ["disable", "prefer"])
    async def test_is_down_and_keeps_no_connections(
        self, silent: Any, make: Any, mode: str, caplog: Any
    ) -> None:
        probe = make(f"postgresql://me:hunter2@127.0.0.1:{silent.port}/x?sslmode={mode}")
        probes: Any = Probes([probe], interval=0.0, timeout=0.05)
        probes.start()
        await eventually(True, lambda: silent.accepted > 2)
        assert (probe.down_reading(),) == probes.readings()
        await probes.close()
        await eventually(0, lambda: len(silent.clients))
        (line,) = caplog.messages
        assert f"{probe.label} does not answer: no answer within 0.05 s" == line

    @pytest.mark.parametrize("make", [PostgresProbe, PgBouncerProbe])
    async def test_may_not_be_there_at_all(self, make: Any, probes: Any) -> None:
        probe = probes(make, f"postgresql://me:hunter2@localhost:{closed_port()}/x")
        with pytest.raises((OSError, ProbeError)) as refused:
            await probe.ask()
        why = describe_error(refused.value)
        assert "hunter2" not in why
        assert "\n" not in why
        assert "onnect" in why

    @pytest.mark.parametrize("make", [PostgresProbe, PgBouncerProbe])
    async def test_may_talk_nonsense(self, make: Any) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        dsn = f"postgresql://me:hunter2@127.0.0.1:{port}/x?sslmode=disable"
        probes: Any = Probes([make(dsn)], timeout=0.5)
        probes.start()
        await eventually({make(dsn).label}, lambda: probes._failing)
        await probes.close()
        server.close()

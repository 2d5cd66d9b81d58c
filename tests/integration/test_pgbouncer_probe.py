"""The exporter's probe of a real PgBouncer, and of servers that never answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from psycopg.pq import TransactionStatus

from poolscope.exporter.pgbouncer import PgBouncerProbe
from poolscope.exporter.postgres import PostgresProbe
from poolscope.exporter.probes import ProbeError, Probes, describe_error
from poolscope.readings.database_servers import BouncerPool
from support.logs import messages_of_poolscope
from support.ports import closed_port
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
from support.waiting import eventually

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


class TestPgBouncer:
    async def test_a_reading_has_pools_with_waiting_clients_and_limits(
        self, run: Any, connect: Any
    ) -> None:
        bouncer, probe = run(default_pool_size=1, max_client_conn=20)
        dsn = bouncer.dsn("postgres")
        holder, waiter = [await connect(dsn, statement_cache_size=0) for _ in range(2)]
        await holder.execute("BEGIN")
        waiting = asyncio.create_task(waiter.execute("SELECT 1"))
        await ask_until(probe.ask, waits, [True])
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
        await ask_until(probe.ask, waits, [False])

    async def test_a_full_pgbouncer_still_answers(self, run: Any, connect: Any) -> None:
        bouncer, probe = run(max_client_conn=4)
        await probe.ask()
        await connect_until_refused(connect, bouncer.dsn("postgres"), "no more connections allowed")
        reading = await ask_until(probe.ask, lambda reading: reading.clients, 4)
        assert reading.client_limit == reading.clients

    async def test_a_probe_of_a_hanging_pgbouncer_can_be_cancelled(self, run: Any) -> None:
        bouncer, probe = run()
        await probe.ask()
        bouncer.freeze()
        asking = asyncio.create_task(probe.ask())
        pgconn = probe._connection.pgconn
        await eventually(TransactionStatus.ACTIVE, lambda: pgconn.transaction_status)
        await cancel(asking)
        assert probe._connection is None
        bouncer.thaw()
        reading = await ask_until(probe.ask, lambda reading: reading.clients, 1)
        assert reading.up

    async def test_a_pgbouncer_that_was_restarted_is_asked_again(self, run: Any) -> None:
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

    async def test_a_pgbouncer_that_is_killed_while_it_is_asked_is_an_error(self, run: Any) -> None:
        bouncer, probe = run()
        await probe.ask()
        bouncer.freeze()
        asking = asyncio.create_task(probe.ask())
        pgconn = probe._connection.pgconn
        await eventually(TransactionStatus.ACTIVE, lambda: pgconn.transaction_status)
        bouncer.kill()
        with pytest.raises(ProbeError, match="server closed the connection unexpectedly"):
            await asking

    async def test_a_user_who_is_no_admin_is_an_error(self, bouncers: Any, probes: Any) -> None:
        probe = probes(PgBouncerProbe, bouncers().dsn("pgbouncer", "postgres"))
        with pytest.raises(ProbeError) as refused:
            await probe.ask()
        assert "not allowed" in describe_error(refused.value)

    @pytest.mark.parametrize("make", [PgBouncerProbe, PostgresProbe])
    async def test_an_error_does_not_contain_the_wrong_password(
        self, bouncers: Any, probes: Any, make: Any
    ) -> None:
        bouncer = bouncers("scram-sha-256")
        wrong = probes(make, bouncer.dsn("pgbouncer", "console", "hunter2"))
        with pytest.raises(ProbeError) as refused:
            await wrong.ask()
        assert "hunter2" not in describe_error(refused.value)
        assert "authentication failed" in describe_error(refused.value)

    async def test_a_right_password_is_accepted(self, bouncers: Any, probes: Any) -> None:
        bouncer = bouncers("scram-sha-256")
        dsn = bouncer.dsn("pgbouncer", "console", "open%20sesame")
        assert (await probes(PgBouncerProbe, dsn).ask()).up


def waits(reading: Any) -> list[bool]:
    """Return for each pool whether a client waits."""
    return [pool.oldest_wait_seconds > 0 for pool in reading.pools]


class TestServersThatDoNotAnswer:
    @pytest.mark.parametrize("make", [PostgresProbe, PgBouncerProbe])
    @pytest.mark.parametrize("mode", ["disable", "prefer"])
    async def test_a_server_that_never_answers_is_down_and_keeps_no_connections(
        self, silent: Any, make: Any, mode: str, caplog: Any
    ) -> None:
        probe = make(f"postgresql://me:hunter2@127.0.0.1:{silent.port}/x?sslmode={mode}")
        probes: Any = Probes([probe], interval=0.0, timeout=0.05)
        probes.start()
        await eventually(True, lambda: silent.accepted > 2)
        assert (probe.down_reading(),) == probes.readings()
        await probes.close()
        await eventually(0, lambda: len(silent.clients))
        (line,) = messages_of_poolscope(caplog)
        assert f"{probe.label} does not answer: no answer within 0.05 s" == line

    @pytest.mark.parametrize("make", [PostgresProbe, PgBouncerProbe])
    async def test_a_server_that_does_not_exist_is_an_error_without_the_password(
        self, make: Any, probes: Any
    ) -> None:
        probe = probes(make, f"postgresql://me:hunter2@localhost:{closed_port()}/x")
        with pytest.raises((OSError, ProbeError)) as refused:
            await probe.ask()
        error = describe_error(refused.value)
        assert "hunter2" not in error
        assert "\n" not in error
        assert "onnect" in error

    @pytest.mark.parametrize("make", [PostgresProbe, PgBouncerProbe])
    async def test_a_server_of_another_protocol_is_down(self, make: Any) -> None:
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

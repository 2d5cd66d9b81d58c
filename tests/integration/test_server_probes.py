"""The exporter's questions to a real PostgreSQL, a real PgBouncer, and to servers that fail."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import asyncpg
import pytest
from psycopg.pq import TransactionStatus

from poolscope.server.pgbouncer import PgBouncerProbe
from poolscope.server.postgres import APPLICATION, BEGIN, PostgresProbe
from poolscope.server.probes import ProbeError, Probes, reason
from poolscope.servers import BouncerPool, ServerConnections, ServerReading
from support.bouncers import PROGRAM, Bouncer, Relay, free_port
from support.waiting import PATIENCE, eventually

T = TypeVar("T")
R = TypeVar("R")


async def asked(ask: Callable[[], Awaitable[R]], of: Callable[[R], T], expected: T) -> R:
    """Ask until the answer has what is expected, and return it."""
    async with asyncio.timeout(PATIENCE):
        while of(reading := await ask()) != expected:
            pass
    return reading


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def until_refused(connect: Any, dsn: str, message: str) -> None:
    """Make connections until there are no more to be had."""

    async def fill() -> None:
        while True:
            await connect(dsn)

    with pytest.raises(asyncpg.PostgresError, match=message):
        await fill()


@pytest.fixture
async def connect() -> AsyncIterator[Any]:
    """Makes connections to any server, and drops them."""
    made = []

    async def connect(dsn: str, application: str = "orders", **options: Any) -> Any:
        settings = {"application_name": application}
        made.append(await asyncpg.connect(dsn, server_settings=settings, **options))
        return made[-1]

    yield connect
    for connection in made:
        connection.terminate()
    await asyncio.sleep(0)


@pytest.fixture
async def probes() -> AsyncIterator[Any]:
    """Makes probes, and drops their connections."""
    made = []

    def make(kind: Any, dsn: str) -> Any:
        made.append(kind(dsn))
        return made[-1]

    yield make
    for probe in made:
        probe.terminate()
    await asyncio.sleep(0)


@pytest.fixture
def probe(postgres: Any, probes: Any) -> Any:
    """A probe of the real server."""
    return probes(PostgresProbe, postgres.dsn)


@pytest.fixture
async def relay(postgres: Any) -> AsyncIterator[Relay]:
    relay = Relay(postgres.socket_dir / ".s.PGSQL.5432")
    await relay.start()
    yield relay
    await relay.stop()


@pytest.fixture
async def silent() -> AsyncIterator[Relay]:
    relay = Relay()
    await relay.start()
    yield relay
    await relay.stop()


@pytest.fixture
def relayed(relay: Relay, probes: Any) -> Any:
    """A probe of the real server, behind the relay."""
    dsn = f"postgresql://postgres@127.0.0.1:{relay.port}/postgres?sslmode=disable"
    return probes(PostgresProbe, dsn)


@pytest.fixture
def bouncers(postgres: Any, tmp_path: Path) -> Iterator[Any]:
    """Runs PgBouncers before the real server, and ends them."""
    if PROGRAM is None:
        missing = "pgbouncer is missing; on Debian: apt-get install pgbouncer"
        if os.environ.get("POOLSCOPE_REQUIRE_TOOLS"):
            pytest.fail(missing)
        pytest.skip(missing)
    made = []

    def run(auth_type: str = "trust", **options: object) -> Bouncer:
        made.append(Bouncer(tmp_path, postgres.socket_dir, auth_type, **options))
        return made[-1]

    yield run
    for bouncer in made:
        bouncer.kill()


@pytest.fixture
def run(bouncers: Any, probes: Any) -> Any:
    """Runs a PgBouncer with these options, and returns it and a probe of it."""

    def run(**options: object) -> tuple[Bouncer, Any]:
        bouncer = bouncers(**options)
        return bouncer, probes(PgBouncerProbe, bouncer.dsn("", "console"))

    return run


def states(reading: ServerReading, application: str = "orders") -> dict[str, int]:
    return {
        found.state: found.count
        for found in reading.connections
        if found.application == application
    }


AGE = """
SELECT extract(epoch FROM clock_timestamp() - state_change)::float8 FROM pg_stat_activity
WHERE pid = $1
"""


class TestPostgres:
    async def test_connections_by_state(self, probe: Any, postgres: Any, connect: Any) -> None:
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
        await asked(probe.ask, states, expected)
        await in_transaction.execute("COMMIT")
        await lock
        await asked(probe.ask, states, {"idle": 4, "idle_in_transaction_aborted": 1})

    async def test_the_oldest_of_a_state(self, probe: Any, postgres: Any, connect: Any) -> None:
        old, new, other = [await connect(postgres.dsn) for _ in range(3)]
        await old.execute("BEGIN")
        await new.execute("BEGIN")
        pid = old.get_server_pid()
        least = await other.fetchval(AGE, pid)
        reading = await probe.ask()
        most = await other.fetchval(AGE, pid)
        (found,) = [found for found in reading.connections if "idle_in_transaction" == found.state]
        age = found.oldest_seconds
        expected = ServerConnections("postgres", "postgres", "orders", found.state, 2, age)
        assert expected == found
        assert 0 < least <= age <= most

    async def test_the_limit(self, probe: Any, postgres: Any, connect: Any) -> None:
        other = await connect(postgres.dsn)
        limit, superusers, others = [
            int(await other.fetchval("SELECT current_setting($1)", name))
            for name in (
                "max_connections",
                "superuser_reserved_connections",
                "reserved_connections",
            )
        ]
        reading = replace(await probe.ask(), connections=())
        name = f"{postgres.socket_dir}:5432"
        assert ServerReading(name, True, limit, superusers + others) == reading

    async def test_it_is_one_connection_that_says_whose_it_is_and_leaves_nothing(
        self, probe: Any, postgres: Any, connect: Any
    ) -> None:
        for _ in range(3):
            assert {} == states(await probe.ask(), APPLICATION)
        other = await connect(postgres.dsn)
        query = "SELECT state FROM pg_stat_activity WHERE application_name = $1"
        assert ["idle"] == [row["state"] for row in await other.fetch(query, APPLICATION)]
        count = "SELECT count(*) FROM pg_prepared_statements"
        assert 0 == await probe._connection.fetchval(count)

    async def test_the_server_ends_a_question_that_takes_long(
        self, postgres: Any, connect: Any
    ) -> None:
        other = await connect(postgres.dsn)
        await other.execute(BEGIN)
        names = "statement_timeout", "transaction_read_only"
        assert ["2500ms", "on"] == [await other.fetchval(f"SHOW {name}") for name in names]

    async def test_a_server_that_is_full(self, probe: Any, postgres: Any, connect: Any) -> None:
        await probe.ask()
        await until_refused(connect, postgres.dsn, "sorry, too many clients already")
        reading = await probe.ask()
        assert reading.limit - 1 == sum(found.count for found in reading.connections)
        late = PostgresProbe(postgres.dsn)
        with pytest.raises(ProbeError, match=r"\Asorry, too many clients already\Z"):
            await late.ask()

    async def test_a_role_that_may_not_see_others(
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
            reading = await asked(blind.ask, states, {"unknown": 1})
            unknown = [found for found in reading.connections if found.application == "orders"]
            expected = ServerConnections("postgres", "postgres", "orders", "unknown", 1, 0.0)
            assert ([expected], {"unknown"}) == (
                unknown,
                {found.state for found in reading.connections},
            )
        finally:
            blind.terminate()
            await probe._connection.execute("DROP ROLE blind")

    async def test_behind_a_pgbouncer(self, bouncers: Any, probes: Any, connect: Any) -> None:
        bouncer = bouncers(default_pool_size=2)
        dsn = bouncer.dsn("postgres")
        probe = probes(PostgresProbe, dsn)
        clients = [await connect(dsn, statement_cache_size=0) for _ in range(3)]
        for client in clients:
            # Others use the connections of the PgBouncer in between, which go from hand to hand.
            await client.execute("SELECT 1")
            await asked(probe.ask, lambda reading: reading.up, True)
        await clients[0].execute("BEGIN")
        await asked(probe.ask, states, {"idle_in_transaction": 1})
        assert f"127.0.0.1:{bouncer.port}" == probe.label


class TestPostgresThatFails:
    async def test_it_asks_another_time_after_its_connection_was_ended(
        self, probe: Any, postgres: Any, connect: Any
    ) -> None:
        await probe.ask()
        before = probe._connection
        other = await connect(postgres.dsn)
        await other.execute("SELECT pg_terminate_backend($1)", before.get_server_pid())
        await eventually(True, before.is_closed)
        assert (await probe.ask()).up

    async def test_one_that_hangs_is_left_without_a_word(self, relay: Any, relayed: Any) -> None:
        await relayed.ask()
        relay.silent = True
        asking = asyncio.create_task(relayed.ask())
        await eventually(True, lambda: relay.swallowed > 0)
        await cancelled(asking)
        await eventually((1, 0), lambda: (relay.accepted, len(relay.clients)))
        relay.silent = False
        assert (await relayed.ask()).up

    async def test_one_that_hangs_up_in_the_middle(self, relay: Any, relayed: Any) -> None:
        await relayed.ask()
        relay.silent = True
        asking = asyncio.create_task(relayed.ask())
        await eventually(True, lambda: relay.swallowed > 0)
        relay.hang_up()
        with pytest.raises((ProbeError, OSError)):
            await asking
        relay.silent = False
        assert (await relayed.ask()).up

    async def test_one_that_is_killed(self, caplog: Any) -> None:
        from poolscope.demo.postgres import embedded_postgres

        with embedded_postgres() as doomed:
            probes = Probes([PostgresProbe(doomed.dsn)], interval=0.0)
            probes.start()
            await eventually(True, lambda: probes.readings()[0].up)
            assert () == probes.readings()[0].connections
            pid = int((doomed.socket_dir / "postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGQUIT)
            name = f"{doomed.socket_dir}:5432"
            await eventually(ServerReading(name), lambda: probes.readings()[0])
            await probes.close()
        (line,) = caplog.messages
        assert line.startswith(f"{name} does not answer: ")


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
        assert "not allowed" in reason(refused.value)

    @pytest.mark.parametrize("make", [PgBouncerProbe, PostgresProbe])
    async def test_a_wrong_password_is_not_repeated(
        self, bouncers: Any, probes: Any, make: Any
    ) -> None:
        bouncer = bouncers("scram-sha-256")
        wrong = probes(make, bouncer.dsn("pgbouncer", "console", "hunter2"))
        with pytest.raises(ProbeError) as refused:
            await wrong.ask()
        assert "hunter2" not in reason(refused.value)
        assert "authentication failed" in reason(refused.value)

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
        assert (probe.nothing(),) == probes.readings()
        await probes.close()
        await eventually(0, lambda: len(silent.clients))
        (line,) = caplog.messages
        assert f"{probe.label} does not answer: no answer within 0.05 s" == line

    @pytest.mark.parametrize("make", [PostgresProbe, PgBouncerProbe])
    async def test_may_not_be_there_at_all(self, make: Any, probes: Any) -> None:
        probe = probes(make, f"postgresql://me:hunter2@localhost:{free_port()}/x")
        with pytest.raises((OSError, ProbeError)) as refused:
            await probe.ask()
        why = reason(refused.value)
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

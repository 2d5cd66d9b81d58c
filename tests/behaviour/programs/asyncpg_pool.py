"""Correct programs with a pool of asyncpg."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from behaviour.programs.world import World

WAIT = 60.0
"""Seconds that a caller waits for a connection; none has to, for its pool can bear the load."""


async def pool_of(world: World, **options: Any) -> Any:
    return await world.watch(
        asyncpg.create_pool(world.dsn, **{"min_size": 1, "max_size": 4, **options})
    )


async def one_pool_for_the_service(world: World) -> None:
    options = {"min_size": 1, "max_size": 4}
    async with world.watch(asyncpg.create_pool(world.dsn, **options)) as pool:

        async def handle(number: int) -> None:
            async with pool.acquire(timeout=WAIT) as connection:
                assert number == await connection.fetchval("SELECT $1::int", number)

        await world.serve(handle)


async def transactions(world: World) -> None:
    """An error rolls back; savepoints use the connection of their transaction."""
    pool = await pool_of(world)

    async def handle(number: int) -> None:
        async with pool.acquire(timeout=WAIT) as connection, connection.transaction():
            await connection.execute("SELECT 1")
            try:
                async with connection.transaction():
                    await connection.execute(f"SELECT 1 / {number % 10}")
            except asyncpg.DivisionByZeroError:
                assert number % 10 == 0

    await world.serve(handle)
    await pool.close()


async def cursors(world: World) -> None:
    """A report reads many rows with a cursor, for half a minute."""
    pool = await pool_of(world)
    for _ in range(5):
        read = 0
        async with pool.acquire(timeout=WAIT) as connection, connection.transaction():
            async for _row in connection.cursor("SELECT generate_series(1, 500)", prefetch=100):
                read += 1
                if read % 100 == 0:
                    world.pass_time(5.0)
        assert 500 == read
    await pool.close()


async def prepared_statements(world: World) -> None:
    pool = await pool_of(world)

    async def handle(number: int) -> None:
        async with pool.acquire(timeout=WAIT) as connection:
            statement = await connection.prepare("SELECT $1::int + 1")
            assert number + 1 == await statement.fetchval(number)

    await world.serve(handle)
    await pool.close()


async def many_rows(world: World) -> None:
    pool = await pool_of(world)
    rows = [(number, "book") for number in range(50)]

    async def handle(number: int) -> None:
        async with pool.acquire(timeout=WAIT) as connection, connection.transaction():
            await connection.execute("CREATE TEMP TABLE sold (id int, item text) ON COMMIT DROP")
            await connection.executemany("INSERT INTO sold VALUES ($1, $2)", rows)
            await connection.copy_records_to_table("sold", records=rows)
            assert 100 == await connection.fetchval("SELECT count(*) FROM sold")

    await world.serve(handle)
    await pool.close()


async def methods_of_the_pool(world: World) -> None:
    """`pool.fetch` and its like take a connection for one query, here with a limit of time."""
    pool = await pool_of(world)

    async def handle(number: int) -> None:
        async with asyncio.timeout(WAIT):
            assert [(number,)] == await pool.fetch("SELECT $1::int", number)
            assert number == await pool.fetchval("SELECT $1::int", number)
            assert (1,) == await pool.fetchrow("SELECT 1")
            await pool.execute("SELECT 1")

    await world.serve(handle)
    await pool.close()


async def acquire_within_a_deadline(world: World) -> None:
    """A deadline for the whole request limits the wait for a connection as well."""
    pool = await pool_of(world)

    async def handle(number: int) -> None:
        async with asyncio.timeout(WAIT), pool.acquire() as connection:
            await connection.execute("SELECT 1")

    await world.serve(handle)
    await pool.close()


async def acquire_and_release(world: World) -> None:
    pool = await pool_of(world)

    async def handle(number: int) -> None:
        connection = await pool.acquire(timeout=WAIT)
        try:
            await connection.execute("SELECT 1")
        finally:
            await pool.release(connection)

    await world.serve(handle)
    await pool.close()


async def callbacks_of_the_pool(world: World) -> None:
    async def init(connection: Any) -> None:
        await connection.set_type_codec("json", encoder=str, decoder=str, schema="pg_catalog")

    async def setup(connection: Any) -> None:
        await connection.execute("SET statement_timeout = '5s'")

    pool = await pool_of(world, init=init, setup=setup)

    async def handle(number: int) -> None:
        async with pool.acquire(timeout=WAIT) as connection:
            assert "5s" == await connection.fetchval("SHOW statement_timeout")

    await world.serve(handle)
    await pool.close()


async def listener(world: World) -> None:
    """A connection listens for as long as the service runs; requests use the others."""
    pool = await pool_of(world, max_size=6)
    heard: list[str] = []

    def note(*what: Any) -> None:
        heard.append(what[-1])

    async with pool.acquire(timeout=WAIT) as listening:
        await listening.add_listener("shop_asyncpg", note)

        async def handle(number: int) -> None:
            async with pool.acquire(timeout=WAIT) as connection:
                await connection.execute("SELECT pg_notify('shop_asyncpg', $1)", str(number))

        await world.serve(handle)
        while len(heard) < 60:
            await listening.execute("SELECT 1")
        world.pass_time(3600.0)
        await listening.remove_listener("shop_asyncpg", note)
    await pool.close()


async def requests_that_clients_give_up(world: World) -> None:
    """A server cancels the handler when its client has gone; the connection is returned."""
    pool = await pool_of(world)

    async def handle(number: int) -> None:
        backend = asyncio.get_running_loop().create_future()

        async def query() -> None:
            async with pool.acquire(timeout=WAIT) as connection:
                backend.set_result(connection.get_server_pid())
                await connection.execute("SELECT pg_sleep(60)")

        if number % 10:
            return
        task = asyncio.create_task(query())
        await world.running(await backend)
        task.cancel()
        await asyncio.wait([task])

    await world.serve(handle)
    await pool.close()


async def idle_connections_that_are_closed(world: World) -> None:
    pool = await pool_of(world, max_inactive_connection_lifetime=0.01, min_size=0)
    async with pool.acquire(timeout=WAIT) as connection:
        await connection.execute("SELECT 1")
    while pool.get_size():  # noqa: ASYNC110 - asyncpg tells nobody
        await asyncio.sleep(0)
    world.pass_time(3600.0)
    async with pool.acquire(timeout=WAIT) as connection:
        await connection.execute("SELECT 1")
    await pool.close()


async def password_that_changes(world: World) -> None:
    """After a rotation of credentials, connections are replaced once they are returned."""
    pool = await pool_of(world)

    async def handle(number: int) -> None:
        async with pool.acquire(timeout=WAIT) as connection:
            await connection.execute("SELECT 1")
        if number % 20 == 0:
            await pool.expire_connections()

    await world.serve(handle)
    await pool.close()


async def parts_of_a_request_in_tasks(world: World) -> None:
    pool = await pool_of(world, max_size=12)

    async def part() -> int:
        async with pool.acquire(timeout=WAIT) as connection:
            return int(await connection.fetchval("SELECT 1"))

    async def handle(number: int) -> None:
        assert [1, 1, 1] == list(await asyncio.gather(part(), part(), part()))

    await world.serve(handle)
    await pool.close()


async def server_that_restarts(world: World) -> None:
    """The server ends idle connections; the pool opens others, and nobody notices."""
    # With a floor the pool would open connections meanwhile (from asyncpg 0.32 on).
    pool = await pool_of(world, min_size=0)
    backends: set[int] = set()

    async def handle(number: int) -> None:
        async with pool.acquire(timeout=WAIT) as connection:
            backends.add(connection.get_server_pid())

    administrator = await asyncpg.connect(world.dsn)
    for _ in range(3):
        await world.serve(handle)
        world.pass_time(3600.0)
        for backend in backends:
            await administrator.execute("SELECT pg_terminate_backend($1)", backend)
        while any(h.is_connected() for h in pool._holders):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
    await administrator.close()
    await pool.close()


async def connections_dealt_out(world: World) -> None:
    """One task takes the connections, and others use and return them."""
    pool = await pool_of(world)

    async def use(connection: Any) -> None:
        try:
            await connection.execute("SELECT 1")
        finally:
            await pool.release(connection)

    for _ in range(15):
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(use(await pool.acquire(timeout=WAIT)))
    await pool.close()


async def watched_while_in_use(world: World) -> None:
    """The watch begins when connections are open, and one is out."""
    pool = await asyncpg.create_pool(world.dsn, min_size=2, max_size=4)
    async with pool.acquire(timeout=WAIT) as connection:
        world.watch(pool)
        await connection.execute("SELECT 1")
        world.pass_time(1.0)

    async def handle(number: int) -> None:
        async with pool.acquire(timeout=WAIT) as connection:
            await connection.execute("SELECT 1")

    await world.serve(handle)
    await pool.close()


async def errors_kept(world: World) -> None:
    """An error tracker keeps the errors of requests, with the frames that they came through."""
    pool = await pool_of(world)
    kept: list[BaseException] = []

    async def handle(number: int) -> None:
        try:
            async with pool.acquire(timeout=WAIT) as connection:
                await connection.execute("SELECT 1 / 0")
        except asyncpg.DivisionByZeroError as error:
            kept.append(error)

    await world.serve(handle)
    await pool.close()
    assert 60 == len(kept)


async def workers_of_a_queue(world: World) -> None:
    """Workers run for as long as the service, and take a connection for each job."""
    pool = await pool_of(world)
    jobs: asyncio.Queue[int] = asyncio.Queue()

    async def work() -> None:
        while True:
            number = await jobs.get()
            async with pool.acquire(timeout=WAIT) as connection:
                await connection.fetchval("SELECT $1::int", number)
            jobs.task_done()

    workers = [asyncio.create_task(work()) for _ in range(4)]
    for number in range(60):
        jobs.put_nowait(number)
    await jobs.join()
    for worker in workers:
        worker.cancel()
    await asyncio.wait(workers)
    await pool.close()

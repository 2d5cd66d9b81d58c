"""Correct programs with a session of aiohttp."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import aiohttp

from behaviour.programs.world import World

TIMEOUT = aiohttp.ClientTimeout(total=60, connect=30)


def session_of(world: World, limit: int = 4, **options: Any) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=limit, limit_per_host=limit)
    options = {"connector": connector, "timeout": TIMEOUT, "base_url": world.http, **options}
    return world.watch(aiohttp.ClientSession(**options))


async def one_session_for_the_service(world: World) -> None:
    async with session_of(world) as session:

        async def handle(number: int) -> None:
            async with session.get("/json") as response:
                assert {"asked"} == set(await response.json())

        await world.serve(handle)


async def session_with_all_defaults(world: World) -> None:
    async with world.watch(aiohttp.ClientSession()) as session:

        async def handle(number: int) -> None:
            async with session.get(f"{world.http}/json") as response:
                assert 200 == response.status
                await response.text()

        await world.serve(handle)


async def responses_read_without_a_context(world: World) -> None:
    """Reading a body to its end returns the connection."""
    async with session_of(world) as session:

        async def handle(number: int) -> None:
            response = await session.get("/json")
            await response.read()

        await world.serve(handle)


async def streaming_download(world: World) -> None:
    async with session_of(world) as session:
        for _ in range(5):
            async with session.get("/stream") as response:
                read = 0
                async for part in response.content.iter_chunked(4096):
                    read += len(part)
                    world.pass_time(2.0)
            assert 20 * 1024 == read


async def downloads_that_are_given_up(world: World) -> None:
    """Only the beginning is read; leaving the context closes the connection."""
    async with session_of(world) as session:

        async def handle(number: int) -> None:
            if number % 10 == 0:
                async with session.get("/large") as response:
                    await response.content.read(10)

        await world.serve(handle)


async def uploads(world: World) -> None:
    async with session_of(world) as session:

        async def parts() -> Any:
            for _ in range(5):
                yield b"part"

        async def handle(number: int) -> None:
            async with session.post("/echo", data=parts()) as response:
                assert b"part" * 5 == await response.read()

        await world.serve(handle)


async def websocket(world: World) -> None:
    """A connection to a service that sends messages, for an hour."""
    async with session_of(world) as session, session.ws_connect("/echo") as socket:
        for number in range(60):
            await socket.send_str(str(number))
            assert str(number) == await socket.receive_str()
            world.pass_time(61.0)


async def bot(world: World) -> None:
    """A bot answers the messages of its websocket by requests over the same session."""
    async with session_of(world) as session, session.ws_connect("/echo") as socket:
        for number in range(20):
            await socket.send_str(str(number))
            message = await socket.receive_str()
            async with session.post("/echo", data=message) as response:
                assert message == await response.text()


async def retries(world: World) -> None:
    """The response of a failed attempt is released before the next one."""
    async with session_of(world) as session:

        async def handle(number: int) -> None:
            for _ in range(100):
                async with session.get("/busy") as response:
                    if response.status == 200:
                        return
            raise AssertionError("always busy")

        await world.serve(handle)


async def errors_raised_for_a_status(world: World) -> None:
    async with session_of(world, raise_for_status=True) as session:
        kept: list[int] = []
        errors: list[BaseException] = []

        async def handle(number: int) -> None:
            try:
                async with session.get("/missing") as response:
                    await response.read()
            except aiohttp.ClientResponseError as error:
                kept.append(error.status)
                errors.append(error)

        await world.serve(handle)
        assert [404] * 60 == kept


async def status_alone(world: World) -> None:
    """A health check looks at the status, and at nothing else."""
    async with session_of(world) as session:

        async def handle(number: int) -> None:
            async with session.head("/json") as response:
                response.raise_for_status()
            async with session.get("/json") as response:
                response.raise_for_status()

        await world.serve(handle)


async def redirects(world: World) -> None:
    async with session_of(world) as session:

        async def handle(number: int) -> None:
            async with session.get("/old") as response:
                assert "/json" == response.url.path
                await response.read()

        await world.serve(handle)


async def cookies(world: World) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with session_of(world, cookie_jar=jar) as session:
        async with session.post("/login") as response:
            assert "welcome" == await response.text()

        async def handle(number: int) -> None:
            async with session.get("/account") as response:
                assert "your account" == await response.text()

        await world.serve(handle)


async def several_sessions(world: World) -> None:
    """A session for each service that is asked, with headers of its own, over one connector."""
    connector = aiohttp.TCPConnector(limit=8, limit_per_host=8)
    options: dict[str, Any] = {"connector": connector, "connector_owner": False, "timeout": TIMEOUT}
    payments = world.watch(aiohttp.ClientSession(headers={"X-For": "payments"}, **options))
    stock = world.watch(aiohttp.ClientSession(headers={"X-For": "stock"}, **options))

    async def handle(number: int) -> None:
        for session in (payments, stock):
            async with session.get(f"{world.http}/json") as response:
                await response.read()

    await world.serve(handle)
    await payments.close()
    await stock.close()
    await connector.close()


async def traces(world: World) -> None:
    """An application has tracers of its own."""
    seen: list[str] = []
    config = aiohttp.TraceConfig()

    async def begin(session: Any, context: Any, params: Any) -> None:
        seen.append("begin")

    async def end(session: Any, context: Any, params: Any) -> None:
        seen.append("end")

    config.on_request_start.append(begin)
    config.on_request_end.append(end)
    async with session_of(world, trace_configs=[config]) as session:

        async def handle(number: int) -> None:
            async with session.get("/json") as response:
                await response.read()

        await world.serve(handle)
    assert [60, 60] == [seen.count("begin"), seen.count("end")]


async def many_requests_at_once(world: World) -> None:
    """A crawler gathers more requests than its connector has slots: most wait, none for long."""
    async with session_of(world) as session:

        async def get(number: int) -> bytes:
            async with session.get("/json") as response:
                return await response.read()

        assert 100 == len(await asyncio.gather(*(get(number) for number in range(100))))


async def proxy_of_requests(world: World) -> None:
    """The body of a response is the body of another request, over another session."""
    async with session_of(world) as source, session_of(world) as target:

        async def handle(number: int) -> None:
            async with (
                source.get("/stream") as response,
                target.post("/echo", data=response.content) as answer,
            ):
                assert 20 * 1024 == len(await answer.read())

        await world.serve(handle)


async def session_of_a_job(world: World) -> None:
    """A script that runs for one job has one session, as long as the job runs."""
    async with session_of(world) as session:
        for number in range(20):
            async with session.get("/json", params={"number": number}) as response:
                await response.json()


async def plain_http_without_verification(world: World) -> None:
    """`ssl=False` of a connector that is only used for plain http, as some libraries have it."""
    connector = aiohttp.TCPConnector(limit=4, limit_per_host=4, ssl=False)
    async with session_of(world, connector=connector) as session:

        async def handle(number: int) -> None:
            async with session.get("/json") as response:
                await response.read()

        await world.serve(handle)


async def requests_with_limits_of_their_own(world: World) -> None:
    timeout = aiohttp.ClientTimeout(total=50, connect=10, sock_read=20)
    async with session_of(world) as session:

        async def handle(number: int) -> None:
            async with session.get("/json", timeout=timeout) as response:
                await response.read()

        await world.serve(handle)


async def requests_that_take_too_long(world: World) -> None:
    """A limit of time ends a request whose answer does not come; the connection is closed."""
    async with session_of(world) as session:

        async def handle(number: int) -> None:
            if number % 20:
                return
            timeout = aiohttp.ClientTimeout(total=60, connect=30, sock_read=0.01)
            with contextlib.suppress(aiohttp.ServerTimeoutError):
                async with session.get("/never", timeout=timeout) as response:
                    await response.read()
                raise AssertionError("it answers")

        await world.serve(handle)


async def the_first_answer_counts(world: World) -> None:
    """A service is asked in two ways, and the slower request is cancelled once it is sent."""
    sent = asyncio.Event()
    config = aiohttp.TraceConfig()

    async def note(session: Any, context: Any, params: Any) -> None:
        if params.url.path == "/never":
            sent.set()

    config.on_request_headers_sent.append(note)
    async with session_of(world, limit=8, trace_configs=[config]) as session:

        async def get(path: str) -> None:
            async with session.get(path) as response:
                await response.read()

        async def handle(number: int) -> None:
            if number % 10:
                await get("/json")
                return
            sent.clear()
            slow = asyncio.create_task(get("/never"))
            await get("/json")
            await sent.wait()
            slow.cancel()
            await asyncio.wait([slow])

        for number in range(60):
            await handle(number)
            world.pass_time(1.0)


async def response_passed_to_another_task(world: World) -> None:
    """One task asks, another one reads."""
    async with session_of(world) as session:
        responses: asyncio.Queue[aiohttp.ClientResponse | None] = asyncio.Queue()

        async def read() -> None:
            while (response := await responses.get()) is not None:
                async with response:
                    await response.read()
                responses.task_done()

        reader = asyncio.create_task(read())

        async def handle(number: int) -> None:
            await responses.put(await session.get("/json"))
            await responses.join()  # a minute passes when all have been handled

        await world.serve(handle)
        await responses.put(None)
        await reader

"""A connection that aiohttp is about to return holds up nobody, and is no partner of nesting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp import web

from poolscope.watching.watches import Watches
from support.waiting import eventually


async def test_a_request_after_one_that_was_answered_before_it_was_sent(
    watches: Watches, sessions: Any
) -> None:
    url, stop = await serve()
    session = sessions(limit=4)
    watch = watches.watch(session, "orders", registry=None)
    await two_idle_connections(session, url)
    sent = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"the first part"
        try:
            await sent.wait()
        except asyncio.CancelledError:
            await sent.wait()  # it cleans up for a moment
            raise

    early = await session.post(url, data=body())
    early.release()
    assert 1 == watch.snapshot().in_use  # as the request is not sent yet
    async with session.get(url) as other:
        await other.read()
    assert (0, []) == (watch.snapshot().nested, rules(watch))

    sent.set()
    await eventually(0, lambda: watch.snapshot().in_use)
    await stop()


async def test_a_request_while_an_answer_is_read(watches: Watches, sessions: Any) -> None:
    url, stop = await serve()
    session = sessions(limit=2)
    watch = watches.watch(session, "orders", registry=None)
    async with session.get(f"{url}large"), session.get(url) as other:
        await other.read()
    assert (1, ["nested-acquire"]) == (watch.snapshot().nested, rules(watch))
    await stop()


async def serve() -> tuple[str, Any]:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/large":
            return web.Response(body=bytes(2**21))
        return web.Response(text="too large" if request.method == "POST" else "ok")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}/", runner.cleanup


async def two_idle_connections(session: aiohttp.ClientSession, url: str) -> None:
    responses = await asyncio.gather(session.get(f"{url}large"), session.get(f"{url}large"))
    for response in responses:
        await response.read()


def rules(watch: Any) -> list[str]:
    return [found.rule for found in watch.findings() if found.severity == "critical"]

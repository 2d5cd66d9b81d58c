"""A right password is let in while thousands are guessed, from wherever both come."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from exporter.test_basic_auth import Checks, checks
from support.listeners import Serve, serve, users
from support.raw_clients import RawClients, raw
from support.waiting import eventually

__all__ = ["checks", "raw", "serve"]

CONNECTIONS = 60
RIGHT = 8
"""Right passwords, each for the first time."""

MOST_CHECKS = 20
"""Checks that may begin while a right password waits: of five networks, twice, and some turns."""

MOST_CHECKS_AMONG_NEW = 3 * CONNECTIONS + MOST_CHECKS
"""
The same where all guesses come from its network, each over a new connection.

They look like it. These checks take so little time that many guesses come between two of them.
"""


def request(user: str, password: str) -> bytes:
    given = base64.b64encode(f"{user}:{password}".encode())
    return b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic %s\r\n\r\n" % given


class Crowd:
    """
    Clients that guess at full speed, each with a new guess as soon as the last one is answered.

    reconnects: whether each guess is made on a new connection.
    sources: the addresses that they come from.
    """

    def __init__(self, clients: RawClients, reconnects: bool, sources: list[str]) -> None:
        self.answers: list[int] = []
        self.stopped = False
        self._guesses = 0
        self._reconnects = reconnects
        self._clients = clients
        self._tasks = [
            asyncio.create_task(self._guess(sources[number % len(sources)], number))
            for number in range(CONNECTIONS)
        ]

    async def _guess(self, source: str, number: int) -> None:
        user = ("ann", "nobody")[number % 2]
        while not self.stopped:
            if self._reconnects:
                await self._ask(None, source, user)
            else:
                reader, writer = await self._clients.connect(source=source)
                while not self.stopped and await self._ask((reader, writer), source, user):
                    pass
                writer.close()

    async def _ask(self, connection: Any, source: str, user: str) -> bool:
        """Make a guess; return whether the connection can be used again."""
        self._guesses += 1
        data = request(user, f"guess {self._guesses}")
        reader, writer = connection or await self._clients.connect(source=source)
        try:
            writer.write(data)
            head = await reader.readuntil(b"\r\n\r\n")
            self.answers.append(int(head.split()[1]))
            await reader.readuntil(b"\n")
        except (OSError, asyncio.IncompleteReadError):
            return False
        finally:
            if connection is None:
                writer.close()
        return b"Connection: close" not in head

    async def stop(self) -> None:
        self.stopped = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("sources", "reconnects", "guesses", "most"),
    [
        ("2345", False, 150, MOST_CHECKS),
        ("2345", True, 150, MOST_CHECKS),
        ("1234", False, 600, MOST_CHECKS),
        ("1234", True, 150, MOST_CHECKS_AMONG_NEW),
        ("1", False, 150, MOST_CHECKS),
        ("1", True, 150, MOST_CHECKS_AMONG_NEW),
    ],
)
async def test_a_right_password_is_let_in_soon(
    serve: Serve,
    raw: Any,
    checks: Checks,
    sources: str,
    reconnects: bool,
    guesses: int,
    most: int,
) -> None:
    served = await serve(users(**{f"user{number}": f"right {number}" for number in range(RIGHT)}))
    crowd = Crowd(raw(served.port), reconnects, [f"127.0.0.{each}" for each in sources])
    prometheus = raw(served.port)
    needed = []
    try:
        for number in range(RIGHT):
            await eventually(True, lambda n=number: len(crowd.answers) >= n * guesses // RIGHT)  # type: ignore[misc]
            before = len(checks.passwords)
            data = request(f"user{number}", f"right {number}")
            assert 200 == (await prometheus.ask(data)).status
            needed.append(len(checks.passwords) - before)
            # Once accepted, it is not checked again.
            assert 200 == (await prometheus.ask(data)).status
        await eventually(True, lambda: len(crowd.answers) >= guesses)
    finally:
        await crowd.stop()
    assert max(needed) <= most, needed
    assert {401} == set(crowd.answers)
    assert 1 == checks.most_running


async def test_while_a_slow_check_runs_the_listener_closes_at_once(
    serve: Serve, raw: Any, checks: Checks
) -> None:
    served = await serve(users(ann="secret"))
    checks.open.clear()
    asking = [
        asyncio.create_task(raw(served.port).ask(request("ann", f"guess {number}")))
        for number in range(5)
    ]
    await eventually(True, lambda: served.listener._auth._queue._running is not None)
    await served.listener.close()
    assert {503} == {answer.status for answer in await asyncio.gather(*asking)}
    checks.open.set()

"""Guesses at full speed, while a scraper comes with a right password for the first time."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter

import bcrypt
from scripts.attack.target import Target, authorization, target

CONNECTIONS = 240
TRIES = 5
ONE, TEN = ["127.0.0.1"], [f"127.0.0.{number}" for number in range(2, 12)]
ATTACKS = (
    (4, ONE, False), (4, ONE, True), (4, TEN, False), (4, TEN, True), (12, ONE, False),
    (12, TEN, True),
)  # fmt: skip
"""
The cost of the hashes, the addresses, and whether each guess comes over a new connection.

If it does, and from the address of the scraper, a right password waits for up to three times as
many checks as there are connections: at high costs, that takes minutes.
"""


class Guessers:
    """Connections that guess as fast as they are answered, in a thread of their own."""

    def __init__(self, port: int, sources: list[str], reconnects: bool) -> None:
        self.answers: Counter[int] = Counter()
        self._port = port
        self._sources = sources
        self._reconnects = reconnects
        self._stopped = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()

    def stop(self) -> None:
        self._stopped = True
        self._thread.join()

    async def _run(self) -> None:
        tasks = [
            asyncio.create_task(self._guess(self._sources[number % len(self._sources)], number))
            for number in range(CONNECTIONS)
        ]
        while not self._stopped:  # noqa: ASYNC110 - another thread sets it
            await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _guess(self, source: str, number: int) -> None:
        user = ("user0", "nobody")[number % 2]
        while True:
            try:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", self._port, local_addr=(source, 0)
                )
            except OSError:
                self.answers[0] += 1
                await asyncio.sleep(0.01)
                continue
            try:
                while True:
                    guess = authorization(f"{user}:{random.random()}")
                    headers = f"Host: localhost\r\nAuthorization: {guess}\r\n"
                    writer.write(f"GET / HTTP/1.1\r\n{headers}\r\n".encode())
                    head = await reader.readuntil(b"\r\n\r\n")
                    self.answers[int(head.split()[1])] += 1
                    await reader.readuntil(b"\n")
                    if self._reconnects or b"Connection: close" in head:
                        break
            except (OSError, asyncio.IncompleteReadError):
                self.answers[0] += 1
            finally:
                writer.close()


def attack(exporter: Target, cost: int, sources: list[str], reconnects: bool) -> list[str]:
    guessers = Guessers(exporter.port, sources, reconnects)
    time.sleep(2.0)
    began, before = time.monotonic(), guessers.answers.total()
    found, seconds = [], []
    for number in range(TRIES):
        status, took = exporter.ask(user=f"user{number}:right {number}")
        found.append(status)
        seconds.append(took)
    elapsed = time.monotonic() - began
    guesses = guessers.answers.total() - before
    described = "new connections" if reconnects else "kept connections"
    print(
        f"   cost {cost}, {len(sources)} addresses, {described}: {guesses / elapsed:.0f} guesses "
        f"answered a second; let in {found.count(200)} of {TRIES}, "
        f"median {sorted(seconds)[TRIES // 2]:.2f} s, longest {max(seconds):.2f} s; "
        f"answers {dict(guessers.answers)}; {exporter.memory():.0f} MiB",
        flush=True,
    )
    kept_out = TRIES - found.count(200)
    guessers.stop()
    return [f"cost {cost}, {described}: {kept_out} of {TRIES} kept out"] if kept_out else []


def run() -> list[str]:
    """Return what went wrong."""
    harm = []
    for cost, sources, reconnects in ATTACKS:
        users = "".join(
            f"  user{number}: "
            f"{bcrypt.hashpw(f'right {number}'.encode(), bcrypt.gensalt(cost)).decode()}\n"
            for number in range(TRIES)
        )
        with target(f"basic_auth_users:\n{users}") as exporter:
            harm += attack(exporter, cost, sources, reconnects)
            code, took = exporter.stop()
            print(f"   ended with {code} after {took:.2f} s")
            if code:
                harm.append(f"ended with {code}")
    return harm

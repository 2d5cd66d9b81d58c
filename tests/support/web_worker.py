"""
A process with an aiohttp pool. It reads a command from each line of its input, and answers.

    get URL     make a request, and read the answer; it may fail
    keep URL    make a request, and keep its connection
    again       close the session, and make another one

The argument is the name of the pool; POOLSCOPE_DIR is the folder that it shares.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
from typing import Any

import aiohttp

import poolscope


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(name: str) -> None:
    kept: list[Any] = []

    def begin() -> aiohttp.ClientSession:
        session = aiohttp.ClientSession()
        poolscope.watch(session, name, registry=None)
        return session

    session = begin()
    say("ready")
    for line in sys.stdin:
        word, _, url = line.strip().partition(" ")
        if word == "again":
            await session.close()
            del session
            gc.collect()
            session = begin()
        with contextlib.suppress(aiohttp.ClientError):
            if word == "keep":
                kept.append(await session.get(url))
            elif word == "get":
                async with session.get(url) as response:
                    await response.read()
        say(str(os.getpid()))
    await session.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

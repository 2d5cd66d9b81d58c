"""
One process of the demo's web service: `python -m poolscope.demo.worker`.

    --fd N              serve at this socket that listens, until standard input ends
    --listen HOST:PORT  serve there with /metrics, send the load as well, and run until SIGTERM

The environment names the PostgreSQL server and the folder that the exporter reads. It prints a line
once it serves; what it logs goes to standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

import asyncpg

from poolscope.demo import POSTGRES_VARIABLE
from poolscope.demo.external_postgres import ExternalPostgres
from poolscope.demo.load import MAX_IN_FLIGHT, running_load
from poolscope.demo.service import create_tables, listening, open_pools, serve


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m poolscope.demo.worker", allow_abbrev=False)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--fd", type=int, metavar="N")
    where.add_argument("--listen", type=_address, metavar="HOST:PORT")
    return parser.parse_args(arguments)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:10464")
    return host.strip("[]"), int(port)


async def run(options: argparse.Namespace) -> None:
    """Serve until this process is to end."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    # One thread for each request in flight, as each may block on a synchronous pool.
    loop.set_default_executor(ThreadPoolExecutor(MAX_IN_FLIGHT))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, ended.set)
    postgres = ExternalPostgres(os.environ[POSTGRES_VARIABLE])
    async with AsyncExitStack() as stack:
        if options.fd is None:
            await create_tables(postgres)
            listener, metrics = listening(*options.listen), "/metrics"
        else:
            # Ready to read only at its end: its other end is the demo's, which writes nothing.
            loop.add_reader(sys.stdin.fileno(), ended.set)
            listener, metrics = socket.socket(fileno=options.fd), None
        pools = await stack.enter_async_context(open_pools(postgres))
        await stack.enter_async_context(serve(pools, listener, metrics))
        if options.fd is None:
            await stack.enter_async_context(running_load(f"http://localhost:{_port(listener)}/"))
        print(f"serving at port {_port(listener)}", flush=True)  # noqa: T201 - for who waits for it
        await ended.wait()
        loop.remove_reader(sys.stdin.fileno())


def _port(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


if __name__ == "__main__":
    # Only what poolscope logs, as the demo shows it.
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger("poolscope").addHandler(logging.StreamHandler())
    try:
        asyncio.run(run(options_of()))
    except (OSError, asyncpg.PostgresError) as error:
        sys.exit(f"cannot serve: {error}")

"""
One process of the demo's web service: `python -m poolscope.demo.worker`.

    --fd N              serve at this socket that listens, until standard input ends
    --listen HOST:PORT  serve there with /metrics, send the load as well, and run until SIGTERM
    --size POOL=N       let a pool have so many connections
    --rate POOL=N       send a steady load to this pool, N requests a second, instead of one that
                        rises and falls; for several pools, give it several times

The environment names the PostgreSQL server and the folder that the exporter reads. It prints a line
once it serves; what it logs goes to standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
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
from poolscope.demo.load import MAX_IN_FLIGHT, STREAMS, running_load, steady
from poolscope.demo.service import SIZES, create_tables, listening, open_pools, serve


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m poolscope.demo.worker", allow_abbrev=False)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--fd", type=int, metavar="N")
    where.add_argument("--listen", type=_address, metavar="HOST:PORT")
    parser.add_argument("--size", type=_size, action="append", default=[], metavar="POOL=N")
    parser.add_argument("--rate", type=_rate, action="append", default=[], metavar="POOL=N")
    options = parser.parse_args(arguments)
    if options.rate and options.fd is not None:
        parser.error("--rate goes with --listen: with --fd, the demo sends the load")
    return options


def _size(text: str) -> tuple[str, int]:
    pool, _, number = text.partition("=")
    if pool not in SIZES or not (number.isascii() and number.isdigit() and int(number)):
        raise argparse.ArgumentTypeError(f"{text!r} is not POOL=N, such as orders=6")
    return pool, int(number)


def _rate(text: str) -> tuple[str, float]:
    pool, _, number = text.partition("=")
    try:
        rate = float(number)
    except ValueError:
        rate = 0.0
    if pool not in SIZES or not 0 < rate < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not POOL=N, such as orders=20")
    return pool, rate


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
        pools = await stack.enter_async_context(open_pools(postgres, dict(options.size)))
        await stack.enter_async_context(serve(pools, listener, metrics))
        if options.fd is None:
            service = f"http://localhost:{_port(listener)}/"
            streams = steady(dict(options.rate)) or STREAMS
            await stack.enter_async_context(running_load(service, streams))
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

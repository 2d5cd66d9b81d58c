"""Runs the exporter: starts the server and the probes, and stops them again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from poolscope.exporter.addresses import (
    Address,
    AddressError,
    Endpoint,
    TcpAddress,
    listen,
    passed_by_systemd,
)
from poolscope.exporter.application import Exporter
from poolscope.exporter.listener import Listener
from poolscope.exporter.logs import report_loop_error
from poolscope.exporter.pgbouncer import PgBouncerProbe
from poolscope.exporter.postgres import PostgresProbe
from poolscope.exporter.probes import Probes
from poolscope.exporter.web_config import WebConfigError
from poolscope.fleet.fleet import Fleet
from poolscope.process import signals

logger = logging.getLogger("poolscope.exporter")

SHUTDOWN_SECONDS: Final = 0.4
"""How long requests that are being answered may take when the exporter is told to end."""


LOCK_SECONDS: Final = 2.0
"""For how long to try to lock the folder, which a service may read for a moment."""


class ServerError(Exception):
    """The exporter cannot start. The message is one line that says why."""


@dataclass(frozen=True, slots=True)
class Options:
    """
    The options of the command.

    addresses: where to listen, unless `systemd_socket`: then at the sockets that systemd passes.
    external_url: what clients use, such as https://host/pools, or None.
    route_prefix: what comes before every path, such as /pools, or "".
    """

    folder: Path
    addresses: tuple[Address, ...]
    systemd_socket: bool = False
    external_url: str | None = None
    route_prefix: str = ""
    metrics_path: str = "/metrics"
    web_config: Path | None = None
    postgres: tuple[str, ...] = ()
    pgbouncer: tuple[str, ...] = ()
    per_process: bool = False


def run(options: Options) -> None:
    """
    Serve until SIGTERM or SIGINT; SIGHUP loads the web config file again.

    Raises FolderError or ServerError if the exporter cannot start, and ValueError if a DSN is
    malformed or names a server for the second time.
    """
    servers = Probes([PostgresProbe(dsn) for dsn in options.postgres])
    bouncers = Probes([PgBouncerProbe(dsn) for dsn in options.pgbouncer])
    fleet = Fleet(options.folder, patience=LOCK_SECONDS)
    try:
        exporter = Exporter(fleet, servers, bouncers, options.per_process)
        asyncio.run(_run(options, exporter, (servers, bouncers)))
    finally:
        fleet.close()


async def _run(options: Options, exporter: Exporter, probes: Sequence[Probes[Any]]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(report_loop_error)
    hang_ups = asyncio.Event()
    serving = asyncio.create_task(
        serve(options, exporter, probes, hang_ups, partial(_log_start, probes))
    )

    def stop() -> None:
        if not serving.cancelling():  # else this is one more signal to stop
            logger.info("stopping")
            serving.cancel()

    with signals.calling(
        stop=lambda: loop.call_soon_threadsafe(stop),
        reload=lambda: loop.call_soon_threadsafe(hang_ups.set),
    ):
        await asyncio.wait([serving])
    if not serving.cancelled():
        serving.result()


def _log_start(probes: Sequence[Probes[Any]], options: Options, urls: Sequence[str]) -> None:
    for url in urls:
        logger.info("serving %s%s%s", url, options.route_prefix, options.metrics_path)
    logger.info("%s", _what_is_read(options, urls, probes))


async def serve(
    options: Options,
    exporter: Exporter,
    probes: Sequence[Probes[Any]],
    hang_ups: asyncio.Event,
    started_at: Callable[[Options, Sequence[str]], object],
) -> None:
    """
    Serve until this task is cancelled; load the web config file again at each hang-up.

    started_at: is called with the addresses, without a path, once they are served.

    Raises ServerError.
    """
    async with AsyncExitStack() as started:
        try:
            # In a thread: a name server that hangs must not delay the handling of signals.
            endpoints = await asyncio.to_thread(_listen, options)
            listener = Listener(endpoints, options.web_config, hosts=_names(options))
            runner = _make_runner(options, exporter, listener)
            started.push_async_callback(runner.cleanup)
            for each in probes:
                started.push_async_callback(each.close)
            started.push_async_callback(listener.close)  # the first to end: nobody connects then
            started.callback(asyncio.create_task(exporter.refresh_repeatedly()).cancel)
            await runner.setup()
            await listener.start(runner)
        except (AddressError, WebConfigError) as error:
            raise ServerError(str(error)) from error
        for each in probes:
            each.start()
        started_at(options, listener.urls)
        while await hang_ups.wait():
            hang_ups.clear()
            listener.reload_soon()


def _what_is_read(options: Options, urls: Sequence[str], probes: Sequence[Probes[Any]]) -> str:
    """Return what the log says of it at the start, and where people look."""
    asked = [label for each in probes for label in each.labels]
    base = options.external_url or f"{urls[0]}{options.route_prefix}"
    return (
        f"reading {options.folder}"
        + (f", and asking {', '.join(asked)}" if asked else "")
        + (f"; the live page is {base}/pools" if base.startswith("http") else "")
    )


def _listen(options: Options) -> list[Endpoint]:
    return passed_by_systemd() if options.systemd_socket else listen(options.addresses)


def _make_runner(options: Options, exporter: Exporter, listener: Listener) -> web.AppRunner:
    app = exporter.make_application(options.metrics_path, options.route_prefix)
    listener.install(app)
    return web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)


def _names(options: Options) -> list[str]:
    """Return the names of this host that clients may use besides those of the loopback."""
    hosts = [each.host for each in options.addresses if isinstance(each, TcpAddress)]
    return [*hosts, options.external_url or ""]

"""Runs the exporter: starts the server and the probes, and stops them again."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from poolscope.exporter.application import Exporter
from poolscope.exporter.listener import Listener, bind
from poolscope.exporter.logs import report_loop_error
from poolscope.exporter.pgbouncer import PgBouncerProbe
from poolscope.exporter.postgres import PostgresProbe
from poolscope.exporter.probes import Probes
from poolscope.exporter.web_config import WebConfigError
from poolscope.fleet.fleet import Fleet

logger = logging.getLogger("poolscope.exporter")


class ServerError(Exception):
    """The exporter cannot start. The message is one line that says why."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command."""

    folder: Path
    host: str
    port: int
    metrics_path: str = "/metrics"
    web_config: Path | None = None
    postgres: tuple[str, ...] = ()
    pgbouncer: tuple[str, ...] = ()
    per_process: bool = False


def run(options: Options) -> None:
    """
    Serve until SIGTERM or SIGINT.

    Raises FolderError or ServerError if the exporter cannot start, and ValueError if a DSN is
    malformed or names a server for the second time.
    """
    servers = Probes([PostgresProbe(dsn) for dsn in options.postgres])
    bouncers = Probes([PgBouncerProbe(dsn) for dsn in options.pgbouncer])
    fleet = Fleet(options.folder)
    try:
        exporter = Exporter(fleet, servers, bouncers, options.per_process)
        asyncio.run(_serve(options, exporter, (servers, bouncers)))
    finally:
        fleet.close()


async def _serve(options: Options, exporter: Exporter, probes: Sequence[Probes[Any]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(report_loop_error)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        names = options.host, getattr(options, "external_url", None) or ""
        listener = Listener(bind(options.host, options.port), options.web_config, hosts=names)
    except OSError as error:
        raise ServerError(
            f"cannot listen at {options.host}:{options.port}: {error.strerror or error}"
        ) from error
    app = exporter.make_application(options.metrics_path)
    listener.install(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    refreshing = asyncio.create_task(exporter.refresh_repeatedly())
    try:
        await runner.setup()
        await listener.start(runner)
        for each in probes:
            each.start()
        logger.info("serving %s%s", listener.url, options.metrics_path)
        await stop.wait()
        logger.info("stopping")
    except WebConfigError as error:
        raise ServerError(str(error)) from error
    finally:
        refreshing.cancel()
        await listener.close()
        await asyncio.gather(*(each.close() for each in probes))
        await runner.cleanup()

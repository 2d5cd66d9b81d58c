"""The command `poolscope exporter`: from its options to a server, and to its end."""

from __future__ import annotations

import asyncio
import logging
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from poolscope.fleet import Fleet
from poolscope.server.application import Exporter

logger = logging.getLogger("poolscope.exporter")

LARGEST_LINE: Final = 8190
"""Bytes of a request's line, and of one of its headers."""


class ServerError(Exception):
    """The exporter cannot start; the message says why."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command was told."""

    folder: Path
    host: str
    port: int
    metrics_path: str = "/metrics"


def run(options: Options) -> None:
    """Serve until SIGTERM or SIGINT; raises FolderError or ServerError if it cannot."""
    fleet = Fleet(options.folder)
    try:
        asyncio.run(_serve(options, fleet))
    finally:
        fleet.close()


async def _serve(options: Options, fleet: Fleet) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    exporter = Exporter(fleet)
    runner = web.AppRunner(
        exporter.application(options.metrics_path),
        access_log=None,
        max_line_size=LARGEST_LINE,
        max_field_size=LARGEST_LINE,
        shutdown_timeout=2.0,
    )
    await runner.setup()
    looking = asyncio.create_task(exporter.keep_looking())
    try:
        await web.TCPSite(runner, options.host, options.port).start()
        address = runner.addresses[0]
        logger.info("serving http://%s:%d%s", *_shown(address), options.metrics_path)
        await stop.wait()
        logger.info("stopping")
    except OSError as error:
        raise ServerError(
            f"cannot listen at {options.host}:{options.port}: {error.strerror or error}"
        ) from error
    finally:
        looking.cancel()
        await runner.cleanup()


def _shown(address: tuple[str, int]) -> tuple[str, int]:
    host, port = address[0], address[1]
    return (f"[{host}]" if ":" in host else host), port

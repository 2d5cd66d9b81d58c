"""The HTTP endpoints of the exporter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from aiohttp import web

import poolscope
from poolscope.exporter import api, logs, pages
from poolscope.exporter.answers import answer
from poolscope.exporter.history import History
from poolscope.exporter.json_text import JsonText, json_text
from poolscope.exporter.probes import Probes
from poolscope.fleet.fleet import Fleet, FleetView
from poolscope.metrics.awaiting import shared_result
from poolscope.metrics.exporter_families import Scrape
from poolscope.metrics.exposition import rendered_scrape
from poolscope.metrics.negotiation import VARY
from poolscope.metrics.rendering import Rendered, wanted
from poolscope.metrics.sharing import BusyError, Shared
from poolscope.readings.database_servers import BouncerReading, ServerReading

R = TypeVar("R")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

IDLE_SCAN_INTERVAL: Final = 5.0
"""
Seconds between two readings of the folder when no request comes.

They fill the history of the live page, and they record the last numbers of a process before it is
killed.
"""


class Exporter:
    """
    Answers requests. Requests that arrive while the folder is being read share that reading.

    servers, bouncers: the probes of database servers; their last answers are served.
    per_process: whether to serve metrics of each process as well.
    """

    def __init__(
        self,
        fleet: Fleet,
        servers: Probes[ServerReading],
        bouncers: Probes[BouncerReading],
        per_process: bool,
    ) -> None:
        self._fleet = fleet
        self._servers = servers
        self._bouncers = bouncers
        self._per_process = per_process
        # Not the loop's default executor: probes resolve host names there, and a name server that
        # hangs can occupy all of its threads.
        self._threads = ThreadPoolExecutor(4, "scrape")
        self._history = History()
        self._renderings: Shared[Rendered] = Shared()
        self._newest: Scrape | None = None
        self._refreshing: asyncio.Future[tuple[FleetView, float]] | None = None
        self._documents: Shared[JsonText] = Shared()
        self.ready = False

    def make_application(self, metrics_path: str = "/metrics", prefix: str = "") -> web.Application:
        """
        Return the application.

        metrics_path: where it serves the metrics.
        prefix: what comes before every path, such as /pools; it has no slash at its end.
        """
        app = web.Application(middlewares=[error_responses])
        pages.add_pages(app, metrics_path, prefix)
        for path in both_paths(metrics_path):
            app.router.add_get(f"{prefix}{path}", self.serve_metrics)
        app.router.add_get(f"{prefix}/api/v1/pools", self.serve_pools)
        pages.add_schema(app, prefix)
        app.router.add_get(f"{prefix}/-/healthy", _serve_healthy)
        app.router.add_get(f"{prefix}/-/ready", self.serve_ready)
        return app

    async def refresh_repeatedly(self) -> None:
        """Read the folder at intervals, until this task is cancelled."""
        while True:
            try:
                await self.refresh()
            except Exception as error:
                logs.BRIEF.error("cannot read the folder", cause=error)
            await asyncio.sleep(IDLE_SCAN_INTERVAL)

    async def scrape(self) -> Scrape:
        """Return a view of the fleet, with the last answers of the servers."""
        view, seconds = await self.refresh()
        servers, bouncers = self._servers.readings(), self._bouncers.readings()
        return Scrape(view, seconds, poolscope.__version__, servers, bouncers, self._per_process)

    async def refresh(self) -> tuple[FleetView, float]:
        """Return a view of the fleet, and how many seconds it took to read it."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.ensure_future(self._run_in_thread(self._read_fleet))
        # Shielded: a client that disconnects must not cancel the reading that others wait for.
        return await asyncio.shield(self._refreshing)

    def _read_fleet(self) -> tuple[FleetView, float]:
        started = time.perf_counter()
        view = self._fleet.scan(self._servers.readings())
        self._history.record(view)
        self.ready = True
        return view, time.perf_counter() - started

    def _run_in_thread(self, function: Callable[..., R], *args: object) -> asyncio.Future[R]:
        return asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    async def serve_metrics(self, request: web.Request) -> web.Response:
        self._newest = scrape = await self.scrape()
        accept, encoding = (
            ",".join(request.headers.getall(name, ())) for name in ("Accept", "Accept-Encoding")
        )
        asked = wanted(accept, encoding, request.rel_url.raw_query_string)
        try:
            done = await shared_result(
                self._renderings,
                asked,
                # Another request, which shares it, may have a newer scrape by then.
                lambda: rendered_scrape(self._newest or scrape, asked),
                limited=asked.names is not None,
            )
        except BusyError as error:
            text = f"503 Service Unavailable: {error}\n"
            return web.Response(status=503, text=text, headers={"Retry-After": "1"})
        return answer(done.parts, done.headers)

    async def serve_pools(self, request: web.Request) -> web.Response:
        self._newest = scrape = await self.scrape()

        def make() -> JsonText:
            return json_text(api.document(self._newest or scrape, self._history))

        return (await shared_result(self._documents, "pools", make)).answer(request)

    async def serve_ready(self, _: web.Request) -> web.Response:
        if not self.ready:
            return web.Response(status=503, text="Not ready: the folder has not been read yet.\n")
        return web.Response(text="Ready.\n")


def both_paths(path: str) -> list[str]:
    """Return the path without and with a slash at its end; of the root, the root alone."""
    shorter = path.rstrip("/")
    return list(dict.fromkeys((shorter, f"{shorter}/", path))) if shorter else ["/"]


async def _serve_healthy(_: web.Request) -> web.Response:
    return web.Response(text="Healthy.\n")


@web.middleware
async def error_responses(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into a response of one line, which reveals no internals."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        response = web.Response(status=error.status, text=f"{error.status}: {error.reason}\n")
        if isinstance(error, web.HTTPMethodNotAllowed):
            response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
    except Exception as error:
        route = request.match_info.route.resource
        path = "an unknown path" if route is None else route.canonical
        logs.BRIEF.error("cannot answer %s", path, cause=error)
        response = web.Response(status=500, text="500: see the log of the exporter\n")
    for name, value in (*pages.SECURITY_HEADERS.items(), VARY):
        response.headers.setdefault(name, value)
    return response

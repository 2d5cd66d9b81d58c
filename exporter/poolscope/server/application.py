"""The endpoints of the exporter."""

from __future__ import annotations

import asyncio
import html
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

import poolscope
from poolscope.exporter_metrics import Scrape
from poolscope.fleet import Fleet, View
from poolscope.server import api
from poolscope.server.exposition import expose

logger = logging.getLogger("poolscope.exporter")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LANDING: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>poolscope exporter</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto }}
body {{ padding: 0 1rem }}
code {{ font-size: .95em }}
</style>
<h1>poolscope exporter</h1>
<p>Connection pools of all processes that put them into one folder. Version {version}.</p>
<ul>
<li><a href="{metrics}">Metrics</a>, for Prometheus</li>
<li><a href="/api/v1/pools">Pools</a>, with processes, holders and findings, as JSON</li>
<li><a href="/-/healthy">Healthy</a>, <a href="/-/ready">ready</a></li>
</ul>
"""

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "poolscope",
}


class Exporter:
    """Answers requests. All that ask while the fleet is looked at get to see that one look."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._looking: asyncio.Task[tuple[View, float]] | None = None
        self.ready = False

    def application(self, metrics_path: str = "/metrics") -> web.Application:
        app = web.Application(middlewares=[_decent])
        landing = LANDING.format(version=poolscope.__version__, metrics=html.escape(metrics_path))

        async def root(_: web.Request) -> web.Response:
            return web.Response(text=landing, content_type="text/html")

        if metrics_path != "/":
            app.router.add_get("/", root)
        app.router.add_get(metrics_path, self.metrics)
        app.router.add_get("/api/v1/pools", self.pools)
        app.router.add_get("/-/healthy", _healthy)
        app.router.add_get("/-/ready", self.is_ready)
        return app

    async def look(self) -> tuple[View, float]:
        """Return a view of the fleet, and the seconds that it took."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(asyncio.to_thread(self._look))
        # One who gives up must not take the look away from the others.
        return await asyncio.shield(self._looking)

    def _look(self) -> tuple[View, float]:
        started = time.perf_counter()
        view = self._fleet.look()
        self.ready = True
        return view, time.perf_counter() - started

    async def metrics(self, request: web.Request) -> web.Response:
        view, seconds = await self.look()
        accept = request.headers.get("Accept", "")
        text, content_type = await asyncio.to_thread(expose, Scrape(view, seconds), accept)
        response = web.Response(body=text, headers={"Content-Type": content_type})
        response.enable_compression()
        return response

    async def pools(self, _: web.Request) -> web.Response:
        view, _seconds = await self.look()
        response = web.json_response(api.document(view))
        response.enable_compression()
        return response

    async def is_ready(self, _: web.Request) -> web.Response:
        if not self.ready:
            return web.Response(status=503, text="The folder was not read yet.\n")
        return web.Response(text="Ready.\n")


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="Healthy.\n")


@web.middleware
async def _decent(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer in one line whatever goes wrong, and never with what went wrong inside."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        response = web.Response(status=error.status, text=f"{error.status}: {error.reason}\n")
        if isinstance(error, web.HTTPMethodNotAllowed):
            response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
    except Exception:
        logger.exception("cannot answer %s %s", request.method, request.path)
        response = web.Response(status=500, text="500: the exporter's log has the reason\n")
    response.headers.update(HEADERS)
    return response

"""The HTML pages of the exporter and their assets: small files in the folder `page`."""

from __future__ import annotations

import html
from functools import partial
from importlib import resources
from string import Template
from typing import Final

from aiohttp import web

import poolscope

PAGE_FOLDER: Final = resources.files("poolscope.exporter") / "page"
SCHEMA: Final = "pools.schema.json"
CONTENT_TYPES: Final = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
    "json": "application/schema+json",
}
ASSETS: Final = (
    "pools.css", "pools.js", "card.js", "servers.js", "trend.js", "format.js", "icon.svg",
)  # fmt: skip

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "poolscope",
}
"""Headers of every response. Pages load only files of this server, and no inline script runs."""


def add_pages(app: web.Application, metrics_path: str, prefix: str) -> None:
    """
    Add the landing page, the live page and their assets to an application.

    All their links are relative, as a proxy may serve them under any path. `prefix` comes before
    the paths here; where it is not empty, the paths / and `prefix` lead to the landing page.
    """
    if prefix:
        last = prefix.rpartition("/")[2]
        app.router.add_get("/", partial(_redirect, f".{prefix}/"))
        app.router.add_get(prefix, partial(_redirect, f"./{last}/"))
    landing = Template(_read("index.html")).substitute(
        version=poolscope.__version__, metrics=html.escape(f".{metrics_path}")
    )
    if metrics_path.strip("/"):
        _add_page(app, f"{prefix}/", landing, "html")
    _add_page(app, f"{prefix}/pools", _read("pools.html"), "html")
    for name in ASSETS:
        _add_page(app, f"{prefix}/assets/{name}", _read(name), name.rpartition(".")[2])


def add_schema(app: web.Application, prefix: str) -> None:
    """Add the JSON Schema of `/api/v1/pools` to an application."""
    text = (resources.files("poolscope.exporter") / SCHEMA).read_text(encoding="utf-8")
    _add_page(app, f"{prefix}/api/v1/{SCHEMA}", text, "json")


async def _redirect(location: str, request: web.Request) -> web.Response:
    """Redirect to a relative address, which is right behind any proxy."""
    query = request.rel_url.raw_query_string
    location = f"{location}?{query}" if query else location
    return web.Response(status=302, headers={"Location": location})


def _read(name: str) -> str:
    return (PAGE_FOLDER / name).read_text(encoding="utf-8")


def _add_page(app: web.Application, path: str, text: str, kind: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        response = web.Response(text=text, content_type=CONTENT_TYPES[kind])
        response.headers["Vary"] = "Accept-Encoding"
        response.enable_compression()
        return response

    app.router.add_get(path, answer)

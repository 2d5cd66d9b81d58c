"""The HTML pages of the exporter and their assets: small files in the folder `page`."""

from __future__ import annotations

import html
from importlib import resources
from string import Template
from typing import Final

from aiohttp import web

import poolscope

PAGE_FOLDER: Final = resources.files("poolscope.exporter") / "page"
CONTENT_TYPES: Final = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
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


def add_pages(app: web.Application, metrics_path: str) -> None:
    """Add the landing page, the live page and their assets to an application."""
    landing = Template(_read("index.html")).substitute(
        version=poolscope.__version__, metrics=html.escape(metrics_path)
    )
    if metrics_path.strip("/"):
        _add_page(app, "/", landing, "html")
    _add_page(app, "/pools", _read("pools.html"), "html")
    for name in ASSETS:
        _add_page(app, f"/assets/{name}", _read(name), name.rpartition(".")[2])


def _read(name: str) -> str:
    return (PAGE_FOLDER / name).read_text(encoding="utf-8")


def _add_page(app: web.Application, path: str, text: str, kind: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        response = web.Response(text=text, content_type=CONTENT_TYPES[kind])
        response.enable_compression()
        return response

    app.router.add_get(path, answer)

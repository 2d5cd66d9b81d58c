"""What the metrics of a registry are served as, by ASGI and by WSGI."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import parse_qs

from poolscope.metrics.registries import Registry, current
from poolscope.metrics.rendering import rendered

METHODS: Final = "GET, HEAD, OPTIONS"


class Response(NamedTuple):
    """A response of HTTP: the status, such as 200 and `OK`, the headers, and the body in parts."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    parts: list[bytes]


def metrics_response(
    registry: Registry, method: str, accept: str, accept_encoding: str, query: str
) -> Response:
    """
    Return the metrics of the registry as the response to GET; to HEAD the same without the body.

    accept, accept_encoding: the values of the request's headers.
    query: the query string; each `name[]` in it names samples, and only those are served.

    Raises what a collector raises.
    """
    headers, parts = rendered(current(registry), accept, accept_encoding, parse_qs(query))
    return Response(200, "OK", headers, [] if method == "HEAD" else parts)


def short_response(method: str) -> Response | None:
    """Return the response to a method that needs no metrics; None for GET and HEAD."""
    if method in ("GET", "HEAD"):
        return None
    allow = ("Allow", METHODS)
    if method == "OPTIONS":
        return Response(200, "OK", [allow, ("Content-Length", "0")], [])
    return text_response(405, "Method Not Allowed", f"use one of {METHODS}", method, allow)


def text_response(
    status: int, reason: str, text: str, method: str, *headers: tuple[str, str]
) -> Response:
    """Return a response of one line; to HEAD without it."""
    body = f"{status} {reason}: {text}\n".encode()
    common = ("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))
    return Response(status, reason, [*headers, *common], [] if method == "HEAD" else [body])

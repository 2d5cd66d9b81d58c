"""What the metrics of a registry are served as: by ASGI, by WSGI, and by a server of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry

from poolscope.metrics.negotiation import VARY
from poolscope.metrics.registries import Registry, current
from poolscope.metrics.rendering import Rendered, Wanted, rendered, wanted
from poolscope.metrics.sharing import BusyError, Shared

METHODS: Final = "GET, HEAD"


class Request(NamedTuple):
    """
    A request of HTTP.

    accept, accept_encoding: the values of these headers; of several, joined by commas.
    query: the query string; each `name[]` in it names samples, and only those are served.
    """

    method: str = "GET"
    accept: str = ""
    accept_encoding: str = ""
    query: str = ""


class Response(NamedTuple):
    """A response of HTTP: the status, such as 200 and `OK`, the headers, and the body in parts."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    parts: list[bytes]


class Work(NamedTuple):
    """
    The rendering that a request needs: `shared` does it with the other members.

    key: of renderings that are the same. limited: whether it is one of many selections.
    """

    shared: Shared[Rendered]
    key: Wanted
    make: Callable[[], Rendered]
    limited: bool


_shared: Final[WeakKeyDictionary[CollectorRegistry, Shared[Rendered]]] = WeakKeyDictionary()
"""Renderings by registry, as one registry may be served in several ways."""


class Metrics:
    """
    The metrics of a registry, which are rendered once for all who ask at the same time.

    No response is older than its request: see `Shared`.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def respond(self, request: Request) -> Response:
        """
        Return the response to the request; to HEAD that to GET, without the body.

        Raises what a collector raises.
        """
        short = short_response(request.method)
        if short is not None:
            return short
        shared, key, make, limited = self.work_for(request)
        try:
            return response_of(shared.result(key, make, limited=limited), request)
        except BusyError as error:
            return busy_response(error, request)

    def work_for(self, request: Request) -> Work:
        """Return what is to be done for a GET or HEAD request."""
        registry = current(self._registry)
        asked = wanted(request.accept, request.accept_encoding, request.query)
        shared = _shared.setdefault(registry, Shared())
        return Work(shared, asked, lambda: rendered(registry, asked), asked.names is not None)


def short_response(method: str) -> Response | None:
    """Return the response to a method that is not allowed; None for GET and HEAD."""
    if method in ("GET", "HEAD"):
        return None
    allow = ("Allow", METHODS)
    return text_response(405, "Method Not Allowed", f"use one of {METHODS}", method, allow)


def text_response(
    status: int, reason: str, text: str, method: str, *headers: tuple[str, str]
) -> Response:
    """Return a response of one line; to HEAD without it."""
    body = f"{status} {reason}: {text}\n".encode()
    common = ("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))
    return Response(status, reason, [*headers, *common, VARY], [] if method == "HEAD" else [body])


def response_of(done: Rendered, request: Request) -> Response:
    """Return the response with what was rendered."""
    return Response(200, "OK", done.headers, [] if request.method == "HEAD" else done.parts)


def busy_response(error: BusyError, request: Request) -> Response:
    """Return the response where too many different selections wait."""
    again = ("Retry-After", "1")
    return text_response(503, "Service Unavailable", str(error), request.method, again)

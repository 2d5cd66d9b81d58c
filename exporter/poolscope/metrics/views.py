"""The metrics as a view of a framework that gives it a request of its own, and takes a response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from poolscope.metrics.responses import Request, Response


class View(NamedTuple):
    """How a framework asks, and how it is answered."""

    ask: Callable[[Any], Request]
    answer: Callable[[Response], Any]


def _ask_of_django(request: Any) -> Request:
    meta = request.META
    return Request(
        request.method,
        meta.get("HTTP_ACCEPT", ""),
        meta.get("HTTP_ACCEPT_ENCODING", ""),
        meta.get("QUERY_STRING", ""),
    )


def _answer_to_django(response: Response) -> Any:
    from django.http import HttpResponse

    return HttpResponse(
        b"".join(response.parts),
        status=response.status,
        reason=response.reason,
        headers=dict(response.headers),
    )


def _ask_of_aiohttp(request: Any) -> Request:
    headers = request.headers
    return Request(
        request.method,
        ",".join(headers.getall("Accept", [])),
        ",".join(headers.getall("Accept-Encoding", [])),
        request.query_string,
    )


def _answer_to_aiohttp(response: Response) -> Any:
    from aiohttp import web

    return web.Response(
        status=response.status,
        reason=response.reason,
        headers=response.headers,
        body=b"".join(response.parts),
    )


_VIEWS: Final = {
    "django": View(_ask_of_django, _answer_to_django),
    "aiohttp": View(_ask_of_aiohttp, _answer_to_aiohttp),
}


def view_for(request: object) -> View:
    """Return the view for a request; raises TypeError if it is of no framework known here."""
    for cls in type(request).__mro__:
        view = _VIEWS.get(cls.__module__.partition(".")[0])
        if view is not None:
            return view
    raise TypeError(
        "the metrics are an app of ASGI or WSGI, and a view of Django and aiohttp.web; they cannot "
        f"answer a request of type {type(request).__module__}.{type(request).__qualname__}"
    )

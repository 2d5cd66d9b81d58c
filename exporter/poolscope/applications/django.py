"""The middleware of Django."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from poolscope.applications.requests import (
    RequestOperation,
    answered,
    goes_on,
    request_of,
    step_of,
)
from poolscope.callsites.operations import Box


class Middleware:
    """
    Has each request be an operation, by the route that Django resolves: `GET orders/<int:pk>/`.

    Put it first in MIDDLEWARE. It serves both WSGI and ASGI.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[..., Any]) -> None:
        self._get_response = get_response
        # Those of asgiref know what its adapters return; from Python 3.12 on they are `inspect`'s.
        from asgiref.sync import iscoroutinefunction, markcoroutinefunction

        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        if self._is_async:
            return self._respond(request)
        operation = _operation_of(request)
        with request_of(operation) as box:
            response = self._get_response(request)
        return _streamed(response, box, operation)

    async def _respond(self, request: Any) -> Any:
        operation = _operation_of(request)
        with request_of(operation) as box:
            response = await self._get_response(request)
        return _streamed(response, box, operation)


def instrument_handler(handler: Any) -> None:
    """
    Put the middleware around all others, unless the settings have it.

    handler: one of Django's that has loaded its middleware. Checked with Django 4.2 to 5.2:
        BaseHandler._middleware_chain.
    """
    from django.conf import settings

    if not any(str(path).startswith("poolscope.") for path in settings.MIDDLEWARE):
        handler._middleware_chain = Middleware(handler._middleware_chain)


def _operation_of(request: Any) -> RequestOperation:
    return RequestOperation(request.method, lambda: _template_of(request))


def _template_of(request: Any) -> str | None:
    match = getattr(request, "resolver_match", None)
    route = getattr(match, "route", None)
    if not isinstance(route, str):
        return None
    # Of `re_path`, the pattern without its ends.
    return "/" + route.removeprefix("^").removeprefix("/").removesuffix("$")


def _streamed(response: Any, box: Box, operation: RequestOperation) -> Any:
    """Have the parts of a response that are made while they are sent belong to the request."""
    if not getattr(response, "streaming", False):
        return response
    goes_on(box, operation)
    content = response.streaming_content
    is_async = getattr(response, "is_async", False)
    parts = _async_parts if is_async else _parts
    response.streaming_content = parts(content, box, operation)
    return response


def _parts(content: Any, box: Box, operation: RequestOperation) -> Iterator[bytes]:
    parts, end = iter(content), object()
    try:
        while True:
            with step_of(box):
                part: Any = next(parts, end)
            if part is end:
                return
            yield part
    finally:
        answered(box, operation)


async def _async_parts(content: Any, box: Box, operation: RequestOperation) -> AsyncIterator[bytes]:
    parts = aiter(content)
    try:
        while True:
            with step_of(box):
                try:
                    part = await anext(parts)
                except StopAsyncIteration:
                    return
            yield part
    finally:
        answered(box, operation)

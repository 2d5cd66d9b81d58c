"""Requests of Django are operations, by its middleware, in WSGI and ASGI."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

import django
import pytest
from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path, re_path

from applications.seen import Seen
from poolscope.applications.instrument import instrument
from poolscope.callsites.operations import current_operation

seen = Seen()


def order(_: Any, number: int) -> HttpResponse:
    seen.note("order")
    return HttpResponse(str(number))


async def waiting(_: Any, number: int) -> HttpResponse:
    seen.note("waiting")
    return HttpResponse(str(number))


def parts(_: Any, count: str) -> StreamingHttpResponse:
    def stream() -> Iterator[str]:
        for _ in range(int(count)):
            seen.note("part")
            yield "part"

    return StreamingHttpResponse(stream())


def async_parts(_: Any) -> StreamingHttpResponse:
    async def stream() -> AsyncIterator[str]:
        for _ in range(2):
            seen.note("part")
            yield "part"

    return StreamingHttpResponse(stream())


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not settings.configured:
        settings.configure()
    django.setup()
    urls: Any = ModuleType("django_urls_of_a_shop")
    urls.urlpatterns = [
        path("orders/<int:number>/", order),
        path("waiting/<int:number>/", waiting),
        re_path(r"^parts/(?P<count>\d+)/$", parts),
        path("async-parts/", async_parts),
    ]
    monkeypatch.setitem(sys.modules, urls.__name__, urls)
    with override_settings(
        ROOT_URLCONF=urls.__name__, MIDDLEWARE=["poolscope.django.Middleware"], ALLOWED_HOSTS=["*"]
    ):
        yield


REQUESTS = [
    ("/orders/1/", "order", "GET /orders/<int:number>/"),
    ("/waiting/1/", "waiting", "GET /waiting/<int:number>/"),
]


@pytest.mark.parametrize(
    ("path", "what", "name"), [*REQUESTS, ("/parts/2/", "part", r"GET /parts/(?P<count>\d+)/")]
)
def test_wsgi(path: str, what: str, name: str) -> None:
    response: Any = Client().get(path)
    assert 200 == response.status_code
    assert b"1" == response.content if not response.streaming else b"".join(response)
    assert {what: name} == seen.names()
    assert current_operation() is None


@pytest.mark.parametrize(
    ("path", "what", "name"), [*REQUESTS, ("/async-parts/", "part", "GET /async-parts/")]
)
async def test_asgi(path: str, what: str, name: str) -> None:
    response: Any = await AsyncClient().get(path)
    assert 200 == response.status_code
    if response.streaming:
        assert [b"part"] * 2 == [part async for part in response]
    assert {what: name} == seen.names()
    assert current_operation() is None


def test_instrument_names_the_middleware() -> None:
    from django.core.wsgi import get_wsgi_application

    with pytest.raises(TypeError, match=r"add poolscope\.django\.Middleware to MIDDLEWARE"):
        instrument(get_wsgi_application())

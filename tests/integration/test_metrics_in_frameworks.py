"""
`/metrics` and `/metrics/` in each framework, in each way of docs/embedding.md, by real servers.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

import aiohttp.web
import django
import fastapi
import flask
import litestar
import pytest
import quart
import starlette.applications
import starlette.routing
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.test import override_settings
from django.urls import path, re_path
from hypercorn.middleware import DispatcherMiddleware as AsyncDispatcher
from werkzeug.middleware.dispatcher import DispatcherMiddleware

import poolscope
from support import served

metrics_of_asgi: Final = poolscope.make_asgi_app
metrics_of_wsgi: Final = poolscope.make_wsgi_app


def fastapi_route() -> Any:
    app = fastapi.FastAPI()
    app.add_route("/metrics", metrics_of_asgi())
    return app


def fastapi_mount() -> Any:
    app = fastapi.FastAPI()
    app.mount("/metrics", metrics_of_asgi())
    return app


def starlette_route() -> Any:
    routes = [starlette.routing.Route("/metrics", endpoint=metrics_of_asgi())]
    return starlette.applications.Starlette(routes=routes)


def starlette_mount() -> Any:
    routes = [starlette.routing.Mount("/metrics", metrics_of_asgi())]
    return starlette.applications.Starlette(routes=routes)


def litestar_handler() -> Any:
    return litestar.Litestar([litestar.asgi("/metrics", copy_scope=True)(metrics_of_asgi())])


def quart_dispatcher() -> Any:
    return AsyncDispatcher({"/metrics": metrics_of_asgi(), "": quart.Quart("shop")})


def flask_view() -> Any:
    app = flask.Flask("shop")
    app.add_url_rule("/metrics", view_func=metrics_of_wsgi(), strict_slashes=False)
    return app


def flask_dispatcher() -> Any:
    app = flask.Flask("shop")
    dispatcher = DispatcherMiddleware(app.wsgi_app, {"/metrics": metrics_of_wsgi()})
    app.wsgi_app = dispatcher  # type: ignore[method-assign]  # as Flask's documentation has it
    return app


def aiohttp_route() -> Any:
    app = aiohttp.web.Application()
    app.router.add_get("/metrics{_:/?}", metrics_of_asgi())
    return app


def django_with(get_application: Callable[[], Any], view: Any) -> Any:
    urls: Any = ModuleType("django_urls_of_metrics")
    urls.urlpatterns = [re_path("^metrics/?$", view)]
    settings.ROOT_URLCONF = urls
    return get_application()


def django_in_front(environ: Any, start_response: Any) -> Any:
    """As `wsgi.py` in the documentation."""
    application, metrics = get_wsgi_application(), metrics_of_wsgi()
    app = metrics if environ["PATH_INFO"].rstrip("/") == "/metrics" else application
    return app(environ, start_response)


async def nothing_by_asgi(scope: Any, receive: Any, send: Any) -> None:
    """An application of its own, without any route."""
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body"})


def nothing_by_wsgi(environ: Any, start_response: Any) -> Any:
    start_response("404 Not Found", [])
    return []


WAYS: Final[dict[str, tuple[str, Callable[[], Any]]]] = {
    "FastAPI, instrument": ("asgi", lambda: poolscope.instrument(fastapi.FastAPI())),
    "FastAPI, add_route": ("asgi", fastapi_route),
    "FastAPI, mount": ("asgi", fastapi_mount),
    "Starlette, instrument": (
        "asgi",
        lambda: poolscope.instrument(starlette.applications.Starlette()),
    ),
    "Starlette, Route": ("asgi", starlette_route),
    "Starlette, Mount": ("asgi", starlette_mount),
    "Litestar, instrument": ("asgi", lambda: poolscope.instrument(litestar.Litestar())),
    "Litestar, asgi": ("asgi", litestar_handler),
    "Quart, instrument": ("asgi", lambda: poolscope.instrument(quart.Quart("shop"))),
    "Quart, DispatcherMiddleware": ("asgi", quart_dispatcher),
    "ASGI, instrument": ("asgi", lambda: poolscope.instrument(nothing_by_asgi)),
    "ASGI, bare": ("asgi", metrics_of_asgi),
    "Flask, instrument": ("wsgi", lambda: poolscope.instrument(flask.Flask("shop"))),
    "Flask, add_url_rule": ("wsgi", flask_view),
    "Flask, DispatcherMiddleware": ("wsgi", flask_dispatcher),
    "WSGI, instrument": ("wsgi", lambda: poolscope.instrument(nothing_by_wsgi)),
    "WSGI, bare": ("wsgi", metrics_of_wsgi),
    "aiohttp, instrument": ("aiohttp", lambda: poolscope.instrument(aiohttp.web.Application())),
    "aiohttp, add_get": ("aiohttp", aiohttp_route),
    "Django by WSGI, path": ("wsgi", lambda: django_with(get_wsgi_application, metrics_of_wsgi())),
    "Django by ASGI, path": ("asgi", lambda: django_with(get_asgi_application, metrics_of_wsgi())),
    "Django by ASGI, path of the ASGI app": (
        "asgi",
        lambda: django_with(get_asgi_application, metrics_of_asgi()),
    ),
    "Django by WSGI, path of the ASGI app": (
        "wsgi",
        lambda: django_with(get_wsgi_application, metrics_of_asgi()),
    ),
    "Django, wsgi.py": ("wsgi", lambda: django_in_front),
}


@pytest.fixture(autouse=True)
def configured() -> Any:
    if not settings.configured:
        settings.configure()
    with override_settings(
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=[
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.middleware.common.CommonMiddleware",
            "poolscope.django.Middleware",
        ],
        APPEND_SLASH=True,
        LOGGING_CONFIG=None,
    ):
        django.setup()
        yield


@pytest.mark.filterwarnings("ignore:.*StreamingHttpResponse must consume:Warning")
@pytest.mark.parametrize("way", WAYS)
def test_both_paths_are_served_without_a_redirect(way: str) -> None:
    kind, make = WAYS[way]
    with served.SERVERS[kind](make()) as port:
        for asked in ("/metrics", "/metrics/"):
            got, head = (served.ask(port, method, asked) for method in ("GET", "HEAD"))
            assert (200, 200) == (got.status, head.status), asked
            assert b"# TYPE python_info gauge\n" in got.body
            assert b"" == head.body
            assert got.headers["content-type"].startswith("text/plain; version=")
            refused = served.ask(port, "POST", asked)
            assert 405 == refused.status, asked
            assert b"python_info" not in refused.body
        assert 200 == served.ask(port, "GET", "/metrics?name[]=python_info").status


def test_a_view_of_a_framework_that_is_not_known() -> None:
    with pytest.raises(TypeError, match=r"cannot answer a request of type builtins\.str"):
        metrics_of_wsgi()("a request")


def test_a_path_of_django_without_a_slash() -> None:
    view = metrics_of_wsgi()
    assert "poolscope_metrics" in path("metrics", view).lookup_str

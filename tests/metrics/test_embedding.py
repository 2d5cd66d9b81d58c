"""The apps work in other applications: mounted, as the endpoint of a route, and on their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from wsgiref.validate import validator

import flask
import httpx
import litestar
import pytest
from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, Router
from werkzeug.middleware.dispatcher import DispatcherMiddleware

import poolscope


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge("answer", "Of the test", registry=registry).set(42)
    return registry


def fastapi_mount(metrics: Any) -> Any:
    app = FastAPI()
    app.mount("/metrics", metrics)
    return app


def fastapi_route(metrics: Any) -> Any:
    app = FastAPI()
    app.add_route("/metrics", metrics)
    return app


def fastapi_router(metrics: Any) -> Any:
    app, router = FastAPI(), APIRouter()
    router.add_route("/metrics", metrics)
    app.include_router(router)
    return app


def starlette_mount(metrics: Any) -> Any:
    return Starlette(routes=[Mount("/metrics", metrics)])


def starlette_mount_behind_middleware(metrics: Any) -> Any:
    through = Middleware(lambda app: app)
    return Starlette(routes=[Mount("/metrics", metrics, middleware=[through])])


def starlette_route(metrics: Any) -> Any:
    return Starlette(routes=[Route("/metrics", metrics)])


def starlette_route_with_a_slash(metrics: Any) -> Any:
    return Starlette(routes=[Route("/metrics/", metrics)])


def starlette_route_for_get(metrics: Any) -> Any:
    return Starlette(routes=[Route("/metrics", metrics, methods=["GET"])])


def starlette_without_redirects(metrics: Any) -> Any:
    return Router([Mount("/metrics", metrics)], redirect_slashes=False)


def litestar_mount(metrics: Any) -> Any:
    return litestar.Litestar([litestar.asgi("/metrics", is_mount=True, copy_scope=True)(metrics)])


def litestar_route(metrics: Any) -> Any:
    return litestar.Litestar([litestar.asgi("/metrics", copy_scope=True)(metrics)])


def bare(metrics: Any) -> Any:
    return metrics


def flask_mount(metrics: Any) -> Any:
    app: Any = flask.Flask("shop")
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/metrics": metrics})
    return app


def flask_view(metrics: Any) -> Any:
    app = flask.Flask("shop")
    app.add_url_rule("/metrics", "metrics", lambda: metrics, strict_slashes=False)
    return app


def checked(metrics: Any) -> Any:
    """The app on its own, and what it does is checked against the rules of WSGI."""
    return validator(metrics)


class Client(NamedTuple):
    """Sends requests to an app that serves the metrics at `/metrics`."""

    app: Any
    transport: Any

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            async with httpx.AsyncClient(
                transport=self.transport, base_url="http://shop"
            ) as client:
                return await client.request(method, path, **options)

        def send_to_wsgi() -> httpx.Response:
            with httpx.Client(transport=self.transport, base_url="http://shop") as client:
                return client.request(method, path, **options)

        is_wsgi = isinstance(self.transport, httpx.WSGITransport)
        return send_to_wsgi() if is_wsgi else asyncio.run(send())


ASGI: Final = (
    fastapi_mount, fastapi_route, fastapi_router, starlette_mount,
    starlette_mount_behind_middleware, starlette_route, starlette_route_with_a_slash,
    starlette_route_for_get, starlette_without_redirects, litestar_mount, litestar_route, bare,
)  # fmt: skip
WSGI: Final = (flask_mount, flask_view, checked)


@pytest.fixture(params=[*ASGI, *WSGI], ids=lambda embed: embed.__name__)
def embed(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def client(embed: Callable[[Any], Any], registry: CollectorRegistry) -> Client:
    return client_of(embed, registry)


def client_of(embed: Callable[[Any], Any], registry: CollectorRegistry, root: str = "") -> Client:
    if embed in WSGI:
        app = embed(poolscope.make_wsgi_app(registry=registry))
        return Client(app, httpx.WSGITransport(app, script_name=root))
    app = embed(poolscope.make_asgi_app(registry=registry))
    return Client(app, httpx.ASGITransport(app, root_path=root))


PATHS: Final = ("/metrics", "/metrics/")


@pytest.mark.parametrize("path", PATHS)
def test_the_metrics_are_served_without_a_redirect(
    client: Client, registry: CollectorRegistry, path: str
) -> None:
    response = client.request("GET", path)
    assert (200, generate_latest(registry)) == (response.status_code, response.content)
    assert response.headers["Content-Type"].startswith("text/plain; version=")


@pytest.mark.parametrize("path", PATHS)
def test_head_is_answered_like_get_without_the_body(client: Client, path: str) -> None:
    got, asked = (client.request(method, path) for method in ("GET", "HEAD"))
    assert (200, b"") == (asked.status_code, asked.content)
    assert got.headers == asked.headers


def test_only_the_samples_that_are_asked_for_are_served(client: Client) -> None:
    assert b"" == client.request("GET", "/metrics?name[]=nothing").content
    assert client.request("GET", "/metrics?name[]=answer").text.endswith("answer 42.0\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_what_would_change_something_is_refused(client: Client, method: str) -> None:
    response = client.request(method, "/metrics")
    assert 405 == response.status_code
    assert "answer" not in response.text
    assert {"GET", "HEAD"} <= set(response.headers["Allow"].replace(" ", "").split(","))


@pytest.mark.parametrize("path", PATHS)
def test_an_app_may_have_a_root_path(
    embed: Callable[[Any], Any], registry: CollectorRegistry, path: str
) -> None:
    """A server passes it, whether the proxy in front of it takes it off the path or not."""
    client = client_of(embed, registry, "/shop")
    for asked in (path,) if embed in WSGI else (path, f"/shop{path}"):
        response = client.request("GET", asked)
        assert (200, generate_latest(registry)) == (response.status_code, response.content), asked


def test_what_is_beside_the_metrics_is_not_touched(registry: CollectorRegistry) -> None:
    async def shelf(request: Any) -> PlainTextResponse:
        return PlainTextResponse(request.url.path)

    metrics = poolscope.make_asgi_app(registry=registry)
    routes = [
        Mount("/metrics", metrics),
        Route("/shelf", shelf),
        Mount("/new", routes=[Route("/", shelf)]),
    ]
    app = Starlette(routes=routes)
    client = Client(app, httpx.ASGITransport(app))
    for path, expected in (
        ("/shelf", (200, "/shelf")),
        ("/shelf/", (307, "")),
        ("/new", (307, "")),
        ("/new/", (200, "/new/")),
        ("/metricsfoo", (404, "Not Found")),
        ("/", (404, "Not Found")),
    ):
        response = client.request("GET", path)
        assert expected == (response.status_code, response.text), path
    assert [Mount, Route, Mount] != [type(route) for route in routes]
    assert [Route, Mount] == [type(route) for route in routes[1:]]


def test_a_mount_of_the_metrics_looks_like_others(registry: CollectorRegistry) -> None:
    metrics = poolscope.make_asgi_app(registry=registry)
    mount, route = Mount("/metrics", metrics, name="metrics"), Route("/metrics", metrics)
    assert isinstance(mount, Mount)
    assert isinstance(route, Route)
    assert "Mount(path='/metrics', name='metrics'" in repr(mount)
    assert repr(route).startswith("Route(path='/metrics', ")
    assert "/metrics/x" == mount.url_path_for("metrics", path="x")
    seen: list[Any] = []

    async def see(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        seen.append((scope["root_path"], scope["route"], scope["endpoint"]))

    app = Starlette(routes=[mount])
    for path in PATHS:
        Client(see, httpx.ASGITransport(see)).request("GET", path)
    assert [("/metrics", mount, metrics)] * 2 == seen


def test_what_is_compressed_is_not_compressed_again(registry: CollectorRegistry) -> None:
    metrics = poolscope.make_asgi_app(registry=registry)
    app = Starlette(routes=[Mount("/metrics", metrics)], middleware=[Middleware(GZipMiddleware, 1)])
    client = Client(app, httpx.ASGITransport(app))
    response = client.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
    assert ["gzip"] == response.headers.get_list("Content-Encoding")
    assert generate_latest(registry) == response.content


@pytest.mark.parametrize("path", ["/v1/metrics", "/v1/metrics/"])
@pytest.mark.parametrize("embed", [fastapi_mount, fastapi_route, starlette_mount, starlette_route])
def test_the_application_may_be_mounted_itself(
    embed: Callable[[Any], Any], registry: CollectorRegistry, path: str
) -> None:
    app = FastAPI()
    app.mount("/v1", embed(poolscope.make_asgi_app(registry=registry)))
    response = Client(app, httpx.ASGITransport(app)).request("GET", path)
    assert (200, generate_latest(registry)) == (response.status_code, response.content)


def test_a_route_of_the_application_that_comes_first_stays(registry: CollectorRegistry) -> None:
    async def own(request: Any) -> PlainTextResponse:
        return PlainTextResponse("own")

    metrics = poolscope.make_asgi_app(registry=registry)
    app = Starlette(routes=[Route("/metrics", own), Mount("/metrics", metrics)])
    assert "own" == Client(app, httpx.ASGITransport(app)).request("GET", "/metrics").text


async def test_the_app_answers_a_server_that_starts_and_ends(registry: CollectorRegistry) -> None:
    told = iter(({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}))
    sent: list[Any] = []

    async def receive() -> Any:
        return next(told)

    async def send(message: Any) -> None:
        sent.append(message)

    app = poolscope.make_asgi_app(registry=registry)
    await app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
    expected = [{"type": f"lifespan.{kind}.complete"} for kind in ("startup", "shutdown")]
    assert expected == sent


@pytest.mark.parametrize("embed", [bare, checked])
def test_the_default_registry_is_the_one_that_there_is_at_the_request(
    embed: Callable[[Any], Any], registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    if embed is bare:
        app = embed(poolscope.make_asgi_app())
        transport: Any = httpx.ASGITransport(app)
    else:
        app = embed(poolscope.make_wsgi_app())
        transport = httpx.WSGITransport(app)
    monkeypatch.setattr("prometheus_client.REGISTRY", registry)
    assert generate_latest(registry) == Client(app, transport).request("GET", "/metrics").content

"""Requests of Flask, Django and bare WSGI callables are operations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import flask
import pytest
from werkzeug.test import Client

from applications.seen import Seen
from poolscope.applications.instrument import instrument
from poolscope.callsites.operations import current_operation


def shop(seen: Seen) -> flask.Flask:
    app = flask.Flask("shop")
    orders = flask.Blueprint("orders", "orders", url_prefix="/orders")

    @app.before_request
    def begin() -> None:
        seen.note("before")

    @app.teardown_request
    def end(_: BaseException | None) -> None:
        seen.note("teardown")

    @orders.get("/<int:number>")
    def order(number: int) -> str:
        seen.note("order")
        return str(number)

    @app.get("/parts/<int:count>")
    def parts(count: int) -> flask.Response:
        def stream() -> Iterator[str]:
            for _ in range(count):
                seen.note("part")
                yield "part"

        return flask.Response(stream())

    @app.get("/broken/<name>")
    def broken(name: str) -> str:
        seen.note("broken")
        raise LookupError(name)

    app.register_blueprint(orders)
    return instrument(app)


@pytest.mark.parametrize(
    ("path", "status", "what", "name"),
    [
        ("/orders/1", 200, "order", "GET /orders/<int:number>"),
        ("/parts/2", 200, "part", "GET /parts/<int:count>"),
        ("/broken/x", 500, "broken", "GET /broken/<name>"),
        ("/nothing/1", 404, "before", "GET (no route)"),
    ],
)
def test_flask(path: str, status: int, what: str, name: str) -> None:
    seen = Seen()
    response = Client(shop(seen)).get(path)
    assert status == response.status_code
    response.close()
    names = seen.names()
    assert name == names[what]
    assert {name} == set(names.values())
    assert current_operation() is None


def test_flask_inside_of_a_callable_that_is_instrumented() -> None:
    seen = Seen()
    app = flask.Flask("shop")

    @app.get("/orders/<int:number>")
    def order(number: int) -> str:
        seen.note("order")
        return str(number)

    def around(environ: Any, start_response: Any) -> Any:
        return app(environ, start_response)

    assert 200 == Client(instrument(around)).get("/orders/1").status_code
    assert {"order": "GET /orders/<int:number>"} == seen.names()


def test_parts_that_are_made_while_they_are_sent_know_the_request() -> None:
    seen = Seen()
    client = Client(shop(seen))
    one = client.get("/parts/2", buffered=False)
    other = client.get("/orders/1", buffered=False)
    assert [b"part"] * 2 == [*one.response]
    assert [b"1"] == [*other.response]
    assert "GET /parts/<int:count>" == seen.names()["part"]
    assert current_operation() is None


def test_names_are_those_of_routes() -> None:
    seen = Seen()
    client, names = Client(shop(seen)), set()
    for number in range(500):
        for path in (f"/orders/{number}", f"/nothing/{number}"):
            client.get(path)
            names.add(seen.names()["before"])
    assert {"GET /orders/<int:number>", "GET (no route)"} == names


@pytest.mark.parametrize("path", ["/metrics", "/metrics/"])
def test_metrics_without_a_redirect(path: str) -> None:
    def bare(_: Any, start_response: Any) -> list[bytes]:
        start_response("404 Not Found", [])
        return [b""]

    for app in (shop(Seen()), instrument(bare)):
        assert 200 == Client(app).get(path).status_code
    for app in (instrument(flask.Flask("quiet"), metrics=None), instrument(bare, metrics=None)):
        assert 404 == Client(app).get(path).status_code


def test_a_second_instrument_changes_nothing() -> None:
    app = shop(Seen())
    rules, served = list(app.url_map.iter_rules()), app.wsgi_app
    assert app is instrument(app)
    assert (rules, served) == (list(app.url_map.iter_rules()), app.wsgi_app)


def test_a_body_is_closed_and_its_list_left_alone() -> None:
    closed: list[Any] = []

    class Parts:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"part"])

        def close(self) -> None:
            closed.append(current_operation())

    bodies: list[Any] = [[b"part"], Parts()]

    def bare(_: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return bodies.pop(0)

    app: Any = instrument(bare)
    whole = bodies[0]
    assert whole is app({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None)
    body = app({"REQUEST_METHOD": "PUT", "PATH_INFO": "/"}, lambda *_: None)
    assert [b"part"] == list(body)
    body.close()
    (operation,) = closed
    assert "PUT (no route)" == operation.name()

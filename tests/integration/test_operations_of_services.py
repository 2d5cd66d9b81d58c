"""Behind real servers, each connection that a service of `examples/` holds shows its request."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import pytest

from support.example_services import (
    CONNECTIONS,
    GUNICORN,
    SECONDS,
    ExampleService,
    OrdersDatabase,
    by_operation,
    database,
    expect,
    held,
    leaked,
    metrics_of,
    serve_example,
    start,
)
from support.exporters import ExporterProcess, exporter

__all__ = ["database", "exporter", "serve_example", "start"]


class Service(NamedTuple):
    """
    How a service is run, and its requests with what their connections are for.

    requests: methods, paths with a `{}` for a number, and what for.
    by_itself: whether one process answers all requests, so that its own `/metrics` and `/holders`
        can be asked, too.
    """

    command: tuple[str, ...]
    requests: tuple[tuple[str, str, tuple[str, ...]], ...]
    by_itself: bool = True


ORDER: Final = "GET /orders/{number}"
FASTAPI: Final = (
    ("GET", "/orders/{}", (ORDER,)),
    ("GET", "/exports/{}", ("GET /exports/{least}",)),
    ("POST", "/orders/{}/refund", ("background: POST /orders/{number}/refund",)),
)
AIOHTTP: Final = (
    ("GET", "/orders/{}", (ORDER,)),
    # It holds a connection of the session, by which it asks for an order.
    ("GET", "/stock/{}", ("GET /stock/{number}", ORDER)),
)
OF_FLASK_AND_DJANGO: Final = (("GET", "/orders/{}", ("GET /orders/<int:number>",)),)
SEVERAL: Final = ("--workers", "3")
UVICORN: Final = ("uvicorn", "--log-level", "error", "--port", "{port}")
UVICORN_WORKER: Final = ("--worker-class", "uvicorn.workers.UvicornWorker")

SERVICES: Final = {
    "fastapi-uvicorn": Service((*UVICORN, "fastapi_service:app"), FASTAPI),
    "fastapi-uvicorn-workers": Service(
        (*UVICORN, *SEVERAL, "fastapi_service:app"), FASTAPI, by_itself=False
    ),
    "fastapi-gunicorn": Service(
        (*GUNICORN, *SEVERAL, *UVICORN_WORKER, "fastapi_service:app"), FASTAPI, by_itself=False
    ),
    "flask-sync": Service(
        (*GUNICORN, *SEVERAL, "flask_service:app"), OF_FLASK_AND_DJANGO, by_itself=False
    ),
    "flask-gthread": Service(
        (*GUNICORN, "--threads", "8", "flask_service:app"), OF_FLASK_AND_DJANGO
    ),
    "django-wsgi": Service(
        (*GUNICORN, "--threads", "8", "django_service:application"), OF_FLASK_AND_DJANGO
    ),
    "django-asgi": Service((*UVICORN, "django_service:asgi"), OF_FLASK_AND_DJANGO),
    "aiohttp": Service(("aiohttp_service", "{dsn}", "{port}"), AIOHTTP),
}

each_service: Final = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


@each_service
def test_each_hold_shows_its_request(
    service: Service,
    serve_example: Callable[..., ExampleService],
    exporter: ExporterProcess,
    database: OrdersDatabase,
) -> None:
    served = serve_example(*service.command)
    names = Counter(name for *_, held_for in service.requests for name in held_for * 2)
    with ThreadPoolExecutor() as clients:
        with database.locked():
            answers = [
                clients.submit(served.ask, method, path.format(number))
                for method, path, _ in service.requests
                for number in (4711, 4712)
            ]
            expect(names, lambda: held(exporter))
            assert names == by_operation(CONNECTIONS, metrics_of(exporter))
            if service.by_itself:
                holds = json.loads(served.get("/holders"))
                assert names == Counter(hold["operation"] for hold in holds)
                assert names == by_operation(CONNECTIONS, served.get("/metrics"))
        assert {200, 202} >= {answer.result()[0] for answer in answers}
    expect({}, lambda: held(exporter))
    metrics = metrics_of(exporter)
    assert dict.fromkeys(names, 0) == by_operation(CONNECTIONS, metrics)
    seconds = by_operation(SECONDS, metrics)
    assert names.keys() == seconds.keys()
    assert min(seconds.values()) > 0


@each_service
def test_a_request_that_fails_or_whose_client_leaves_keeps_its_name_and_holds_nothing(
    service: Service,
    serve_example: Callable[..., ExampleService],
    exporter: ExporterProcess,
    database: OrdersDatabase,
) -> None:
    served = serve_example(*service.command)
    (name,) = service.requests[0][2]
    with database.locked():
        fails = served.send("GET", "/orders/4711")
        database.fail(1)
        with fails.getresponse() as response:
            assert 500 == response.status
        fails.close()
        expect({}, lambda: held(exporter))

        leaves = served.send("GET", "/orders/4712")
        expect({name: 1}, lambda: held(exporter))
        leaves.close()
    expect({}, lambda: held(exporter))
    metrics = metrics_of(exporter)
    assert {name: 0} == by_operation(CONNECTIONS, metrics)
    assert [name] == list(by_operation(SECONDS, metrics))
    assert 0 == leaked(metrics)


def test_a_stream_whose_client_leaves_ends_as_its_request(
    serve_example: Callable[..., ExampleService],
    exporter: ExporterProcess,
    database: OrdersDatabase,
) -> None:
    served = serve_example(*SERVICES["fastapi-uvicorn"].command)
    name = "GET /exports/{least}"
    with database.locked():
        leaves = served.send("GET", "/exports/4711")
        response = leaves.getresponse()
        assert b"number,amount\n" == response.readline()
        expect({name: 1}, lambda: held(exporter))
        response.close()
        leaves.close()
    expect({}, lambda: held(exporter))
    metrics = metrics_of(exporter)
    assert [name] == list(by_operation(SECONDS, metrics))
    assert 0 == leaked(metrics)

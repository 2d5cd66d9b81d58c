"""Under `poolscope run`, the requests of known frameworks are operations without a change."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from launching.launched import Launched, Shared, launch, shared
from poolscope import instrument
from poolscope.applications import wsgi
from poolscope.launching.methods import follow, unfollow
from support.waiting import until

__all__ = ["launch", "shared"]

UVICORN: Final = ("uvicorn", "--port", "{port}", "--log-level", "warning")

SERVICES: Final = {
    "FastAPI": (*UVICORN, "asgi_services:fast"),
    "Starlette": (*UVICORN, "asgi_services:starlette"),
    "Django by ASGI": (*UVICORN, "asgi_services:by_asgi"),
    "Django by WSGI": (
        *("gunicorn", "--no-control-socket", "--bind", "127.0.0.1:{port}"),
        "asgi_services:by_wsgi",
    ),
    "Flask": ("flask", "--app", "flask_service", "run", "--port", "{port}"),
    "aiohttp.web": ("python", "aiohttp_service.py", "{port}"),
}


@pytest.mark.parametrize("command", SERVICES.values(), ids=SERVICES)
def test_requests_are_operations(
    command: tuple[str, ...], launch: Callable[..., Launched], shared: Shared, folder: Path
) -> None:
    launch("--dir", str(folder), *command, PYTHONWARNINGS="ignore").answering(1)
    until(lambda: ["GET /"] == shared.operations(), "the request is an operation")


class TestAnExplicitInstrumentAfterwards:
    """The application asks for the route of the metrics, which `poolscope run` does not add."""

    @pytest.fixture
    def by_run(self) -> Callable[[Any], Any]:
        return lambda app: instrument(app, metrics=None)

    async def test_starlette(self, by_run: Callable[[Any], Any]) -> None:
        from starlette.applications import Starlette

        app = by_run(Starlette())
        assert [] == app.routes
        for _ in range(2):
            assert app is instrument(app)
        assert ["/metrics"] == [route.path for route in app.routes]
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert 200 == (await client.get("/metrics")).status_code

    def test_flask(self, by_run: Callable[[Any], Any]) -> None:
        from flask import Flask

        app = by_run(Flask(__name__))
        for _ in range(2):
            assert app is instrument(app)
        assert 200 == app.test_client().get("/metrics").status_code
        assert not isinstance(app.wsgi_app.app, wsgi.WSGIRequests)

    def test_aiohttp(self, by_run: Callable[[Any], Any]) -> None:
        from aiohttp import web

        app = by_run(web.Application())
        assert [] == list(app.router.resources())
        for _ in range(2):
            assert app is instrument(app)
        assert ["/metrics", "/metrics/"] == [each.canonical for each in app.router.resources()]
        assert 1 == len(app.middlewares)

    def test_celery(self, by_run: Callable[[Any], Any]) -> None:
        from celery import Celery

        app = by_run(Celery("tests"))
        tasks = app._poolscope_tasks
        assert tasks is instrument(app)._poolscope_tasks


class TestFollowing:
    """What stands in the place of a method takes its parameters, whatever they are."""

    @pytest.fixture
    def seen(self) -> list[Any]:
        return []

    @pytest.fixture
    def example(self, seen: list[Any]) -> Iterator[Any]:
        class Example:
            def __init__(
                self, result: int, /, method: int = 2, *args: int, caller: int = 4, **more: int
            ) -> None:
                self.got = (result, method, args, caller, more)

            def returns(self, original: int, *, finished: str = "x") -> str:
                return finished * original

        follow(Example, "__init__", lambda made, _: seen.append(made))
        follow(Example, "returns", lambda made, _: seen.append("returned"))
        follow(Example, "missing", lambda made, _: seen.append("missing"))
        yield Example
        unfollow(Example, "returns")
        assert not hasattr(Example.returns, "__wrapped__")

    def test_parameters_and_results(self, example: Any, seen: list[Any]) -> None:
        made = example(1, 2, 3, caller=5, other=6)
        assert (1, 2, (3,), 5, {"other": 6}) == made.got
        assert (1, 2, (), 4, {}) == example(1).got
        assert "yyy" == made.returns(3, finished="y")
        assert [made, "returned"] == [seen[0], seen[-1]]

    def test_errors(self, example: Any, seen: list[Any]) -> None:
        with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'result'"):
            example()
        assert [] == seen

    def test_a_patch_that_lies_over_it_stays(self, example: Any, seen: list[Any]) -> None:
        ours = example.__init__

        @functools.wraps(ours)
        def patched(*args: Any, **more: Any) -> None:
            ours(*args, **more)

        example.__init__ = patched
        made = example(1)
        unfollow(example, "__init__")
        assert patched is example.__init__
        example(1)
        assert [made] == seen
        follow(example, "__init__", lambda made, _: seen.append("again"))
        example(1)
        assert [made, "again"] == seen

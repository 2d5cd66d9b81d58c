"""The exporter's endpoints, and the looks that it takes when nobody asks."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from poolscope.exporter import application
from poolscope.exporter.application import Exporter
from poolscope.exporter.probes import Probes
from poolscope.fleet.fleet import Fleet, FleetView
from support.waiting import eventually

TestServer.__test__ = False


class Looked(Fleet):
    """A fleet that knows how often it was looked at, and fails to be when it is told to."""

    looks = 0
    fails = False

    def scan(self, *args: Any) -> FleetView:
        self.looks += 1
        if self.fails:
            raise OSError("hunter2")
        return super().scan(*args)


@pytest.fixture
async def fleet(folder: Path) -> AsyncIterator[Looked]:
    fleet = Looked(folder)
    yield fleet
    fleet.close()


@pytest.fixture
def exporter(fleet: Looked) -> Exporter:
    return Exporter(fleet, Probes(()), Probes(()), per_process=False)


@pytest.fixture
async def get(exporter: Exporter) -> AsyncIterator[Any]:
    """Asks the exporter for a path; returns the status, the text and the headers."""
    async with TestServer(exporter.application()) as server, aiohttp.ClientSession() as session:

        async def get(path: str, method: str = "GET") -> tuple[int, str, Any]:
            async with session.request(method, server.make_url(path)) as response:
                return response.status, await response.text(), response.headers

        yield get


class TestReadiness:
    async def test_it_is_not_ready_before_it_has_looked(self, get: Any) -> None:
        assert (503, "The folder was not read yet.\n") == (await get("/-/ready"))[:2]
        assert (200, "Healthy.\n") == (await get("/-/healthy"))[:2]
        await get("/metrics")
        assert (200, "Ready.\n") == (await get("/-/ready"))[:2]

    async def test_a_look_that_fails_makes_nothing_ready(
        self, get: Any, fleet: Looked, caplog: pytest.LogCaptureFixture
    ) -> None:
        fleet.fails = True
        expected = 500, "500: the exporter's log has the reason\n"
        assert expected == (await get("/metrics"))[:2]
        assert ["cannot answer GET /metrics"] == caplog.messages
        assert "hunter2" in caplog.text
        assert 503 == (await get("/-/ready"))[0]


class TestLooking:
    @pytest.fixture
    async def looking(
        self, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[None]:
        """Let it look without a pause."""
        monkeypatch.setattr(application, "LOOKS", 0.0)
        task = asyncio.create_task(exporter.keep_looking())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def test_it_looks_again_and_again_though_nobody_asks(
        self, looking: None, fleet: Looked, exporter: Exporter
    ) -> None:
        await eventually(True, lambda: fleet.looks >= 3)
        assert exporter.ready

    async def test_a_look_that_fails_is_not_the_last(
        self, looking: None, fleet: Looked, exporter: Exporter, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.ERROR)
        fleet.fails = True
        await eventually(True, lambda: "cannot read the folder" in caplog.messages)
        fleet.fails = False
        looks = fleet.looks
        await eventually(True, lambda: fleet.looks >= looks + 2)

    async def test_what_it_has_seen_is_the_past(self, get: Any, exporter: Exporter) -> None:
        noted: list[FleetView] = []
        history: Any = exporter._history
        history.note = noted.append
        view, _ = await exporter.look()
        assert [view] == noted


HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "poolscope",
}


class TestAnswers:
    async def test_that_are_no_pages_are_one_line(self, get: Any) -> None:
        assert (404, "404: Not Found\n") == (await get("/nothing"))[:2]
        status, text, headers = await get("/metrics", "POST")
        assert (405, "405: Method Not Allowed\n") == (status, text)
        assert "GET,HEAD" == headers["Allow"].replace(" ", "")

    @pytest.mark.parametrize("path", ["/", "/pools", "/metrics", "/-/ready", "/nothing"])
    async def test_all_have_the_headers_of_a_server_that_trusts_nobody(
        self, get: Any, path: str
    ) -> None:
        _, _, headers = await get(path)
        assert HEADERS == {name: headers.get(name) for name in HEADERS}


LOGS = """
import logging, sys
from poolscope.exporter import logs
logs.configure(*sys.argv[1:])
logger = logging.getLogger("poolscope.exporter")
for level in ("debug", "info", "warning", "error"):
    getattr(logger, level)("at %s", level, extra={"poolscope": {"event": "said"}})
"""


FAILING = """
import logging
from poolscope.exporter import logs
logs.configure("debug", "json")
logging.getLogger("aiohttp.access").warning("nonsense of a client")
try:
    raise ZeroDivisionError("why")
except ZeroDivisionError:
    logging.getLogger("poolscope.exporter").exception("cannot")
"""


def said(level: str, format: str) -> list[str]:
    """Return what an exporter with these options writes to stderr."""
    command = [sys.executable, "-c", LOGS, level, format]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["DEBUG at debug", "INFO at info", "WARNING at warning", "ERROR at error"]),
        ("info", ["INFO at info", "WARNING at warning", "ERROR at error"]),
        ("warning", ["WARNING at warning", "ERROR at error"]),
        ("error", ["ERROR at error"]),
    ],
)
def test_the_log_has_what_is_of_the_level_and_above(level: str, expected: list[str]) -> None:
    assert expected == [line.partition(" ")[2] for line in said(level, "text")]


def test_a_log_for_machines_has_the_facts() -> None:
    (line,) = said("error", "json")
    head, _, rest = line.partition('", ')
    assert head.startswith('{"time": "20')
    assert '"level": "error", "message": "at error", "event": "said"}' == rest


def test_a_log_for_machines_has_where_an_error_was_and_nothing_of_each_request() -> None:
    command = [sys.executable, "-c", FAILING]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    entries = [json.loads(line) for line in done.stderr.splitlines()]
    errors = [entry.pop("error").splitlines() for entry in entries]
    assert [("error", "cannot")] == [(entry["level"], entry["message"]) for entry in entries]
    expected = "Traceback (most recent call last):", "ZeroDivisionError: why"
    assert [expected] == [(lines[0], lines[-1]) for lines in errors]

"""The endpoints of the exporter, its idle scans of the folder, and its log."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
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


class CountingFleet(Fleet):
    """A fleet that counts its scans, and fails if a test says so."""

    scans = 0
    fails = False

    def scan(self, *args: Any) -> FleetView:
        self.scans += 1
        if self.fails:
            raise OSError("hunter2")
        return super().scan(*args)


@pytest.fixture
async def fleet(folder: Path) -> AsyncIterator[CountingFleet]:
    fleet = CountingFleet(folder)
    yield fleet
    fleet.close()


@pytest.fixture
def exporter(fleet: CountingFleet) -> Exporter:
    return Exporter(fleet, Probes(()), Probes(()), per_process=False)


@pytest.fixture
async def get(exporter: Exporter) -> AsyncIterator[Any]:
    """Returns a function that requests a path; it returns status, text and headers."""
    async with (
        TestServer(exporter.make_application()) as server,
        aiohttp.ClientSession() as session,
    ):

        async def get(path: str, method: str = "GET") -> tuple[int, str, Any]:
            async with session.request(method, server.make_url(path)) as response:
                return response.status, await response.text(), response.headers

        yield get


class TestReadiness:
    async def test_it_is_not_ready_before_the_first_scan(self, get: Any) -> None:
        assert (503, "Not ready: the folder has not been read yet.\n") == (await get("/-/ready"))[
            :2
        ]
        assert (200, "Healthy.\n") == (await get("/-/healthy"))[:2]
        await get("/metrics")
        assert (200, "Ready.\n") == (await get("/-/ready"))[:2]

    async def test_a_failed_scan_does_not_make_it_ready(
        self, get: Any, fleet: CountingFleet, caplog: pytest.LogCaptureFixture
    ) -> None:
        fleet.fails = True
        expected = 500, "500: see the log of the exporter\n"
        assert expected == (await get("/metrics"))[:2]
        # Other tests may have turned on aiohttp's log of accesses.
        ours = [each.message for each in caplog.records if each.name.startswith("poolscope")]
        (line,) = ours
        assert line.startswith("cannot answer /metrics: OSError at ")
        assert "hunter2" not in caplog.text
        assert 503 == (await get("/-/ready"))[0]


class TestIdleScans:
    @pytest.fixture
    async def scanning(
        self, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[None]:
        """Scan without a pause."""
        monkeypatch.setattr(application, "IDLE_SCAN_INTERVAL", 0.0)
        task = asyncio.create_task(exporter.refresh_repeatedly())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def test_it_scans_repeatedly_without_requests(
        self, scanning: None, fleet: CountingFleet, exporter: Exporter
    ) -> None:
        await eventually(True, lambda: fleet.scans >= 3)
        assert exporter.ready

    async def test_it_goes_on_after_a_failed_scan(
        self,
        scanning: None,
        fleet: CountingFleet,
        exporter: Exporter,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.ERROR)
        fleet.fails = True
        await eventually(True, lambda: "cannot read the folder" in caplog.text)
        fleet.fails = False
        scans = fleet.scans
        await eventually(True, lambda: fleet.scans >= scans + 2)

    async def test_each_scan_is_recorded_in_the_history(self, get: Any, exporter: Exporter) -> None:
        noted: list[FleetView] = []
        history: Any = exporter._history
        history.record = noted.append
        view, _ = await exporter.refresh()
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


class TestThePathOfTheMetrics:
    @pytest.fixture
    async def get_at(self, exporter: Exporter) -> AsyncIterator[Any]:
        """Returns a function that requests a path of an exporter with another telemetry path."""
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(aiohttp.ClientSession())

            async def get_at(telemetry_path: str, path: str) -> tuple[int, str]:
                application = exporter.make_application(telemetry_path)
                server = await stack.enter_async_context(TestServer(application))
                url = server.make_url(path)
                async with session.get(url, allow_redirects=False) as response:
                    return response.status, await response.text()

            yield get_at

    @pytest.mark.parametrize(
        ("telemetry_path", "paths"),
        [
            ("/metrics", ["/metrics", "/metrics/"]),
            ("/pools/metrics", ["/pools/metrics", "/pools/metrics/"]),
            ("/metrics/", ["/metrics", "/metrics/"]),
            ("/m//", ["/m", "/m/", "/m//"]),
            ("/", ["/"]),
            ("//", ["/"]),
        ],
    )
    async def test_may_end_with_a_slash_or_not(
        self, get_at: Any, telemetry_path: str, paths: list[str]
    ) -> None:
        for path in paths:
            status, text = await get_at(telemetry_path, path)
            assert (200, True) == (status, "connpool_exporter_build_info{" in text), path
        for path in ("/nothing", f"{telemetry_path.rstrip('/')}/nothing"):
            assert 404 == (await get_at(telemetry_path, path))[0]

    @pytest.mark.parametrize("key", ["name[]", "name%5B%5D"])
    async def test_takes_names_of_samples(self, get: Any, key: str) -> None:
        query = f"{key}=connpool_exporter_bad_segments&{key}=nothing"
        for path in ("/metrics", "/metrics/"):
            status, text, _ = await get(f"{path}?{query}")
            names = {line.split("{")[0].split(" ")[0] for line in text.splitlines()} - {"#"}
            assert (200, {"connpool_exporter_bad_segments"}) == (status, names)
        assert (200, "") == (await get(f"/metrics?{key}=nothing"))[:2]
        assert "connpool_exporter_build_info" in (await get(f"/metrics?{key}="))[1]


LOGS = """
import logging, sys
from poolscope.exporter import logs
logs.configure_logging(*sys.argv[1:])
logger = logging.getLogger("poolscope.exporter")
for level in ("debug", "info", "warning", "error"):
    getattr(logger, level)("at %s", level, extra={"poolscope": {"event": "said"}})
"""


FAILING = """
import logging
from poolscope.exporter import logs
logs.configure_logging("debug", "json")
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


ODD = "a\nb\r\x1b[2J\x00\x9b\u2028\ud800 \xe9"

LOGGING_ODD = f"""
import logging, sys
from poolscope.exporter import logs
logs.configure_logging("info", sys.argv[1])
logging.getLogger("poolscope.exporter").info("serving %s", {ODD!r})
"""


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_line_is_one_line_whatever_a_path_has_in_it(format: str) -> None:
    command = [sys.executable, "-c", LOGGING_ODD, format]
    done = subprocess.run(command, capture_output=True, check=True)
    (line,) = done.stderr.decode().splitlines()
    assert "\x1b" not in line
    if format == "json":
        assert f"serving {ODD}" == json.loads(line)["message"]
    else:
        assert line.endswith(r"serving a\nb\r\x1b[2J\x00\x9b\u2028\ud800 é")


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

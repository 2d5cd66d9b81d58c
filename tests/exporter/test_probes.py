"""Servers are asked in the background, and their answers are parsed."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from poolscope.exporter.pgbouncer import parse_reading
from poolscope.exporter.postgres import BEGIN_READ_ONLY
from poolscope.exporter.probes import (
    PROBE_INTERVAL,
    PROBE_TIMEOUT,
    ProbeError,
    Probes,
    describe_error,
)
from poolscope.readings.database_servers import BouncerPool, BouncerReading
from support.logs import messages_of_poolscope
from support.waiting import eventually

TOO_MANY = "sorry, too many clients already"


def refused_certificate() -> ssl.SSLError:
    error = ssl.SSLCertVerificationError(1, "it is not valid for 'hunter2'")
    error.reason = "CERTIFICATE_VERIFY_FAILED"
    return error


class TestReason:
    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (ProbeError("FATAL: sorry, too\n\tmany clients already"), TOO_MANY),
            (ProbeError('FATAL: role "hunter2" does not exist'), "does not exist"),
            (ProbeError('invalid sslmode value: "hunter2"'), "invalid sslmode value"),
            (ProbeError('definition of service "hunter2" not found'), "definition of service"),
            (
                ProbeError('could not translate host name "hunter2,other" to address: why'),
                "could not translate host name",
            ),
            (ProbeError('at "hunter2", port 1 failed: Connection refused'), "Connection refused"),
            (ProbeError("hunter2", "OperationalError"), "OperationalError"),
            (ProbeError("hunter2\n" * 1000), "the server refused"),
            (ProbeError(""), "the server refused"),
            (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
            (FileNotFoundError(2, "No such file", "/hunter2"), "No such file or directory"),
            (
                ConnectionRefusedError(111, "Connect call failed ('hunter2', 1)"),
                "Connection refused",
            ),
            (
                OSError(
                    "Multiple exceptions: [Errno 111] Connect call failed ('hunter2', 1), more"
                ),
                "Connection refused",
            ),
            (OSError("hunter2"), "OSError"),
            (socket.gaierror(-2, "hunter2"), "the host name is not known"),
            (refused_certificate(), "CERTIFICATE_VERIFY_FAILED"),
            (ValueError("invalid port: hunter2"), "ValueError"),
        ],
    )
    def test_it_is_one_line_without_a_secret(self, error: Exception, expected: str) -> None:
        assert expected == describe_error(error)


class FakeProbe:
    """A probe that does what a test says."""

    def __init__(self, label: str = "db:5432") -> None:
        self.label = label
        self.raises: BaseException | None = None
        self.hangs = False
        self.asked = self.abandoned = self.terminated = 0

    def down_reading(self) -> str:
        return f"{self.label} is down"

    async def ask(self) -> str:
        self.asked += 1
        if self.hangs:
            try:
                await asyncio.Event().wait()
            finally:
                self.abandoned += 1
        if self.raises:
            raise self.raises
        return f"{self.label} says {self.asked}"

    def terminate(self) -> None:
        self.terminated += 1


class Pauses:
    """Pauses that last until `round` is called."""

    def __init__(self) -> None:
        self.begun: list[float] = []
        self._ended = asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        self.begun.append(seconds)
        await self._ended.acquire()

    async def round(self) -> None:
        """End one pause, and wait for the next one to begin."""
        count = len(self.begun)
        self._ended.release()
        await eventually(count + 1, lambda: len(self.begun))


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
async def start(pauses: Pauses) -> AsyncIterator[Any]:
    """Returns a function that starts probes; they are closed at the end."""
    made = []

    def start(*servers: FakeProbe, **options: Any) -> Probes[str]:
        probes = Probes(servers, pause=pauses, **options)
        made.append(probes)
        probes.start()
        return probes

    yield start
    for probes in made:
        await probes.close()


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, Any]]:
    return [
        (record.levelname, record.getMessage(), vars(record)["poolscope"])
        for record in caplog.records
        if record.name == "poolscope.exporter"
    ]


class TestReadings:
    async def test_they_exist_before_the_first_answer(self, start: Any) -> None:
        probes = start(FakeProbe())
        assert ("db:5432 is down",) == probes.readings()

    async def test_they_are_the_last_answers(self, start: Any, pauses: Pauses) -> None:
        probes = start(FakeProbe())
        await eventually(("db:5432 says 1",), probes.readings)
        await pauses.round()
        assert ("db:5432 says 2",) == probes.readings()

    async def test_they_do_not_wait_for_a_server_that_hangs(
        self, start: Any, pauses: Pauses
    ) -> None:
        slow, fast = FakeProbe("slow:1"), FakeProbe("fast:1")
        slow.hangs = True
        probes = start(slow, fast, timeout=1000.0)
        for answers in (1, 2, 3):
            await eventually(("slow:1 is down", f"fast:1 says {answers}"), probes.readings)
            await pauses.round()
        assert (1, 0) == (slow.asked, slow.abandoned)

    async def test_a_failure_replaces_the_answer_until_the_next_one(
        self, start: Any, pauses: Pauses
    ) -> None:
        server = FakeProbe()
        probes = start(server)
        await eventually(("db:5432 says 1",), probes.readings)
        server.raises = ProbeError("shutting down")
        await pauses.round()
        assert ("db:5432 is down",) == probes.readings()
        server.raises = None
        await pauses.round()
        assert ("db:5432 says 3",) == probes.readings()

    def test_two_probes_of_one_server_are_an_error(self) -> None:
        with pytest.raises(ValueError, match=r"\Adb:5432 is given twice\Z"):
            Probes([FakeProbe("other:1"), FakeProbe(), FakeProbe()])


class TestHangingServer:
    async def test_it_times_out(self, start: Any, pauses: Pauses, caplog: Any) -> None:
        server = FakeProbe()
        server.hangs = True
        probes = start(server, timeout=0.01)
        await eventually(1, lambda: len(pauses.begun))
        assert (1, ("db:5432 is down",)) == (server.abandoned, probes.readings())
        assert ["db:5432 does not answer: no answer within 0.01 s"] == messages_of_poolscope(caplog)
        server.hangs = False
        await pauses.round()
        assert ("db:5432 says 2",) == probes.readings()


class TestPause:
    async def test_it_is_the_rest_of_the_interval(self, start: Any, pauses: Pauses) -> None:
        start(FakeProbe(), interval=1000.0)
        await eventually(1, lambda: len(pauses.begun))
        assert 0.0 < pauses.begun[0] <= 1000.0

    async def test_there_is_none_after_a_slow_answer(self, start: Any, pauses: Pauses) -> None:
        server = FakeProbe()
        server.hangs = True
        start(server, interval=0.001, timeout=0.01)
        await eventually([0.0], lambda: pauses.begun)


class TestLog:
    async def test_it_says_once_that_a_server_fails_and_once_that_it_answers_again(
        self, start: Any, pauses: Pauses, caplog: Any
    ) -> None:
        caplog.set_level(logging.INFO, "poolscope.exporter")
        server = FakeProbe()
        start(server)
        await eventually(1, lambda: len(pauses.begun))
        assert [] == lines(caplog)
        server.raises = ProbeError("FATAL:\n sorry, too many clients already: hunter2")
        for _ in range(3):
            await pauses.round()
        down = {"event": "server-down", "server": "db:5432", "reason": TOO_MANY}
        expected = [("WARNING", "db:5432 does not answer: sorry, too many clients already", down)]
        assert expected == lines(caplog)
        server.raises = None
        for _ in range(3):
            await pauses.round()
        up = {"event": "server-up", "server": "db:5432"}
        expected.append(("INFO", "db:5432 answers again", up))
        assert expected == lines(caplog)
        server.raises = OSError(111, "Connection refused")
        await pauses.round()
        down = {**down, "reason": "Connection refused"}
        expected.append(("WARNING", "db:5432 does not answer: Connection refused", down))
        assert expected == lines(caplog)

    @pytest.mark.parametrize(
        "error", [ValueError("hunter2"), asyncio.CancelledError("hunter2"), KeyError("hunter2")]
    )
    async def test_it_names_only_the_class_of_an_error_that_may_repeat_a_secret(
        self, start: Any, pauses: Pauses, caplog: Any, error: BaseException
    ) -> None:
        server = FakeProbe()
        server.raises = error
        start(server)
        await eventually(1, lambda: len(pauses.begun))
        await pauses.round()
        assert 2 == server.asked
        assert [f"db:5432 does not answer: {type(error).__name__}"] == messages_of_poolscope(caplog)
        assert "hunter2" not in caplog.text


def test_the_statement_timeout_is_shorter_than_the_probe_s_and_that_than_the_interval() -> None:
    _, _, given = BEGIN_READ_ONLY.partition("statement_timeout = ")
    assert 0 < int(given.strip("'ms")) / 1000 < PROBE_TIMEOUT < PROBE_INTERVAL
    page = Path(__file__).parents[2] / "docs" / "exporter.md"
    assert f"is asked every {PROBE_INTERVAL:g} seconds" in " ".join(page.read_text().split())


class TestClose:
    async def test_it_does_not_wait_for_servers(
        self, start: Any, pauses: Pauses, caplog: Any
    ) -> None:
        slow, fast = FakeProbe("slow:1"), FakeProbe("fast:1")
        slow.hangs = True
        probes = start(slow, fast, timeout=1000.0)
        await eventually((1, 1), lambda: (slow.asked, len(pauses.begun)))
        before = asyncio.all_tasks()
        await probes.close()
        assert 2 == len(before - asyncio.all_tasks())
        assert (1, 1, 1) == (slow.abandoned, slow.terminated, fast.terminated)
        assert [] == messages_of_poolscope(caplog)
        await probes.close()

    async def test_it_needs_no_start(self) -> None:
        server = FakeProbe()
        await Probes([server]).close()
        assert (0, 1) == (server.asked, server.terminated)


OLD_ROW = {
    "database": "orders",
    "user": "me",
    "cl_active": "3",
    "cl_waiting": "2",
    "sv_active": "1",
}
OLD_ROW |= {"sv_idle": "0", "maxwait": "4", "pool_mode": "session"}
NEW_ROW = {**OLD_ROW, "cl_active_cancel_req": "5", "sv_being_canceled": "6", "maxwait_us": "250000"}
NEW_ROW |= {"cl_odd": "", "load_balance_hosts": "round-robin"}


class TestPgBouncer:
    @pytest.mark.parametrize(
        ("row", "clients", "servers", "wait"),
        [
            (OLD_ROW, {}, {}, 4.0),
            (NEW_ROW, {"active_cancel_req": 5, "odd": 0}, {"being_canceled": 6}, 4.25),
        ],
    )
    def test_answers_of_every_version_are_parsed(
        self, row: dict[str, str], clients: Any, servers: Any, wait: float
    ) -> None:
        pool = BouncerPool(
            database="orders",
            user="me",
            clients={"active": 3, "waiting": 2, **clients},
            servers={"active": 1, "idle": 0, **servers},
            oldest_wait_seconds=wait,
        )
        lists = [{"list": "used_clients", "items": "6"}, {"list": "dns_names", "items": "1"}]
        config = [{"key": "max_client_conn", "value": "100", "default": "1", "odd": ""}]
        expected = BouncerReading("db:6432", True, client_limit=100, clients=6, pools=(pool,))
        assert expected == parse_reading("db:6432", [{"database": "pgbouncer"}, row], lists, config)

    def test_empty_answers_mean_that_it_is_up(self) -> None:
        assert BouncerReading("db:6432", up=True) == parse_reading("db:6432", [], [], [])

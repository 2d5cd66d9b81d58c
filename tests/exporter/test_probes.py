"""Names of servers without secrets, and asking them in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from poolscope.exporter.pgbouncer import PgBouncerProbe, reading_of
from poolscope.exporter.postgres import BEGIN, PostgresProbe
from poolscope.exporter.probes import INTERVAL, TIMEOUT, ProbeError, Probes, check, label, reason
from poolscope.readings.database_servers import BouncerPool, BouncerReading
from support.waiting import eventually


@pytest.fixture(autouse=True)
def no_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT"):
        monkeypatch.delenv(name, raising=False)


GOOD = [
    ("postgresql://db", "db:5432"),
    ("postgres://db:6432/orders", "db:6432"),
    ("postgresql://me:hunter2@db/orders?application_name=hunter2", "db:5432"),
    ("postgresql://me:hunter2@db:1/orders", "db:1"),
    ("postgresql://me:hunter2%40%2F%3F%23@db:1/orders", "db:1"),
    ("postgresql://me@db?password=hunter2&options=-c%20a%3Dhunter2", "db:5432"),
    ("postgresql://me:hunter2@first:1,second:2/orders", "first:1"),
    ("postgresql://me:hunter2@[2001:db8::1]/orders", "[2001:db8::1]:5432"),
    ("postgresql://me:hunter2@[::1]:5433/orders", "[::1]:5433"),
    ("postgresql:///orders", "localhost:5432"),
    ("postgresql://me:hunter2@/orders?host=db&port=5433", "db:5433"),
    ("postgresql://me:hunter2@/orders?host=one,two&port=1,2", "one:1"),
    ("postgresql://me@/orders?host=db:5433", "db:5433"),
    ("postgresql://me@/orders?host=::1", "[::1]:5432"),
    ("postgresql://me@/orders?host=/run/postgresql", "/run/postgresql:5432"),
    ("postgresql://me@/orders?host=%2Frun%2Fpostgresql&port=6432", "/run/postgresql:6432"),
    ("postgresql://%2Frun%2Fpostgresql/orders", "/run/postgresql:5432"),
    ("postgresql://me:hunter2@:5433/orders", "localhost:5433"),
]

BAD = [
    "",
    "hunter2",
    "host=db password=hunter2",
    "mysql://me:hunter2@db/orders",
    "POSTGRESQL+asyncpg://me:hunter2@db/orders",
    "postgresql://me:hunter2@db:port/orders",
    "postgresql://me:hunter2@db:0/orders",
    "postgresql://me:hunter2@db:65536/orders",
    "postgresql://me:hunter2@db:٣/orders",
    "postgresql://me:hunter2@db/orders?port=hunter2",
    "postgresql://me:hunter2@[::1/orders",
    "postgresql://me:hunter2℀@db/orders",
    "postgresql://me:hunter2@db/orders?hunter2",
    "postgresql://me:hunter2@db/orders?host=other",
    "postgresql://me:hunter2@db/orders?port=5433",
    "postgresql://me:hunter2@db\n/orders",
    # What is not encoded moves the places at which the parts end.
    "postgresql://me:p@hunter2@db/orders",
    "postgresql://me:1/hunter2@db/orders",
    "postgresql://me:1?hunter2@db/orders",
    "postgresql://me:1?a=hunter2@db/orders",
    "postgresql://me:1#hunter2@db/orders",
    "postgresql://db/orders?password=hunter2@",
]


class TestTheLabel:
    @pytest.mark.parametrize(("dsn", "expected"), GOOD)
    def test_is_where_the_server_is_and_nothing_else(self, dsn: str, expected: str) -> None:
        assert expected == label(dsn)
        check(dsn)
        assert expected == PostgresProbe(dsn).label
        assert expected == PgBouncerProbe(dsn).label

    def test_knows_the_defaults_that_the_libraries_know(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PGHOST", "one,two")
        monkeypatch.setenv("PGPORT", "5433")
        assert ("one:5433", "db:5433", "db:1") == (
            label("postgresql:///orders"),
            label("postgresql://db/orders"),
            label("postgresql://db:1/orders"),
        )


class TestWhatIsNoDsn:
    @pytest.mark.parametrize("dsn", BAD)
    @pytest.mark.parametrize("do", [label, check, PostgresProbe, PgBouncerProbe])
    def test_is_refused_in_one_line_that_does_not_repeat_it(
        self, do: Callable[[str], object], dsn: str
    ) -> None:
        with pytest.raises(ValueError, match=r"\Anot a DSN: .+\Z") as refused:
            do(dsn)
        assert "hunter2" not in str(refused.value)
        assert refused.value.__suppress_context__ or refused.value.__context__ is None

    def test_is_for_a_pgbouncer_what_libpq_takes_for_none(self) -> None:
        dsn = "postgresql://me:hunter2%@db/orders"
        check(dsn)
        with pytest.raises(ValueError, match=r"\Anot a DSN: libpq does not accept it\Z"):
            PgBouncerProbe(dsn)


class TestTheReason:
    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (ProbeError("FATAL: too\n\tmany"), "FATAL: too many"),
            (ProbeError("x" * 1000), "x" * 300),
            (ProbeError(""), "ProbeError"),
            (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
            (FileNotFoundError(2, "No such file", "/hunter2"), "No such file"),
            (OSError("Multiple exceptions: one, two"), "Multiple exceptions: one, two"),
            (ValueError("invalid port: hunter2"), "ValueError"),
        ],
    )
    def test_is_one_line_without_a_secret(self, error: Exception, expected: str) -> None:
        assert expected == reason(error)


class Fake:
    """A server that does what it is told."""

    def __init__(self, label: str = "db:5432") -> None:
        self.label = label
        self.raises: BaseException | None = None
        self.hangs = False
        self.asked = self.given_up = self.terminated = 0

    def nothing(self) -> str:
        return f"{self.label} is down"

    async def ask(self) -> str:
        self.asked += 1
        if self.hangs:
            try:
                await asyncio.Event().wait()
            finally:
                self.given_up += 1
        if self.raises:
            raise self.raises
        return f"{self.label} says {self.asked}"

    def terminate(self) -> None:
        self.terminated += 1


class Pauses:
    """Pauses that last until they are told to end."""

    def __init__(self) -> None:
        self.begun: list[float] = []
        self._ended = asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        self.begun.append(seconds)
        await self._ended.acquire()

    async def round(self) -> None:
        """End one pause, and let all be done until the next."""
        count = len(self.begun)
        self._ended.release()
        await eventually(count + 1, lambda: len(self.begun))


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
async def start(pauses: Pauses) -> AsyncIterator[Any]:
    """Starts probes of these servers, and closes them."""
    made = []

    def start(*servers: Fake, **options: Any) -> Probes[str]:
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
    async def test_are_there_before_the_first_answer(self, start: Any) -> None:
        probes = start(Fake())
        assert ("db:5432 is down",) == probes.readings()

    async def test_are_of_the_last_answer(self, start: Any, pauses: Pauses) -> None:
        probes = start(Fake())
        await eventually(("db:5432 says 1",), probes.readings)
        await pauses.round()
        assert ("db:5432 says 2",) == probes.readings()

    async def test_do_not_wait_for_one_that_hangs(self, start: Any, pauses: Pauses) -> None:
        slow, fast = Fake("slow:1"), Fake("fast:1")
        slow.hangs = True
        probes = start(slow, fast, timeout=1000.0)
        for answers in (1, 2, 3):
            await eventually(("slow:1 is down", f"fast:1 says {answers}"), probes.readings)
            await pauses.round()
        assert (1, 0) == (slow.asked, slow.given_up)

    async def test_end_with_a_failure_and_begin_again(self, start: Any, pauses: Pauses) -> None:
        server = Fake()
        probes = start(server)
        await eventually(("db:5432 says 1",), probes.readings)
        server.raises = ProbeError("shutting down")
        await pauses.round()
        assert ("db:5432 is down",) == probes.readings()
        server.raises = None
        await pauses.round()
        assert ("db:5432 says 3",) == probes.readings()

    def test_are_of_servers_with_names_of_their_own(self) -> None:
        with pytest.raises(ValueError, match=r"\Adb:5432 is named twice\Z"):
            Probes([Fake("other:1"), Fake(), Fake()])


class TestAServerThatHangs:
    async def test_is_given_up_in_time(self, start: Any, pauses: Pauses, caplog: Any) -> None:
        server = Fake()
        server.hangs = True
        probes = start(server, timeout=0.01)
        await eventually(1, lambda: len(pauses.begun))
        assert (1, ("db:5432 is down",)) == (server.given_up, probes.readings())
        assert ["db:5432 does not answer: no answer within 0.01 s"] == caplog.messages
        server.hangs = False
        await pauses.round()
        assert ("db:5432 says 2",) == probes.readings()


class TestThePause:
    async def test_is_what_is_left_of_the_interval(self, start: Any, pauses: Pauses) -> None:
        start(Fake(), interval=1000.0)
        await eventually(1, lambda: len(pauses.begun))
        assert 0.0 < pauses.begun[0] <= 1000.0

    async def test_is_none_after_an_answer_that_took_long(self, start: Any, pauses: Pauses) -> None:
        server = Fake()
        server.hangs = True
        start(server, interval=0.001, timeout=0.01)
        await eventually([0.0], lambda: pauses.begun)


class TestTheLog:
    async def test_has_a_line_when_a_server_begins_to_fail_and_one_when_it_answers_again(
        self, start: Any, pauses: Pauses, caplog: Any
    ) -> None:
        caplog.set_level(logging.INFO, "poolscope.exporter")
        server = Fake()
        start(server)
        await eventually(1, lambda: len(pauses.begun))
        assert [] == lines(caplog)
        server.raises = ProbeError("FATAL:\n too many")
        for _ in range(3):
            await pauses.round()
        down = {"event": "server-down", "server": "db:5432", "reason": "FATAL: too many"}
        expected = [("WARNING", "db:5432 does not answer: FATAL: too many", down)]
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
    async def test_has_only_the_class_of_an_error_that_may_repeat_a_secret(
        self, start: Any, pauses: Pauses, caplog: Any, error: BaseException
    ) -> None:
        server = Fake()
        server.raises = error
        start(server)
        await eventually(1, lambda: len(pauses.begun))
        await pauses.round()
        assert 2 == server.asked
        assert [f"db:5432 does not answer: {type(error).__name__}"] == caplog.messages
        assert "hunter2" not in caplog.text


def test_a_server_gives_up_before_the_probe_does_and_that_before_it_is_asked_again() -> None:
    _, _, given = BEGIN.partition("statement_timeout = ")
    assert 0 < int(given.strip("'ms")) / 1000 < TIMEOUT < INTERVAL
    page = Path(__file__).parents[2] / "docs" / "exporter.md"
    assert f"are asked every {INTERVAL:g} seconds" in " ".join(page.read_text().split())


class TestTheEnd:
    async def test_is_at_once_whatever_servers_do(
        self, start: Any, pauses: Pauses, caplog: Any
    ) -> None:
        slow, fast = Fake("slow:1"), Fake("fast:1")
        slow.hangs = True
        probes = start(slow, fast, timeout=1000.0)
        await eventually((1, 1), lambda: (slow.asked, len(pauses.begun)))
        before = asyncio.all_tasks()
        await probes.close()
        assert 2 == len(before - asyncio.all_tasks())
        assert (1, 1, 1) == (slow.given_up, slow.terminated, fast.terminated)
        assert [] == caplog.messages
        await probes.close()

    async def test_needs_no_beginning(self) -> None:
        server = Fake()
        await Probes([server]).close()
        assert (0, 1) == (server.asked, server.terminated)


OLD = {"database": "orders", "user": "me", "cl_active": "3", "cl_waiting": "2", "sv_active": "1"}
OLD |= {"sv_idle": "0", "maxwait": "4", "pool_mode": "session"}
NEW = {**OLD, "cl_active_cancel_req": "5", "sv_being_canceled": "6", "maxwait_us": "250000"}
NEW |= {"cl_odd": "", "load_balance_hosts": "round-robin"}


class TestAPgBouncer:
    @pytest.mark.parametrize(
        ("row", "clients", "servers", "wait"),
        [
            (OLD, {}, {}, 4.0),
            (NEW, {"active_cancel_req": 5, "odd": 0}, {"being_canceled": 6}, 4.25),
        ],
    )
    def test_of_any_version_is_understood(
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
        assert expected == reading_of("db:6432", [{"database": "pgbouncer"}, row], lists, config)

    def test_that_says_nothing_is_up(self) -> None:
        assert BouncerReading("db:6432", up=True) == reading_of("db:6432", [], [], [])

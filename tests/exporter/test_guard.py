"""Connections of silent clients are closed, and nobody keeps others out by keeping connections."""

from __future__ import annotations

import asyncio
import gc
import resource
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from poolscope.exporter import guard
from poolscope.exporter.guard import Guard, Place, Stage
from support.certificates import needs_openssl
from support.listeners import Serve, Served, certificates, get, made, serve, tls, trusting
from support.raw_clients import is_closed, never_reading, raw
from support.waiting import eventually

__all__ = ["certificates", "made", "raw", "serve"]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watched(clock: Clock) -> Guard:
    """A guard of six connections, three of them of one network."""
    return Guard(6, clock)


def admitted(guard: Guard, network: str = "a") -> Place:
    return guard.admit(network)


class Unread:
    """A transport with so many bytes that its client has not read."""

    def __init__(self, count: int) -> None:
        self.count = count

    def get_write_buffer_size(self) -> int:
        return self.count


class TestTimeLimits:
    @pytest.mark.parametrize(
        ("stages", "limit"),
        [
            ([], 10.0),
            ([Stage.WORKING, Stage.SENDING, Stage.IDLE], 75.0),
            ([Stage.WORKING, Stage.SENDING, Stage.IDLE, Stage.REQUESTING], 10.0),
        ],
    )
    def test_of_a_client_that_sends_no_whole_request(
        self, watched: Guard, clock: Clock, stages: list[Stage], limit: float
    ) -> None:
        place = admitted(watched)
        place.idle_seconds = guard.IDLE_SECONDS
        clock.now = 100.0
        for stage in stages:
            place.enter(stage)
        start = clock.now if stages else 0.0
        clock.now = start + limit - 0.1
        assert 0 == watched.sweep()
        clock.now = start + limit
        assert (1, 0) == (watched.sweep(), len(watched))

    def test_bytes_of_a_request_do_not_prolong_it(self, watched: Guard, clock: Clock) -> None:
        place = admitted(watched)
        for second in range(10):
            clock.now = float(second)
            place.received()
            assert 0 == watched.sweep()
        clock.now = 10.0
        assert 1 == watched.sweep()

    def test_after_an_error_a_client_is_idle_for_less_long(
        self, watched: Guard, clock: Clock
    ) -> None:
        place = admitted(watched)
        place.enter(Stage.IDLE)
        clock.now = 10.0
        assert 1 == watched.sweep()

    def test_of_a_request_in_progress_there_is_none(self, watched: Guard, clock: Clock) -> None:
        admitted(watched).enter(Stage.WORKING)
        clock.now = 1e9
        assert 0 == watched.sweep()

    @pytest.mark.parametrize(("reads", "limit"), [(0, 10.0), (1, 60.0)])
    @pytest.mark.parametrize("stage", [Stage.SENDING, Stage.IDLE])
    def test_of_a_client_that_does_not_read(
        self, watched: Guard, clock: Clock, stage: Stage, reads: int, limit: float
    ) -> None:
        place = admitted(watched)
        unread: Any = Unread(1_000_000)
        place.transport = unread
        place.enter(stage)
        while not watched.sweep():
            clock.now += 1.0
            unread.count -= reads
        assert limit + 1.0 >= clock.now >= limit

    def test_a_client_that_reads_as_fast_as_more_is_written_has_time(
        self, watched: Guard, clock: Clock
    ) -> None:
        place = admitted(watched)
        unread: Any = Unread(100_000)
        place.transport, place.written = unread, lambda: int(clock.now * 1_000_000)
        place.enter(Stage.SENDING)
        for second in range(60):
            clock.now = float(second)
            assert 0 == watched.sweep()
        clock.now = 60.0
        assert 1 == watched.sweep()


class TestRoom:
    def test_is_made_by_who_has_waited_the_longest(self, watched: Guard, clock: Clock) -> None:
        closed: list[int] = []
        places = [admitted(watched) for _ in range(3)]
        for number, place in enumerate(places):
            place.close = partial(closed.append, number)
        places[0].enter(Stage.WORKING)
        places[1].enter(Stage.IDLE)
        for _ in range(3):
            admitted(watched).enter(Stage.WORKING)
        assert [2, 1, 0] == closed
        assert 3 == len(watched)

    @pytest.mark.parametrize("stage", Stage)
    @pytest.mark.parametrize("networks", ["ab", "abcdef"])
    def test_is_made_for_others_whatever_the_clients_of_some_networks_do(
        self, watched: Guard, clock: Clock, stage: Stage, networks: str
    ) -> None:
        for network in networks * 6:
            admitted(watched, network).enter(stage)
        clock.now = 1.0
        scraper = admitted(watched, "scraper")
        for each in Stage:
            scraper.enter(each)
            clock.now += 1.0
            if len(networks) == 2:  # at least one of them has more connections than the scraper
                for network in networks * 6:
                    admitted(watched, network).enter(stage)
            assert scraper in list(watched)
            assert 6 >= len(watched)

    def test_at_the_limit_of_all_it_is_made_by_the_network_that_has_most(
        self, watched: Guard
    ) -> None:
        closed: list[str] = []
        for network in "abbccc":
            place = admitted(watched, network)
            place.close = partial(closed.append, network)
        admitted(watched, "d")
        assert (["c"], 6) == (closed, len(watched))

    def test_is_made_when_there_are_no_descriptors_and_comes_back_later(self) -> None:
        watched = Guard(100)
        for number in range(80):
            admitted(watched, f"{number}")
        watched.shrink()
        assert 60 == len(watched)
        admitted(watched, "new")
        assert 60 == len(watched)
        for _ in range(40):
            watched.sweep()
        for number in range(200):
            admitted(watched, f"later {number}")
        assert 100 == len(watched)

    def test_a_place_is_left_once(self, watched: Guard) -> None:
        place = admitted(watched)
        place.leave()
        place.leave()
        place.enter(Stage.IDLE)
        assert (0, []) == (len(watched), list(watched))

    def test_is_at_most_half_of_the_descriptors(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for descriptors, limit in [(64, 32), (1024, 512), (4096, 2048), (-1, 2500), (2, 4)]:
            monkeypatch.setattr(resource, "getrlimit", lambda _, n=descriptors: (n, n))
            assert limit == guard.connection_limit()


def hurry(served: Served, clock: Clock) -> Guard:
    """Give a listener that clock, and return what keeps its connections."""
    kept = served.listener._guard
    kept._clock = clock
    return kept


SILENT = {
    "nothing": b"",
    "half a line": b"GET / HT",
    "half a header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Half: ",
    "half of a later request": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHo",
    "an endless body": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nx",
    "an endless chunk": b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nfffff\r\nx",
}


class TestSilentClients:
    @pytest.mark.parametrize("data", SILENT.values(), ids=SILENT)
    @pytest.mark.parametrize("secure", [False, True])
    @needs_openssl
    async def test_are_closed(
        self, serve: Serve, certificates: Path, raw: Any, clock: Clock, data: bytes, secure: bool
    ) -> None:
        served = await serve(tls() if secure else None)
        kept = hurry(served, clock)
        if secure:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", served.port, ssl=trusting(certificates)
            )
            writer.write(data)
        else:
            reader, writer = await raw(served.port).connect(data)
        await eventually(1, lambda: len(kept))
        if b"\r\n\r\n" in data:
            await reader.readuntil(b"\r\n\r\n")
        clock.now += 10.0
        await eventually(0, lambda: len(kept) - kept.sweep())
        assert await is_closed(reader)
        writer.transport.abort()
        context = trusting(certificates) if secure else None
        assert (200, "here") == await get(served, context)

    @needs_openssl
    @pytest.mark.parametrize("data", [b"", b"\x16\x03\x01\x02\x00\x01"])
    async def test_are_closed_in_a_tls_handshake(
        self, serve: Serve, certificates: Path, raw: Any, clock: Clock, data: bytes
    ) -> None:
        served = await serve(tls())
        kept = hurry(served, clock)
        reader, _ = await raw(served.port).connect(data)
        await eventually(1, lambda: len(kept))
        assert 0 == kept.sweep()
        clock.now += 10.0
        assert (1, 0) == (kept.sweep(), len(kept))
        assert await is_closed(reader)
        assert (200, "here") == await get(served, trusting(certificates))

    async def test_that_read_nothing_are_closed(self, serve: Serve, clock: Clock) -> None:
        served = await serve()
        kept = hurry(served, clock)
        client = never_reading(served.port)
        client.setblocking(False)
        request = b"GET /much HTTP/1.1\r\nHost: localhost\r\n\r\n"
        await asyncio.get_running_loop().sock_sendall(client, request)
        await eventually(True, lambda: [Stage.SENDING] == [place.stage for place in kept])
        while not kept.sweep():
            clock.now += 1.0
            await asyncio.sleep(0)
        assert 0 == len(kept)
        assert 10.0 <= clock.now <= 60.0
        client.close()

    async def test_that_read_nothing_cost_the_system_little(self, serve: Serve) -> None:
        served = await serve()
        client = never_reading(served.port)
        client.sendall(b"GET /much HTTP/1.1\r\nHost: localhost\r\n\r\n")
        kept = served.listener._guard

        async def taken() -> int:
            """Wait until the system takes no more of the answer; return how much it took."""
            (place,) = kept
            assert place.transport is not None
            before, now = -1, 0
            while now == 0 or before < now:
                await asyncio.sleep(0)
                before, now = now, place.written() - place.transport.get_write_buffer_size()
            return now

        await eventually([Stage.SENDING], lambda: [place.stage for place in kept])
        assert await taken() <= 2**19
        client.close()

    async def test_in_any_number_leave_room_for_others(
        self, serve: Serve, raw: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        served = await serve()
        kept = served.listener._guard
        kept._limit = kept._full_limit = 40
        clients = raw(served.port)
        for number in range(200):
            data = (b"", b"GET / HTTP/1.1\r\nHo")[number % 2]
            await clients.connect(data, f"127.0.0.{number % 4 + 1}")
            if number % 10 == 0:
                assert (200, "here") == await get(served)
            assert len(kept) <= 40

    @pytest.mark.parametrize(("path", "stage"), [("/later", "WORKING"), ("/much", "SENDING")])
    async def test_that_wait_for_their_answers_leave_room_for_others(
        self, serve: Serve, caplog: pytest.LogCaptureFixture, path: str, stage: str
    ) -> None:
        served = await serve()
        kept = served.listener._guard
        kept._limit = kept._full_limit = 6
        clients = []
        for number in range(6):
            clients.append(never_reading(served.port, f"127.0.0.{number % 2 + 2}"))
            clients[-1].sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await eventually([Stage[stage]] * 6, lambda: [place.stage for place in kept])
        assert (200, "here") == await get(served)
        served.go.set()
        for client in clients:
            client.close()
        await eventually(0, lambda: len(kept))
        assert "" == caplog.text

    async def test_that_have_to_go_before_they_are_served_keep_no_descriptor(
        self, serve: Serve, raw: Any
    ) -> None:
        served = await serve()
        kept = served.listener._guard
        kept._limit = kept._full_limit = 10
        clients = raw(served.port)
        gc.disable()
        try:
            opened = await asyncio.gather(*(clients.connect(b"GET / HT") for _ in range(100)))
            left = [asyncio.create_task(is_closed(reader)) for reader, _ in opened]
            await eventually(True, lambda: sum(task.done() for task in left) >= 90)
        finally:
            gc.enable()
        assert 1 <= len(kept) <= 10

    @needs_openssl
    async def test_in_tls_handshakes_leave_room_for_others(
        self, serve: Serve, certificates: Path, raw: Any
    ) -> None:
        served = await serve(tls())
        kept = served.listener._guard
        kept._limit = kept._full_limit = 40
        clients = raw(served.port)
        for number in range(100):
            await clients.connect(b"\x16"[: number % 2])
            if number % 10 == 0:
                assert (200, "here") == await get(served, trusting(certificates))
        assert len(kept) <= 21

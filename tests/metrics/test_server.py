"""The server of its own under clients that are silent, slow, many, or wrong."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from typing import Any, Final

import httpx
import psutil
import pytest
from prometheus_client import CollectorRegistry, Gauge, Metric
from prometheus_client.registry import Collector

import poolscope
from poolscope.metrics import clients, server
from poolscope.metrics.clients import State
from poolscope.metrics.http_server import Server
from poolscope.metrics.responses import Metrics
from poolscope.metrics.server import MetricsServer
from support.waiting import PATIENCE, until

Connect = Callable[..., socket.socket]

SILENT: Final = {
    "nothing": b"",
    "half a request line": b"GET /met",
    "half a header": b"GET /metrics HTTP/1.1\r\nHost: sh",
    "a TLS handshake": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an empty line too few": b"GET /metrics HTTP/1.1\r\nHost: shop\r\n",
}


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge("answer", "Of the test", registry=registry).set(42)
    return registry


@pytest.fixture
def start(registry: CollectorRegistry) -> Iterator[Callable[[], MetricsServer]]:
    """Starts a server, after a test has changed its limits."""
    with ExitStack() as stack:

        def start() -> MetricsServer:
            started, thread = poolscope.start_http_server(0, registry=registry)
            assert isinstance(started, MetricsServer)
            stack.callback(thread.join, PATIENCE)
            stack.callback(started.shutdown)
            return started

        yield start


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Opens a connection to a server, and sends something."""
    with ExitStack() as stack:

        def connect(started: Server, data: bytes = b"") -> socket.socket:
            address = "127.0.0.1", started.server_port
            client = socket.create_connection(address, timeout=PATIENCE)
            stack.callback(client.close)
            client.sendall(data)
            return client

        yield connect


def scrape(started: Server) -> str:
    return httpx.get(f"http://127.0.0.1:{started.server_port}/metrics", timeout=PATIENCE).text


def read(client: socket.socket) -> bytes:
    """Return all that the server sends until it closes the connection."""
    data = b""
    try:
        while more := client.recv(65536):
            data += more
    except ConnectionResetError:
        pass
    return data


@pytest.mark.parametrize("data", SILENT.values(), ids=SILENT)
def test_silent_clients_keep_nobody_out(
    start: Any, connect: Connect, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr(server, "MOST_CLIENTS", 5)
    monkeypatch.setitem(clients.SECONDS, State.ASKING, 10 * PATIENCE)
    started = start()
    threads, descriptors = threading.active_count(), psutil.Process().num_fds()
    silent = [connect(started, data) for _ in range(30)]
    for _ in range(3):
        assert "answer 42.0" in scrape(started)
        assert threading.active_count() <= threads + 1
        # Each silent client is a descriptor of this process, too.
        assert psutil.Process().num_fds() <= descriptors + len(silent) + 5
    # Those that came first had to go.
    assert b"" == read(silent[0])


@pytest.mark.parametrize("data", SILENT.values(), ids=SILENT)
def test_a_silent_client_is_closed_in_time(
    start: Any, connect: Connect, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setitem(clients.SECONDS, State.ASKING, 0.05)
    assert b"" == read(connect(start(), data))


def test_a_client_that_sends_a_byte_at_a_time_has_no_more_time(
    start: Any, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(clients.SECONDS, State.ASKING, 0.2)
    client = connect(start(), b"GET /metrics HTTP/1.1\r\nX: ")

    def is_closed() -> bool:
        try:
            client.sendall(b"x")
        except OSError:
            return True
        return False

    until(is_closed, "the client is closed")


class Large(Collector):
    """More than the buffers of a connection can hold."""

    def __init__(self) -> None:
        self.collected = 0

    def collect(self) -> Iterable[Metric]:
        self.collected += 1
        metric = Metric("large", "x" * 20_000_000, "gauge")
        metric.add_sample("large", {"number": str(self.collected)}, 1.0)
        return [metric]


ASK: Final = b"GET /metrics HTTP/1.1\r\n\r\n"


def test_a_client_that_does_not_take_its_answer_is_closed_in_time(
    start: Any, connect: Connect, registry: CollectorRegistry
) -> None:
    registry.register(Large())
    started = start()
    slow = connect(started, ASK)
    assert slow.recv(1)
    (client,) = started._clients.values()
    assert client.deadline <= time.monotonic() + clients.ANSWER_SECONDS
    client.deadline = time.monotonic()
    until(lambda: not connections(started), "the client is closed")
    assert 0 < len(read(slow)) < 20_000_000


def test_a_client_that_does_not_take_its_answer_costs_the_system_little(
    start: Any, connect: Connect, registry: CollectorRegistry
) -> None:
    registry.register(Large())
    started = start()
    slow = connect(started, ASK)
    assert slow.recv(1)
    (client,) = started._clients.values()
    before, left = -1, 0
    while before != left:  # until the system takes no more
        before, left = left, sum(map(len, client._unsent))
        time.sleep(0)
    assert left >= 20_000_000 - 2**20


def connections(started: MetricsServer) -> list[Any]:
    """Return the connections of the server that are established."""
    return [
        found
        for found in psutil.Process().net_connections("tcp")
        if found.laddr.port == started.server_port and found.status == psutil.CONN_ESTABLISHED
    ]


def test_clients_that_do_not_take_their_answers_keep_nobody_out(
    start: Any, connect: Connect, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_CLIENTS", 3)
    registry.register(Large())
    started = start()
    slow = [connect(started, ASK) for _ in range(3)]
    until(lambda: len(connections(started)) == 3, "all are connected")
    assert "answer 42.0" in scrape(started)
    assert len(read(slow[0])) < 20_000_000


def test_old_texts_are_not_kept_for_slow_clients(
    start: Any, connect: Connect, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_BYTES", 50_000_000)
    registry.register(Large())
    started = start()
    slow = []
    for _ in range(6):
        slow.append(connect(started, ASK))
        assert slow[-1].recv(1)
    assert 3 == len(connections(started))  # the newest, and two more
    assert len(read(slow[2])) < 20_000_000
    assert len(read(slow[3])) > 20_000_000


class Blocking(Collector):
    """Blocks until `released` is set, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.released = threading.Event()

    def collect(self) -> Iterable[Metric]:
        self.asked += 1
        if not self.released.wait(PATIENCE):
            raise TimeoutError
        return []


def test_clients_that_wait_for_their_answers_are_not_closed_for_others(
    start: Any, connect: Connect, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_CLIENTS", 3)
    blocking = Blocking()
    registry.register(blocking)
    started = start()
    waiting = [connect(started, ASK) for _ in range(10)]
    until(lambda: blocking.asked, "the first asks")
    blocking.released.set()
    answers = [read(client) for client in waiting]
    assert [True] * 10 == [answer.endswith(b"answer 42.0\n") for answer in answers]


def test_a_collector_that_never_returns_does_not_keep_the_server_from_stopping(
    registry: CollectorRegistry, connect: Connect
) -> None:
    blocking = Blocking()
    registry.register(blocking)
    started, thread = poolscope.start_http_server(0, registry=registry)
    waiting = connect(started, ASK)
    until(lambda: blocking.asked, "it is asked")
    started.shutdown()
    started.server_close()
    thread.join(PATIENCE)
    assert isinstance(started, MetricsServer)
    assert (False, -1) == (thread.is_alive(), started.socket.fileno())
    assert b"" == read(waiting)
    blocking.released.set()


def test_a_collector_that_never_returns_keeps_no_client(
    start: Any, connect: Connect, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "TICK_SECONDS", 0.01)
    monkeypatch.setitem(clients.SECONDS, State.WAITING, 0.05)
    blocking = Blocking()
    registry.register(blocking)
    started = start()
    waiting = [connect(started, ASK) for _ in range(3)]
    assert [b""] * 3 == [read(client) for client in waiting]
    assert [] == connections(started)
    blocking.released.set()


def test_stopping_closes_all(
    registry: CollectorRegistry, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptors, threads = psutil.Process().num_fds(), threading.active_count()
    started, _ = poolscope.start_http_server(0, registry=registry)
    silent = [connect(started) for _ in range(3)]
    assert "answer 42.0" in scrape(started)
    started.shutdown()
    assert [b""] * 3 == [read(client) for client in silent]
    # Other tests may have left something that ends meanwhile.
    assert psutil.Process().num_fds() <= descriptors + len(silent)
    until(lambda: threading.active_count() <= threads, "its threads have ended")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", started.server_port), timeout=PATIENCE)
    again, thread = poolscope.start_http_server(started.server_port, registry=registry)
    assert "answer 42.0" in scrape(again)
    again.server_close()
    thread.join(PATIENCE)


WRONG: Final = {
    b"\r\n\r\n": 400,
    b"nonsense\r\n\r\n": 400,
    b"GET\r\n\r\n": 400,
    b"GET / HTTP/9.9\r\n\r\n": 505,
    b"GET / HTTP/2.0\r\n\r\n": 505,
    b"GET / HTTP/x\r\n\r\n": 400,
    b"GET / HTTP/1.1 more\r\n\r\n": 400,
    b"GET http://[ HTTP/1.1\r\n\r\n": 400,
    b"\x16\x03\x01\x02\n\n\x01\xfc": 400,
    b"GET /metrics HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n": 431,
    b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000: 431,
    b"GET /metrics?" + b"x" * 20_000: 431,
    b"GET /%6Detrics HTTP/1.1\r\n\r\n": 200,
    b"GET http://shop:1/metrics HTTP/1.1\r\n\r\n": 200,
    b"GET /metrics HTTP/1.0\r\n\r\n": 200,
    b"GET /metrics HTTP/1.1\n\n": 200,
    b"\r\nGET /metrics HTTP/1.1\r\n\r\n": 200,
    b"GET /metrics?name[]=%ff&=&&%zz&name[]=answer HTTP/1.1\r\n\r\n": 200,
    b"GET /metrics HTTP/1.1\r\nno colon\r\nAccept: text/plain;version=1.0-beta\r\n\r\n": 200,
    b"GET /metrics HTTP/1.1\r\nAccept: \xff\xfe\r\n\r\n": 200,
    b"GET /metrics HTTP/1.1\r\nExpect: 100-continue\r\n\r\n": 200,
    b"POST /metrics HTTP/1.1\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 9_000_000: 405,
    b"BREW /metrics HTTP/1.1\r\n\r\n": 405,
    b"GET /nothing HTTP/1.1\r\n\r\n": 404,
}


@pytest.mark.parametrize("data", WRONG, ids=lambda data: data[:40].decode("latin-1"))
def test_each_request_gets_one_answer(start: Any, connect: Connect, data: bytes) -> None:
    started = start()
    client = connect(started)
    sending = threading.Thread(target=_send, args=(client, data))
    sending.start()
    answer = read(client)
    sending.join(PATIENCE)
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert f"HTTP/1.1 {WRONG[data]} " == lines[0][:13]
    assert {"Server: poolscope", "Connection: close", "Vary: Accept, Accept-Encoding"} <= set(lines)
    assert (WRONG[data] == 200) == (b"answer 42.0" in body)
    assert f"Content-Length: {len(body)}" in lines
    assert "answer 42.0" in scrape(started)


def _send(client: socket.socket, data: bytes) -> None:
    with suppress(OSError):  # the server has answered, and closed
        client.sendall(data)


def test_a_client_may_close_its_side_after_its_request(start: Any, connect: Connect) -> None:
    client = connect(start(), ASK)
    client.shutdown(socket.SHUT_WR)
    assert read(client).endswith(b"answer 42.0\n")


@pytest.mark.parametrize("data", SILENT.values(), ids=SILENT)
def test_half_a_request_gets_no_answer(start: Any, connect: Connect, data: bytes) -> None:
    client = connect(start(), data)
    client.shutdown(socket.SHUT_WR)
    assert b"" == read(client)


def test_a_request_may_come_in_pieces(start: Any, connect: Connect) -> None:
    started = start()
    client = connect(started)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for number in range(len(ASK)):
        client.sendall(ASK[number : number + 1])
        time.sleep(0)
    assert read(client).endswith(b"answer 42.0\n")


class FailingSocket(socket.socket):
    """Accepts nothing as long as there are `failures`."""

    failures: Iterator[int] = iter(())

    def accept(self) -> Any:
        failure = next(self.failures, None)
        if failure is not None:
            raise OSError(failure, os.strerror(failure))
        return super().accept()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ECONNABORTED])
def test_where_no_descriptor_is_left_it_goes_on_later(
    registry: CollectorRegistry,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int,
) -> None:
    monkeypatch.setattr(server, "TICK_SECONDS", 0.01)
    listening = FailingSocket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    started = MetricsServer(listening, Metrics(registry))
    thread = started.start()
    silent = connect(started)
    until(lambda: connections(started), "it is connected")
    listening.failures = iter([code] * 5)
    assert read(connect(started, ASK)).endswith(b"answer 42.0\n")
    ours = [record.message for record in caplog.records if record.name == "poolscope"]
    if code == errno.ECONNABORTED:
        assert [] == ours
    else:
        assert [f"cannot accept a connection for metrics: {os.strerror(code)}"] == ours
        assert b"" == read(silent)  # closed, to give its descriptor back
    started.shutdown()
    thread.join(PATIENCE)


def test_of_few_descriptors_it_takes_few(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    for limit, expected in (
        (resource.RLIM_INFINITY, server.MOST_CLIENTS),
        (1_000_000, server.MOST_CLIENTS),
        (256, 32),
        (100, 12),
        (3, 1),
    ):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        assert expected == server.most_clients()

"""
A thousand silent clients of `start_http_server`, and scrapes meanwhile.

The service, in a process of its own, has 100 pools. The clients connect, send nothing or half a
request, and connect again a second after they are closed; in the second half of the time, at once.
It does harm if a scrape fails, or takes longer than it may, or if the service has more threads or
descriptors than it may.
"""

from __future__ import annotations

import multiprocessing
import selectors
import socket
import statistics
import sys
import threading
import time
import urllib.request
from collections import deque
from multiprocessing.connection import Connection
from typing import Any, Final, Self

import psutil

CLIENTS: Final = 1000
SENT: Final = b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\nHost: sh", b"\x16\x03\x01\x02\x00"
MOST_SECONDS: Final = {1.0: 1.0, 0.0: 10.0}
"""
How long a scrape may take, by the seconds after which the clients connect again.

If that is at once, as many are accepted and closed as the processors can; a scrape then has the
time that Prometheus gives it.
"""
SECONDS: Final = 20.0
SPAWN: Final = multiprocessing.get_context("spawn")


def serve(control: Connection) -> None:
    """Serve the metrics of 100 pools until the parent says something."""
    import sqlalchemy

    import poolscope

    pools: list[Any] = []
    for number in range(100):
        make: Any = object
        pools.append(sqlalchemy.QueuePool(make))
        poolscope.watch(pools[-1], f"pool-{number}")
    server, _ = poolscope.start_http_server(0)
    control.send(server.server_port)
    control.recv()
    server.shutdown()


class SilentClients:
    """Clients that are connected again `pause` seconds after they are closed."""

    def __init__(self, port: int, pause: float) -> None:
        self._port = port
        self._pause = pause
        self._again: deque[tuple[float, bytes]] = deque()
        self._selector = selectors.DefaultSelector()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.closed = 0

    def __enter__(self) -> Self:
        for number in range(CLIENTS):
            self._connect(SENT[number % len(SENT)])
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]  # a socket
        self._selector.close()

    def _connect(self, data: bytes) -> None:
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", self._port))
        self._selector.register(client, selectors.EVENT_READ | selectors.EVENT_WRITE, data)

    def _run(self) -> None:
        while not self._ends.is_set():
            while self._again and self._again[0][0] <= time.monotonic():
                self._connect(self._again.popleft()[1])
            for key, events in self._selector.select(0.01):
                client: Any = key.fileobj
                try:
                    if events & selectors.EVENT_WRITE:
                        client.send(key.data)
                        self._selector.modify(client, selectors.EVENT_READ, key.data)
                    elif client.recv(1) == b"":
                        raise ConnectionResetError
                except OSError:
                    self._selector.unregister(client)
                    client.close()
                    self.closed += 1
                    self._again.append((time.monotonic() + self._pause, key.data))


def scrape(port: int) -> float:
    """Return how many seconds a scrape took."""
    started = time.perf_counter()
    url = f"http://127.0.0.1:{port}/metrics"
    with urllib.request.urlopen(url, timeout=60.0) as response:
        if b"connpool_limit" not in response.read():
            raise RuntimeError("no metrics")
    return time.perf_counter() - started


def attack(port: int, service: psutil.Process, pause: float, seconds: float) -> list[str]:
    """Attack for so long and print the figures; return what went wrong, a line each."""
    alone = [scrape(port) for _ in range(10)]
    threads, descriptors = service.num_threads(), service.num_fds()
    before = sum(service.cpu_times()[:2])
    most_threads = most_descriptors = 0
    took: list[float] = []
    with SilentClients(port, pause) as silent:
        end = time.monotonic() + seconds
        while time.monotonic() < end or not took:
            took.append(scrape(port))
            most_threads = max(most_threads, service.num_threads() - threads)
            most_descriptors = max(most_descriptors, service.num_fds() - descriptors)
            time.sleep(0.05)
        cpu = sum(service.cpu_times()[:2]) - before
    sys.stdout.write(
        f"start_http_server: {CLIENTS} silent clients that connect again after {pause:.0f} s, "
        f"{silent.closed} closed in {seconds:.0f} s; {len(took)} scrapes, median "
        f"{statistics.median(took) * 1e3:.0f} ms (alone {statistics.median(alone) * 1e3:.0f} ms), "
        f"longest {max(took) * 1e3:.0f} ms; {most_descriptors} descriptors and {most_threads} "
        f"threads more; {cpu:.1f} s of CPU time\n"
    )
    figures = (
        ("seconds for a scrape", max(took), MOST_SECONDS[pause]),
        # Of a rendering there may be one at the moment.
        ("threads more", most_threads, 1),
        ("descriptors more", most_descriptors, 64),
    )
    return [f"{value:.3g} {name}, at most {most}" for name, value, most in figures if value > most]


def run() -> list[str]:
    """Return what went wrong, a line each."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    port, service = ours.recv(), psutil.Process(process.pid)
    harm = [line for pause in MOST_SECONDS for line in attack(port, service, pause, SECONDS / 2)]
    ours.send("end")
    process.join()
    return harm

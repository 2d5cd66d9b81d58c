"""`start_http_server` in each worker of a service with POOLSCOPE_DIR: one serves for all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

import poolscope
from poolscope.fleet.stops import owner_of
from poolscope.metrics import turns
from support.application_servers import GUNICORN, ApplicationServer, serve
from support.exporters import ExporterProcess
from support.ports import ReservedPort
from support.waiting import PATIENCE, eventually

__all__ = ["serve"]


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    port = ReservedPort()
    monkeypatch.setenv("METRICS_PORT", str(port.number))
    yield port.number
    port.give_back()


def scrape(port: int) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the samples by name and labels; each is there once."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE).text
    samples: dict[Any, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in samples
            samples[key] = sample.value
    return samples


OK = frozenset({("pool", "orders"), ("kind", "sqlalchemy"), ("outcome", "ok")})
LIVE = frozenset({("state", "live")})


def acquired(port: int) -> float:
    return scrape(port)["connpool_acquires_total", OK]


def server_of(folder: Path) -> int:
    """Return the id of the process that serves the pools, by its lock."""
    with (folder / turns.FILE).open("r+") as file:
        return owner_of(file.fileno())


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["workers", "preload"])
async def test_one_worker_serves_for_all_and_another_one_when_it_is_killed(
    serve: Any, folder: Path, port: int, options: tuple[str, ...]
) -> None:
    server: ApplicationServer = serve(*GUNICORN, "support.served_shop:app", *options)
    workers = server.use_all()
    assert server.taken == acquired(port)
    samples = scrape(port)
    assert 3 <= samples["connpool_exporter_processes", LIVE] <= 4
    assert samples["process_start_time_seconds", frozenset()] > 0  # what else the registry has
    assert 1 == sum(name == "connpool_internal_errors_total" for name, _ in samples)

    serving = server_of(folder)
    assert serving in ({server.process.pid} if options else workers)
    victim = serving if not options else min(workers)
    os.kill(victim, signal.SIGKILL)

    def again() -> bool:
        return server_of(folder) not in (0, victim)

    await eventually(True, again)
    server.use_all()

    def answers() -> float:
        try:
            return acquired(port)
        except httpx.TransportError:  # whose turn it is has not begun to serve
            return 0

    await eventually(float(server.taken), answers)
    server.end()


def test_the_exporter_takes_the_pools_over_and_gives_them_back(
    serve: Any, folder: Path, port: int
) -> None:
    server: ApplicationServer = serve(*GUNICORN, "support.served_shop:app")
    server.use_all()
    assert server.taken == acquired(port)
    exporter = ExporterProcess(folder)
    assert server.taken == exporter.scrape()["connpool_acquires_total", OK]
    samples = scrape(port)
    assert ["connpool_internal_errors_total"] == [
        name for name, _ in samples if name.startswith("connpool_")
    ]
    assert samples["process_start_time_seconds", frozenset()] > 0
    exporter.stop()
    server.use_all()
    assert server.taken == acquired(port)
    exporter.kill()


OTHER = """
import sys, urllib.request
import poolscope, sqlalchemy
engine = sqlalchemy.create_engine("sqlite://")
poolscope.watch(engine, "other")
engine.connect().close()
server, _ = poolscope.start_http_server(int(sys.argv[1]))
own, shared = (
    urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    for port in sys.argv[1:]
)
print("connpool_acquires_total" in own, 'outcome="ok",pool="other"} 1.0' in shared)
"""


def test_at_another_port_there_are_no_pools_a_second_time(
    serve: Any, folder: Path, port: int
) -> None:
    """As in containers that share the folder."""
    serve(*GUNICORN, "support.served_shop:app").use_all()
    other = ReservedPort()
    result = subprocess.run(
        [sys.executable, "-c", OTHER, str(other.number), str(port)],
        env={**os.environ, "POOLSCOPE_DIR": str(folder)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    other.give_back()
    assert ("False True\n", "") == (result.stdout, result.stderr)


TWICE = """
import sys, poolscope, os
port = int(sys.argv[1])
first, thread = poolscope.start_http_server(port)
try:
    poolscope.start_http_server(port)
except OSError as error:
    print(error)
first.shutdown()
thread.join()
second, _ = poolscope.start_http_server(port)
print(second.server_port == port)
"""


def test_a_process_serves_once_and_again_after_a_shutdown(folder: Path, port: int) -> None:
    environment = {**os.environ, "POOLSCOPE_DIR": str(folder)}
    result = subprocess.run(
        [sys.executable, "-c", TWICE, str(port)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    first, second = result.stdout.splitlines()
    assert f"cannot serve metrics at 127.0.0.1:{port}: Address already in use" in first
    assert "True" == second


def test_without_the_folder_a_second_server_says_what_to_do(port: int) -> None:
    server, thread = poolscope.start_http_server(0)
    with pytest.raises(OSError, match="perhaps by another worker") as raised:
        poolscope.start_http_server(server.server_port)
    assert (
        f"[Errno 98] cannot serve metrics at 127.0.0.1:{server.server_port}: Address already in "
        "use, perhaps by another worker of this service: set POOLSCOPE_DIR and run poolscope "
        "exporter (with the folder alone, one worker serves the metrics of all) or instrument the "
        "application with poolscope.instrument(app)"
    ) == str(raised.value)
    server.shutdown()
    thread.join(PATIENCE)


def test_a_port_of_another_program_is_an_error_with_the_folder_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, thread = poolscope.start_http_server(0)
    monkeypatch.setenv("POOLSCOPE_DIR", str(folder))
    with pytest.raises(OSError, match="Address already in use"):
        poolscope.start_http_server(server.server_port)
    server.shutdown()
    thread.join(PATIENCE)

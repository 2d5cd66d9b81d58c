"""The exporter as a process, and workers with pools."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import psutil
import pytest

import poolscope
from poolscope.metrics.exporter_families import EXPORTER_FAMILIES
from support.exporters import ExporterProcess, exporter
from support.waiting import PATIENCE, eventually

__all__ = ["exporter"]


def of_orders(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset({"pool": "orders", "kind": "sqlalchemy", **labels}.items())


class TestMetrics:
    def test_one_scrape_has_the_sums_of_all_processes(self, exporter: Any, workers: Any) -> None:
        first, second = workers(), workers()
        first.tell("take", "take", "take")
        second.tell("use 5", "take")
        second.kill()
        samples = exporter.scrape()
        assert 3.0 == samples[of_orders("connpool_connections", state="in_use")]
        assert 9.0 == samples[of_orders("connpool_acquires_total", outcome="ok")]
        assert 4.0 == samples[of_orders("connpool_limit")]
        assert 0.75 == samples[of_orders("connpool_utilization_max")]
        assert 3.0 == samples[of_orders("connpool_site_connections", site="worker:take")]
        assert (
            1.0
            == samples[of_orders("connpool_finding", rule="nested-acquire", severity="critical")]
        )
        states = {"live": 1.0, "gone": 1.0}
        for state, expected in states.items():
            labels = frozenset({("state", state)})
            assert expected == samples["connpool_exporter_processes", labels]
        assert 0.0 == samples["connpool_exporter_bad_segments", frozenset()]
        version = frozenset({("version", poolscope.__version__)})
        assert 1.0 == samples["connpool_exporter_build_info", version]

    def test_promtool_accepts_the_metrics(self, exporter: Any, workers: Any, promtool: str) -> None:
        workers().tell("take")
        text = exporter.get("/metrics")[2]
        result = subprocess.run(
            [promtool, "check", "metrics"], input=text, capture_output=True, check=False
        )
        assert (0, b"", b"") == (result.returncode, result.stdout, result.stderr)
        for family in EXPORTER_FAMILIES:
            optional = "_process_" in family.name or "server" in family.labels
            assert optional != (f"\n# TYPE {family.name} ".encode() in text)

    def test_the_format_and_encoding_are_those_of_the_request(self, exporter: Any) -> None:
        _, headers, text = exporter.get("/metrics")
        assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
        accept = "application/openmetrics-text; version=1.0.0"
        _, headers, text = exporter.get("/metrics", Accept=accept)
        assert headers["Content-Type"].startswith("application/openmetrics-text")
        assert text.endswith(b"# EOF\n")
        _, headers, text = exporter.get("/metrics", **{"Accept-Encoding": "gzip"})
        assert "gzip" == headers["Content-Encoding"]
        assert b"# HELP connpool_connections " in gzip.decompress(text)

    def test_with_the_option_each_process_has_its_own_metrics(
        self, folder: Path, workers: Any
    ) -> None:
        first, second = workers(), workers()
        first.tell("take", "take", "lose")
        second.tell("use 1")
        exporter = ExporterProcess(folder, "--per-process")
        samples = exporter.scrape()
        exporter.kill()
        for worker, in_use, abandoned in ((first, 2.0, 0.0), (second, 0.0, 0.0)):
            pid = str(worker.pid)
            expected = {
                of_orders("connpool_process_connections", pid=pid, state="in_use"): in_use,
                of_orders("connpool_process_connections", pid=pid, state="idle"): 1.0,
                of_orders("connpool_process_connections", pid=pid, state="opening"): 0.0,
                of_orders("connpool_process_waiting", pid=pid): 0.0,
                of_orders("connpool_process_limit", pid=pid): 4.0,
                of_orders("connpool_process_leaked", pid=pid, reason="overdue"): 0.0,
                of_orders("connpool_process_leaked", pid=pid, reason="abandoned"): abandoned,
            }
            assert expected == {key: samples.get(key) for key in expected}

    def test_they_can_have_another_path(self, folder: Path) -> None:
        exporter = ExporterProcess(folder, "--web.telemetry-path", "/pools/metrics")
        exporter.url = exporter.url.removesuffix("/pools")
        assert 200 == exporter.get("/pools/metrics")[0]
        assert 404 == exporter.get("/metrics")[0]
        assert b'href="./pools/metrics"' in exporter.get("/")[2]
        exporter.kill()


class TestTheApi:
    def test_it_has_pools_with_processes_holders_and_findings(
        self, exporter: Any, workers: Any
    ) -> None:
        worker = workers()
        worker.tell("take", "lose")
        status, headers, text = exporter.get("/api/v1/pools")
        assert (200, "application/json; charset=utf-8") == (status, headers["Content-Type"])
        document = json.loads(text)
        (pool,) = document["pools"]
        assert ("orders", "sqlalchemy", True) == (pool["pool"], pool["kind"], pool["live"])
        assert (1, 1, 4, 0.25) == (
            pool["in_use"],
            pool["idle"],
            pool["limit"],
            pool["utilization_max"],
        )
        (process,) = pool["processes"]
        assert (worker.pid, 1) == (process["pid"], process["in_use"])
        (holder,) = pool["holders"]
        assert (worker.pid, "MainThread", False) == (
            holder["pid"],
            holder["owner"],
            holder["overdue"],
        )
        assert holder["site"].startswith("worker.py:")
        assert ["abandoned", "nested-acquire"] == [f["rule"] for f in pool["findings"]]
        assert holder["site"] in pool["findings"][0]["sites"]

    def test_the_landing_page_and_the_health_check_are_served(self, exporter: Any) -> None:
        status, headers, text = exporter.get("/")
        assert (200, "text/html; charset=utf-8") == (status, headers["Content-Type"])
        assert b'<a href="./metrics">' in text
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "poolscope" == headers["Server"]
        assert (200, b"Healthy.\n") == exporter.get("/-/healthy")[::2]
        assert (404, b"404: Not Found\n") == exporter.get("/nothing")[::2]

    async def test_it_becomes_ready_by_its_own_first_scan(self, exporter: Any) -> None:
        await eventually((200, b"Ready.\n"), lambda: exporter.get("/-/ready")[::2])


CLOSE = b"Connection: close\r\n\r\n"


def exchange(exporter: Any, data: bytes) -> bytes:
    """Send these bytes, and return the response, until the exporter closes the connection."""
    host, port = exporter.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        connection.sendall(data)
        response = b""
        while chunk := connection.recv(65536):
            response += chunk
    return response


MEMORY_GROWTH = 1_000_000
"""Bytes by which memory may vary after a thousand requests; a leak would grow by more."""


class TestMisbehavingClients:
    @pytest.mark.parametrize(
        ("data", "status"),
        [
            (b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n" + CLOSE, b"405"),
            (b"BREW /metrics HTTP/1.1\r\nHost: localhost\r\n" + CLOSE, b"400"),
            (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n" + CLOSE, b"404"),
            (
                b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
                b"400",
            ),
            (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
            (b"\x16\x03\x01\x00 not http at all\r\n\r\n", b"400"),
        ],
    )
    def test_a_bad_request_gets_an_error_response(
        self, exporter: Any, data: bytes, status: bytes
    ) -> None:
        assert status == exchange(exporter, data).split()[1]
        assert 200 == exporter.get("/metrics")[0]

    async def test_a_thousand_requests_at_once_are_answered_and_leave_nothing(
        self, exporter: Any, workers: Any
    ) -> None:
        workers().tell("take")
        process = psutil.Process(exporter.process.pid)
        host, port = exporter.url.removeprefix("http://").split(":")
        # Some clients connect, and send nothing.
        fds = process.num_fds() + 50
        silent = [await asyncio.open_connection(host, port) for _ in range(50)]
        await eventually(fds, process.num_fds)
        limit = b'connpool_limit{kind="sqlalchemy",pool="orders"} 4.0'
        memory = [process.memory_info().rss]
        # The memory for a thousand requests at once is reused by the next thousand, so it stops
        # growing after some rounds. A leak would add up in every round.
        while len(memory) < 3 or memory[-1] > memory[-2] + MEMORY_GROWTH:
            assert len(memory) <= 20, memory
            texts = await asyncio.gather(*(fetch(host, port) for _ in range(1000)))
            assert all(limit in text for text in texts)
            await eventually(True, lambda: process.num_fds() <= fds + 5)
            memory.append(process.memory_info().rss)
        for _, writer in silent:
            writer.close()


async def fetch(host: str, port: str, password: bytes = b"") -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    authorization = b"Authorization: Basic " + b64encode(password)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n" + authorization + b"\r\n" + CLOSE)
    text = await reader.read()
    writer.close()
    return text


@pytest.fixture
def locked(folder: Path, tmp_path: Path) -> Iterator[ExporterProcess]:
    """An exporter that requires a password."""
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    file = tmp_path / "web.yml"
    file.write_text(f"basic_auth_users:\n  prometheus: {hashed}\n")
    exporter = ExporterProcess(folder, "--web.config.file", str(file))
    yield exporter
    exporter.kill()


class TestPasswords:
    @pytest.mark.parametrize("path", ["/", "/metrics", "/pools", "/api/v1/pools", "/-/healthy"])
    def test_every_path_requires_the_password(self, locked: Any, path: str) -> None:
        right = {"Authorization": f"Basic {b64encode(b'prometheus:right').decode()}"}
        assert (401, 200) == (locked.get(path)[0], locked.get(path, **right)[0])

    async def test_a_thousand_wrong_passwords_do_not_lock_others_out(self, locked: Any) -> None:
        process = psutil.Process(locked.process.pid)
        host, port = locked.url.removeprefix("http://").split(":")
        # A password that was accepted before is accepted at once, however many others are checked.
        assert b"200" == (await fetch(host, port, b"prometheus:right")).split()[1]
        good = [fetch(host, port, b"prometheus:right") for _ in range(20)]
        bad = [fetch(host, port, b"prometheus:wrong%d" % number) for number in range(1000)]
        texts = await asyncio.gather(*bad, *good)
        assert {b"401", b"503"} >= {text.split()[1] for text in texts[:1000]}
        assert [b"200"] * 20 == [text.split()[1] for text in texts[1000:]]
        await eventually(True, lambda: process.num_fds() < 50)
        assert b"200" == (await fetch(host, port, b"prometheus:right")).split()[1]


class TestLifecycle:
    def test_it_stops_on_sigterm_and_can_be_started_again(
        self, exporter: Any, folder: Path
    ) -> None:
        assert 0 == exporter.stop()
        assert ["info"] * 3 == [entry["level"] for entry in exporter.log]
        assert "stopping" == exporter.log[-1]["message"]
        again = ExporterProcess(folder)
        assert 200 == again.get("/metrics")[0]
        again.kill()

    def test_a_suspended_process_is_in_the_scrape(self, exporter: Any, workers: Any) -> None:
        worker = workers()
        worker.tell("take", "block")
        os.kill(worker.pid, signal.SIGSTOP)
        assert 1.0 == exporter.scrape()[of_orders("connpool_connections", state="in_use")]
        os.kill(worker.pid, signal.SIGCONT)

    def test_counters_stay_when_the_last_pool_of_a_name_has_ended(
        self, exporter: Any, workers: Any
    ) -> None:
        worker = workers()
        worker.tell("use 3")
        worker.end()
        samples = exporter.scrape()
        assert 3.0 == samples[of_orders("connpool_acquires_total", outcome="ok")]
        assert of_orders("connpool_limit") not in samples


def run(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run the command until it ends; return its exit code and what it wrote to stderr."""
    result = subprocess.run(
        [sys.executable, "-m", "poolscope", "exporter", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    return result.returncode, result.stderr


class TestInvalidArguments:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((), "name the folder that the processes write to, with --dir or POOLSCOPE_DIR"),
            (("--web.listen-address", "10464"), "'10464' is not HOST:PORT"),
            (("--web.listen-address", "::1:10464"), "'::1:10464' is not HOST:PORT"),
            (("--web.listen-address", "x:y"), "'y' is not a port"),
            (("--web.telemetry-path", "metrics"), "'metrics' is not a path"),
            (("--web.telemetry-path", "/-/ready"), "'/-/ready' is taken"),
            (("--web.telemetry-path", "/pools/"), "'/pools/' is taken"),
            (("--log.level", "loud"), "invalid choice: 'loud'"),
            (("--postgres", "secret@db"), "--postgres: not a DSN: it does not begin with"),
            (
                ("--dir", "x", "--pgbouncer", "postgres://a?%"),
                "--pgbouncer: not a DSN: what follows",
            ),
        ],
    )
    def test_an_error_is_one_line_and_the_exit_code_is_2(
        self, arguments: tuple[str, ...], message: str
    ) -> None:
        code, text = run(*arguments, POOLSCOPE_DIR="")
        assert (2, 1) == (code, text.count("\n"))
        assert message in text

    def test_an_invalid_dsn_in_a_variable_is_refused_without_its_password(
        self, tmp_path: Path
    ) -> None:
        code, text = run(
            "--dir", str(tmp_path), POOLSCOPE_POSTGRES="postgres://a mysql://x:secret@b"
        )
        assert (2, 1) == (code, text.count("\n"))
        assert text.startswith(
            "poolscope exporter: POOLSCOPE_POSTGRES: not a DSN: it does not begin"
        )
        assert "secret" not in text

    def test_a_server_that_is_named_twice_is_refused(self, tmp_path: Path) -> None:
        twice = ("--postgres", "postgres://a@db", "--postgres", "postgres://b@db")
        code, text = run("--dir", str(tmp_path / "pools"), *twice)
        assert (2, "poolscope exporter: db:5432 is given twice\n") == (code, text)

    def test_an_invalid_web_config_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "web.yml"
        file.write_text("basic_auth_user: {}\n")
        code, text = run("--dir", str(tmp_path / "pools"), "--web.config.file", str(file))
        assert (1, 1) == (code, text.count("\n"))
        assert text.startswith(f"poolscope exporter: {file}: ")

    def test_a_folder_that_others_may_write_to_is_refused(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o777)
        code, text = run("--dir", str(tmp_path))
        assert 1 == code
        assert text.startswith(f"poolscope exporter: others may write to {tmp_path}; ")

    def test_a_second_exporter_of_a_folder_is_refused(self, exporter: Any, folder: Path) -> None:
        code, text = run("--dir", str(folder))
        assert (1, f"poolscope exporter: another exporter reads {folder}; one is enough\n") == (
            code,
            text,
        )

    def test_a_port_that_is_in_use_is_refused(self, exporter: Any, tmp_path: Path) -> None:
        address = exporter.url.removeprefix("http://")
        code, text = run("--dir", str(tmp_path / "other"), "--web.listen-address", address)
        assert 1 == code
        assert f"poolscope exporter: cannot listen at {address}: " in text
        assert 1 == text.count("\n")

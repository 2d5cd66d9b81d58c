"""The command `poolscope size`."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self

import pytest

from poolscope.cli import main
from poolscope.sizing.exposition import measured, metrics_address
from poolscope.sizing.http import check, get, without_credentials
from support.ports import closed_port

GIVEN = ("--rate", "120/s", "--hold", "50ms")


def size(*arguments: str) -> int:
    try:
        return main(["size", *arguments])
    except SystemExit as exit_:
        return int(exit_.code or 0)


def test_given_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == size(*GIVEN, "--processes", "4", "--kind", "asyncpg", "--max-connections", "100")
    printed = capsys.readouterr().out
    assert "the pool (asyncpg): 6 connections in each of 4 processes\n" in printed
    assert "create_pool(..., min_size=2, max_size=6)" in printed
    assert re.search(r"ceiling +19 ", printed)
    assert "measured" not in printed


def test_what_is_given_is_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == size(*GIVEN, "--limit", "7")
    printed = " ".join(capsys.readouterr().out.split())
    assert "13 connections; now 7 " in printed
    assert "There are 120.0 callers a second" in printed
    assert "At the present size the model says 206 ms for 99 of 100 callers." in printed


def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == size(*GIVEN, "--limit", "15", "--pool", "orders", "--format", "json")
    (advice,) = json.loads(capsys.readouterr().out)
    assert ("orders", "shrink", 13) == (advice["pool"], advice["verdict"], advice["recommended"])
    assert {"processes": 4, "size": 5} in advice["split"]


def test_other_goals(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = []
    for goal in (("--wait-p99", "200ms"), ("--wait-p99", "1ms"), ("--wait-probability", "0.01%")):
        assert 0 == size(*GIVEN, *goal, "--format", "json")
        sizes.append(json.loads(capsys.readouterr().out)[0]["candidates"][0]["size"])
    assert sorted(set(sizes)) == sizes


def test_a_goal_out_of_reach(capsys: pytest.CaptureFixture[str]) -> None:
    assert 1 == size(*GIVEN, "--max-connections", "10", "--others", "2")
    assert "more than the server has" in capsys.readouterr().out


def test_a_load_that_is_large_is_computed_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == size("--rate", "40000/s", "--hold", "1s", "--kind", "aiohttp", "--format", "json")
    (advice,) = json.loads(capsys.readouterr().out)
    assert 40_000 < advice["candidates"][0]["size"] < 41_000 < advice["recommended"] < 60_000


def test_a_server_that_nobody_has_named_is_not_blamed(capsys: pytest.CaptureFixture[str]) -> None:
    assert 1 == size("--rate", "1000/s", "--hold", "100ms", "--kind", "asyncpg")
    printed = " ".join(capsys.readouterr().out.split())
    assert "connections, more than one pool should have" in printed
    assert "Unless you give --max-connections or --postgres, a pool gets 50" in printed
    assert "the server has" not in printed.lower()


def test_one_connection_is_no_plural(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == size("--rate", "1/s", "--hold", "1ms", "--queries", "1e-320")
    assert capsys.readouterr().out.startswith("the pool: 1 connection\n")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "give one of --prometheus URL, --url URL, or --rate with --hold"),
        (("--rate", "1/s"), "--hold is missing: --rate and --hold go together"),
        (("--hold", "1s"), "--rate is missing: --rate and --hold go together"),
        ((*GIVEN, "--url", "http://127.0.0.1:1"), "give one of"),
        (("--rate", "much", "--hold", "1s"), "'much' is not a rate such as 120/s or 7200/min"),
        (("--rate", "1/day", "--hold", "1s"), "'1/day' is not a rate"),
        (("--rate", "nan", "--hold", "1s"), "'nan' is not a rate"),
        (("--rate", "1", "--hold", "-1s"), "expected one argument"),
        (("--rate", "1", "--hold", "0"), "'0' is not a time such as 50ms, 1.5s, 5m or 7d"),
        (("--rate", "1", "--hold", "5 weeks"), "'5 weeks' is not a time"),
        (("--rate", "1/", "--hold", "1s"), "'1/' is not a rate"),
        (("--rate", "1_0", "--hold", "1s"), "'1_0' is not a rate"),
        (("--rate", "\u0661", "--hold", "1s"), "is not a rate"),
        (("--rate", "1e9", "--hold", "1e9"), "--rate times --hold is 1e+18: more connections than"),
        (("--rate", "1e308", "--hold", "99d"), "--rate times --hold is inf"),
        (("--rate", "1", "--hold", "1e99d"), "'1e99d' is not a time"),
        ((*GIVEN, "--limit", "1_0"), "'1_0' is not a whole number from 1 on"),
        ((*GIVEN, "--limit", "9" * 5000), "999999999... is too large a number"),
        (("--url", "http://a b/"), "'http://a b/' is not an address"),
        (("--url", "http://a..b/"), "'http://a..b/' is not an address"),
        (("--url", f"http://{'a' * 64}/"), "is not an address"),
        (("--url", "http://\u20ac.invalid/"), "is not an address"),
        (("--url", "http://127.0.0.1/\u20ac"), "is not an address"),
        (("--url", "http://127.0.0.1/\n"), "is not an address"),
        ((*GIVEN, "--wait-probability", "120%"), "'120%' is not a share such as 1% or 0.01"),
        ((*GIVEN, "--processes", "0"), "'0' is not a whole number from 1 on"),
        ((*GIVEN, "--queries", "0"), "'0' is not a number above 0"),
        ((*GIVEN, "--max-connections", "3"), "--max-connections 3 leaves nothing beside"),
        (("--url", "localhost:10464"), "'localhost:10464' is not an address such as http://"),
        (("--prometheus", "http://"), "'http://' is not an address"),
        (("--url", "ftp://me:secret@host"), "'...@host' is not an address"),
    ],
)
def test_bad_input_gets_one_line(
    capsys: pytest.CaptureFixture[str], arguments: Sequence[str], complaint: str
) -> None:
    assert 2 == size(*arguments)
    printed = capsys.readouterr()
    assert "" == printed.out
    assert 1 == printed.err.count("\n")
    assert printed.err.startswith("poolscope size: ")
    assert complaint in printed.err


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    port = closed_port()
    for option in ("--url", "--prometheus"):
        assert 1 == size(option, f"http://me:secret@127.0.0.1:{port}")
        said = capsys.readouterr().err
        assert 1 == said.count("\n")
        assert f"cannot reach http://127.0.0.1:{port}" in said
        assert "secret" not in said


BEFORE = """\
connpool_instances{pool="orders",kind="asyncpg"} 2
connpool_limit{pool="orders",kind="asyncpg"} 20
connpool_in_use_peak{pool="orders",kind="asyncpg"} 9
connpool_waiting_peak{pool="orders",kind="asyncpg"} 0
connpool_acquires_total{pool="orders",kind="asyncpg",outcome="ok"} %(ok)d
connpool_acquires_total{pool="orders",kind="asyncpg",outcome="timeout"} %(lost)d
connpool_in_use_seconds_total{pool="orders",kind="asyncpg"} %(seconds)d
connpool_waits_total{pool="orders",kind="asyncpg"} 0
connpool_hold_seconds_bucket{pool="orders",kind="asyncpg",le="0.1"} %(ok)d
connpool_hold_seconds_bucket{pool="orders",kind="asyncpg",le="+Inf"} %(ok)d
connpool_hold_seconds_sum{pool="orders",kind="asyncpg"} %(seconds)d
"""


def reading(at: float, ok: int, seconds: int, lost: int = 0) -> tuple[float, dict[str, Any]]:
    from prometheus_client.parser import text_string_to_metric_families

    text = BEFORE % {"ok": ok, "lost": lost, "seconds": seconds}
    found: dict[str, Any] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix("connpool_")
            found.setdefault(name, []).append((sample.labels, sample.value))
    return at, found


def test_what_happened_between_readings() -> None:
    (found,) = measured([reading(100.0, 500, 10), reading(110.0, 2500, 110, lost=100)])
    assert ("orders", "asyncpg", 10.0) == (found.pool, found.kind, found.seconds)
    assert (2000.0, 100.0, 100.0) == (found.acquired, found.gave_up, found.in_use_seconds)
    assert (0.05, 10.5, 10.0) == (found.hold, found.load, found.size)
    assert ((10.0, 0.05),) == tuple(found.loads)


def test_the_busiest_five_minutes() -> None:
    steps = [(0, 0, 0), (150, 10, 1), (300, 20, 2), (450, 4020, 202), (600, 8020, 402),
             (750, 8030, 403)]  # fmt: skip
    (found,) = measured([reading(at, ok, seconds) for at, ok, seconds in steps])
    assert (300.0, 400.0) == (found.seconds, found.in_use_seconds)


def test_what_is_before_a_restart_does_not_count() -> None:
    steps = [(0, 9000, 900), (10, 9500, 950), (20, 0, 0), (30, 400, 20)]
    (found,) = measured([reading(at, ok, seconds) for at, ok, seconds in steps])
    assert (10.0, 400.0, 20.0) == (found.seconds, found.acquired, found.in_use_seconds)


class Answers:
    """A web server that answers every path with one text, and keeps what it was asked with."""

    def __init__(self, text: str) -> None:
        asked = self.asked = list[tuple[str, str | None]]()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append((self.path, self.headers["Authorization"]))
                self.send_response(200 if text else 503)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.mark.parametrize(
    ("option", "text", "complaint"),
    [
        ("--url", "<html>", "/metrics has no metrics of poolscope (connpool_...)"),
        ("--url", "python_info 1\n", "/metrics has no metrics of poolscope (connpool_...)"),
        ("--url", "", "/metrics answered 503 Service Unavailable"),
        ("--prometheus", "<html>", "is no Prometheus: query_range answered no result"),
        ("--prometheus", '{"data": []}', "is no Prometheus: query_range answered no result"),
        (
            "--prometheus",
            '{"data": {"result": []}}',
            (
                "Prometheus has no pool in the last 604800 s: is its job scraped, and is "
                "its family connpool_in_use_seconds_total there?"
            ),
        ),
    ],
)
def test_a_server_that_has_no_pools(
    capsys: pytest.CaptureFixture[str], option: str, text: str, complaint: str
) -> None:
    with Answers(text) as server:
        assert 1 == size(option, server.url, "--for", "1s")
    said = capsys.readouterr().err
    assert said.startswith("poolscope size: ")
    assert said.endswith(f"{complaint}\n")


def test_a_pool_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    text = BEFORE % {"ok": 500, "lost": 0, "seconds": 10}
    with Answers(text) as server:
        assert 1 == size("--url", server.url, "--for", "1s", "--pool", "order")
    assert (
        "poolscope size: no pool 'order' has been watched for the whole 1 s; there are orders\n"
        == capsys.readouterr().err
    )


def test_a_pool_that_nobody_uses(capsys: pytest.CaptureFixture[str]) -> None:
    text = BEFORE % {"ok": 500, "lost": 0, "seconds": 10}
    with Answers(text) as server:
        assert 0 == size("--url", server.url, "--for", "1s")
    assert (
        "orders (asyncpg): no advice\n  Nobody asked for a connection in this time.\n"
        == capsys.readouterr().out
    )


def test_addresses() -> None:
    assert "http://a:1/metrics" == metrics_address("http://a:1")
    assert "http://a:1/shop/metrics" == metrics_address("http://a:1/shop/metrics")
    assert ("http://a:1/x", ("me", "p@ss")) == without_credentials("http://me:p%40ss@a:1/x")
    with pytest.raises(ValueError, match="is not an address"):
        check("http://[::1")


def test_a_password_from_the_address_or_from_netrc(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login you password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with Answers("text") as server:
        get(server.url.replace("://", "://me:secret@"))
        get(server.url)
        monkeypatch.setenv("NETRC", str(tmp_path / "missing"))
        get(server.url)
    assert [b"me:secret", b"you:other", None] == [
        b64decode(given.removeprefix("Basic ")) if given else None for _, given in server.asked
    ]

"""The command `poolscope top`, where the output is no terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from poolscope.cli import main
from poolscope.terminal import sources
from support.exporters import ExporterProcess
from support.ports import closed_port
from support.workers import Worker
from terminal.stand_in import StandIn

ONCE = """\
pool                 in use  waiting  oldest wait  oldest hold  leaked  acquires/s  timeouts/s  found
─────────────────────────────────────────────────────────────────────────────────────────────────────────
orders   ██████████     6/6       12        420ms           1m       1         0.0         0.0  1 warning
prices   ██▒░░░░░░░     2/8        0                                 0         0.0         0.0
billing  no limit         0        0                                 0         0.0         0.0
warning: orders: stale-connections: idle connections are neither checked nor replaced
    shop/db.py:3 in connect
"""  # noqa: E501 - lines of a terminal


def top(*arguments: str) -> int:
    try:
        return main(["top", "--interval", "0.01", *arguments])
    except SystemExit as exit_:
        return int(exit_.code or 0)


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    there = StandIn()
    monkeypatch.setattr(sources, "Exporter", lambda url: there)
    return there


def test_once(source: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == top("--once")
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert ONCE.splitlines() == lines


def test_some_pools_by_name(source: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == top("--once", "--sort", "name", "--pool", "i")
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:5]]
    assert ["billing", "orders", "prices"] == names
    assert 0 == top("--once", "--pool", "nothing")
    assert "no pool has 'nothing'\n" == capsys.readouterr().out


def test_as_json(source: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == top("--json")
    (first, *_) = json.loads(capsys.readouterr().out)["pools"]
    assert ("orders", 6, 0.0) == (first["pool"], first["in_use"], first["acquires_per_second"])


def test_waiting_for_a_condition(source: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == top("--watch-for", "orders.waiting>0")
    assert "orders.waiting>0\n" == capsys.readouterr().out
    assert 1 == top("--watch-for", "orders.waiting>99", "--timeout", "0.01")
    assert "poolscope top: 'orders.waiting>99' did not hold for 0.01 s\n" == capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--url", "ftp://a"), "'ftp://a' is not an address"),
        (("--url", "http://a", "--dir", "b"), "give only one of --url and --dir"),
        (("--watch-for", "orders"), "'orders' is not a condition such as 'orders.waiting>0'"),
        (("--watch-for", ""), "'' is not a condition such as 'orders.waiting>0'"),
        (("--interval", "1e300"), "'1e300' is not a positive number of seconds"),
        (("--timeout", "nan"), "'nan' is not a positive number of seconds"),
        (("--interval", "0"), "'0' is not a positive number of seconds"),
        (("--sort", "size"), "invalid choice: 'size'"),
    ],
)
def test_bad_input_gets_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
) -> None:
    assert 2 == top(*arguments)
    said = capsys.readouterr().err
    assert said.startswith("poolscope top: ")
    assert complaint in said
    assert 1 == said.count("\n")


@pytest.mark.parametrize(
    "arguments",
    [("--url", f"http://127.0.0.1:{closed_port()}"), ("--dir", "no-such-folder")],
)
def test_who_could_not_ask_says_so(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert 3 == top("--once", *arguments)
    said = capsys.readouterr()
    assert ("", 1) == (said.out, said.err.count("\n"))


def test_the_address_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POOLSCOPE_URL", f"http://me:secret@127.0.0.1:{closed_port()}")
    assert 3 == top("--once")
    said = capsys.readouterr().err
    assert f"cannot reach http://127.0.0.1:{closed_port()}/api/v1/pools" in said
    assert "secret" not in said
    monkeypatch.setenv("POOLSCOPE_URL", "localhost")
    assert 2 == top("--once")
    assert "poolscope top: POOLSCOPE_URL: 'localhost' is not an address" in capsys.readouterr().err


@pytest.fixture
def worker(folder: Path) -> Iterator[Worker]:
    there = Worker(folder, "orders")
    there.tell("take")
    yield there
    there.kill()


def test_a_folder_and_its_exporter_show_the_same(
    worker: Worker, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 == top("--once", "--dir", str(folder))
    table = capsys.readouterr().out.splitlines()[:3]
    assert table[2].startswith("orders")
    exporter = ExporterProcess(folder)
    try:
        assert 3 == top("--once", "--dir", str(folder))
        assert "poolscope top: " in capsys.readouterr().err
        assert 0 == top("--once", "--url", exporter.url)
    finally:
        exporter.process.kill()
        exporter.process.communicate()
    shown = capsys.readouterr().out.splitlines()[:3]
    without_age = [line.split("0ms")[0][:40] for line in table]
    assert without_age == [line.split("0ms")[0][:40] for line in shown]


def test_an_exporter_whose_metrics_are_elsewhere_has_no_durations(
    worker: Worker, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exporter = ExporterProcess(folder, "--web.telemetry-path", "/elsewhere")
    try:
        assert 0 == top("--json", "--url", exporter.url)
    finally:
        exporter.process.kill()
        exporter.process.communicate()
    (pool,) = json.loads(capsys.readouterr().out)["pools"]
    assert ("orders", 1, None) == (pool["pool"], pool["in_use"], pool["hold_p50_p99"])

"""The collector: from readings to the text that Prometheus scrapes."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import APPLICATION, SHOWN_SITES, Function
from poolscope.callsites.operations import SHOWN_OPERATIONS, NamedOperation
from poolscope.label_values import label_value
from poolscope.ledger import cells
from poolscope.ledger.ledger import Ledger
from poolscope.metrics.pool_families import FAMILIES
from poolscope.metrics.samples import collected
from poolscope.readings.by_label import HOLDS, SharedLabels
from poolscope.readings.findings import PoolEvidence, findings_of
from poolscope.readings.hosts import SHOWN_HOSTS, BusyHosts, HostReading, busiest
from poolscope.readings.limits import Limits
from poolscope.readings.pool_config import PoolConfig
from poolscope.readings.report import Info, Report
from poolscope.testing import FakeClock
from poolscope.watching.collector import PoolCollector
from poolscope.watching.groups import Groups
from poolscope.watching.watched_pool import WatchedPool

EXPECTED = Path(__file__).parent / "expected"


class Fixed(PoolCollector[WatchedPool]):
    """A collector of given reports."""

    def __init__(self, *reports: Report) -> None:
        super().__init__(Groups())
        self.reports = reports

    def collect(self):  # type: ignore[no-untyped-def]  # as its base
        return [collected(family, self.reports) for family in FAMILIES]


@pytest.fixture
def text(clock: FakeClock) -> str:
    """The exposition of a busy aiohttp pool, which has almost all families, and of a closed one."""
    ledger = Ledger(Limits(2, math.inf, 1), clock, leak_after=1.0)
    function = Function(None, APPLICATION, "shop/cart.py", "pay", "shop.cart:pay")
    who = Borrower(function, 7, "borrower_key", "Task-1", NamedOperation("GET /pay/{id}"))
    ledger.opening(1, clock())
    ledger.opened(1, "a", clock(), 0.02, True)
    ledger.served("a", clock(), clock() - 2**-5, who, reused=False)
    ledger.opening(2, clock())
    ledger.open_failed(2, clock(), 0.5)
    ledger.finished(cells.ERROR, 0.5, None)
    ledger.adopted("b", clock(), False)
    ledger.served("b", clock(), clock() - 2**-15)
    ledger.waiting(3, clock())
    clock.advance(1.5)
    ledger.stopped_waiting(3, clock())
    ledger.finished(cells.TIMEOUT, 1.5, 1.5, True)
    ledger.finished(cells.CANCELLED, 0.0, None)
    ledger.returned("b", clock())
    ledger.waiting(4, clock())
    ledger.looked_up(cells.DNS_HIT, None)
    ledger.looked_up(cells.DNS_MISS, 0.004)
    ledger.looked_up(cells.DNS_ERROR, 40.0)
    clock.advance(0.5)
    busy = Report(
        pool='up"stream\\',
        kind="aiohttp",
        reading=ledger.read(),
        created=1,
        infos=(Info("TCPConnector", "aiohttp", "3.14.5"),),
        sites=SharedLabels(SHOWN_SITES, HOLDS).sums(ledger.sites()),
        operations=SharedLabels(SHOWN_OPERATIONS, HOLDS).sums(ledger.operations()),
        hosts=(HostReading("api.example:443", 1, 1, 0, 1), HostReading("other", 0, 0, 0, 0)),
        findings=findings_of("", "", [PoolEvidence(PoolConfig(limit=math.inf), ledger.read(), {})]),
    )
    ledger.invalidated(False)
    ledger.invalidated(True)
    ledger.emptied(clock())
    ledger.retired(clock())
    closed = Report("orders", "sqlalchemy", ledger.read().counters_only(), created=3)
    registry = CollectorRegistry()
    registry.register(Fixed(busy, closed))
    return generate_latest(registry).decode()


def test_the_whole_exposition(text: str) -> None:
    assert (EXPECTED / "exposition.txt").read_text() == text


def test_promtool_finds_no_problem(text: str, promtool: str) -> None:
    result = subprocess.run(
        [promtool, "check", "metrics"], input=text.encode(), capture_output=True, check=False
    )
    assert (0, b"", b"") == (result.returncode, result.stdout, result.stderr)


def test_every_family_has_a_sample(text: str) -> None:
    missing = [
        family.name
        for family in FAMILIES
        if f"\n{family.name}{{" not in text
        and f"\n{family.name}_count{{" not in text
        and f"\n{family.name} " not in text
    ]
    assert [] == missing


def test_a_histogram_has_no_series_until_something_has_happened(clock: FakeClock) -> None:
    ledger = Ledger(Limits(2, math.inf, 1), clock, leak_after=1.0)
    registry = CollectorRegistry()
    collector = Fixed(Report("orders", "aiohttp", ledger.read(), 1))
    registry.register(collector)
    lines = generate_latest(registry).decode().splitlines()
    histograms = [family.name for family in FAMILIES if family.buckets]
    of_histograms = [line for line in lines if any(name in line for name in histograms)]
    # Their descriptions are there, so that whoever looks finds the names.
    described = [line for name in histograms for line in (f"# HELP {name}", f"# TYPE {name}")]
    assert described == [" ".join(line.split()[:3]) for line in of_histograms]
    ledger.finished(cells.ERROR, 0.0, None)
    collector.reports = (Report("orders", "aiohttp", ledger.read(), 1),)
    text = generate_latest(registry).decode()
    assert 'connpool_acquire_seconds_count{kind="aiohttp",pool="orders"} 1.0\n' in text
    assert "connpool_hold_seconds_count" not in text


def test_registering_does_not_collect(monkeypatch: pytest.MonkeyPatch) -> None:
    collector = PoolCollector(Groups[WatchedPool]())
    monkeypatch.setattr(collector, "collect", pytest.fail)
    CollectorRegistry().register(collector)
    assert len(FAMILIES) == len(list(collector.describe()))


def host(name: str, in_use: float) -> HostReading:
    return HostReading(name, in_use, 0, 0, 0)


class TestHosts:
    def test_the_busiest_have_a_label_and_the_rest_are_added_up(self) -> None:
        readings = [host(f"h{number:02}", 1) for number in range(SHOWN_HOSTS + 5)]
        expected = [host(f"h{number:02}", 1) for number in range(SHOWN_HOSTS)]
        assert (*expected, host("other", 5)) == busiest(readings)

    def test_the_same_host_of_several_pools_is_added_up(self) -> None:
        assert (host("a", 3), host("b", 5)) == busiest([host("a", 1), host("b", 5), host("a", 2)])

    def test_the_busiest_are_those_that_were_asked_for_most(self) -> None:
        busy = BusyHosts()
        for number in range(SHOWN_HOSTS + 5):
            for _ in range(number + 1):
                busy.ask(f"h{number:02}")
        assert [f"h{number:02}" for number in range(SHOWN_HOSTS + 4, 4, -1)] == busy.shown()

    def test_any_string_is_a_host(self) -> None:
        readings = busiest([host("a\ud800", 1), host("b\n" * 1000, 2), host("a\ud800", 3)])
        expected = {label_value("a\ud800"): 4, label_value("b\n" * 1000): 2}
        assert expected == {reading.host: reading.in_use for reading in readings}

    def test_a_crawler_costs_bounded_memory_and_keeps_the_busy_ones(self) -> None:
        busy = BusyHosts()
        for number in range(5000):
            busy.ask("busy")
            busy.ask(f"once {number}")
        assert "busy" == busy.shown()[0]
        assert len(busy._asked) <= 1000

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
from poolscope.readings.by_label import HOLDS, HOSTS, SharedLabels
from poolscope.readings.findings import PoolEvidence, findings_of
from poolscope.readings.hosts import SHOWN_HOSTS, HostReading
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
        hosts=(HostReading("api.example:443", 1, 1, 0, 1, 3, 2), HostReading("other", 0, 0, 0, 0)),
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


def host(name: str, in_use: float, opened: float = 0.0, failed: float = 0.0) -> HostReading:
    return HostReading(name, in_use, 0, 0, 0, opened, failed)


class TestHosts:
    def shared(self) -> SharedLabels[HostReading]:
        return SharedLabels(SHOWN_HOSTS, HOSTS)

    def test_the_first_have_a_label_and_the_rest_are_added_up(self) -> None:
        readings = [host(f"h{number:02}", 1, 2, 3) for number in range(SHOWN_HOSTS + 5)]
        expected = [host(f"h{number:02}", 1, 2, 3) for number in range(SHOWN_HOSTS)]
        assert (*expected, host("other", 5, 10, 15)) == self.shared().sums(readings)

    def test_the_same_host_of_several_pools_is_added_up(self) -> None:
        readings = [host("a", 1, 1, 2), host("b", 5, 7, 1), host("a", 2, 2, 2)]
        assert (host("a", 3, 3, 4), host("b", 5, 7, 1)) == self.shared().sums(readings)

    def test_the_counters_of_a_pool_that_has_ended_stay(self) -> None:
        shared = self.shared()
        shared.sums([host("a", 1, 5, 2)])
        shared.add_ended([host("a", 1, 5, 2)])
        for _ in range(2):
            assert (host("a", 0, 5, 2),) == shared.sums([])
        for _ in range(2):
            assert (host("a", 1, 8, 3),) == shared.sums([host("a", 1, 3, 1)])

    def test_a_pool_that_ends_moves_no_count_to_another_label(self) -> None:
        shared, names = self.shared(), [f"h{number:02}" for number in range(SHOWN_HOSTS + 1)]
        first, second = [host(name, 0, 1, 1) for name in names], [host(names[-1], 0, 7, 7)]
        before = shared.sums([*first, *second])
        shared.add_ended(first)
        assert before == shared.sums(second)
        shared.add_ended(second)
        assert before == shared.sums([])

    def test_any_string_is_a_host(self) -> None:
        readings = self.shared().sums(
            [host("a\ud800", 1), host("b\n" * 1000, 2), host("a\ud800", 3)]
        )
        expected = {label_value("a\ud800"): 4, label_value("b\n" * 1000): 2}
        assert expected == {reading.host: reading.in_use for reading in readings}

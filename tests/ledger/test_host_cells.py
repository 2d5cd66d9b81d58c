"""The connections of a pool by host: what is open, opened, failed and waited for."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolscope.fleet.segment_file import FileSegment
from poolscope.label_values import OTHER_LABEL, label_value
from poolscope.ledger.ledger import Ledger
from poolscope.ledger.open_holds import ALWAYS_HELD
from poolscope.ledger.segment import Segment
from poolscope.readings.hosts import SHOWN_HOSTS, HostReading
from poolscope.readings.limits import Limits
from poolscope.testing import FakeClock

NOTHING = HostReading("", 0, 0, 0, 0, 0, 0)


@pytest.fixture(params=["private", "mapped"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Ledger:
    """A ledger of a pool of many hosts, in private memory or in a file."""

    def segments(slots: int) -> Segment:
        if request.param == "private":
            return Segment(slots)
        facts = {"pool": "upstream", "kind": "aiohttp", "info": ["", "", ""], "setup": {}}
        return FileSegment(tmp_path / "1.1.pool", slots, facts)

    return Ledger(Limits(1000, 10, 0), clock, 60.0, segments, by_host=True)


def open_one(ledger: Ledger, clock: FakeClock, key: str, host: str | None) -> None:
    ledger.opening(f"for {key}", clock(), host)
    ledger.opened(f"for {key}", key, clock(), 0.1, False, host)


def take(ledger: Ledger, clock: FakeClock, key: str) -> None:
    """Take a connection on the hot path; in a file, the first use of a line is an event."""
    borrower = ledger.begin(key, clock(), ALWAYS_HELD)
    if borrower is not None:
        ledger.served(key, clock(), clock(), borrower)


def fail(ledger: Ledger, clock: FakeClock, host: str) -> None:
    ledger.opening("in vain", clock(), host)
    ledger.open_failed("in vain", clock(), 0.1)


def host(name: str, **numbers: int) -> HostReading:
    return NOTHING._replace(host=name, **numbers)


def sums(ledger: Ledger) -> tuple[float, ...]:
    """Return in use, idle, opening, waiting, opened and failed, summed over the hosts."""
    return tuple(map(sum, zip(*(each[1:] for each in ledger.hosts()), strict=True)))


def of_pool(ledger: Ledger) -> tuple[float, ...]:
    now = ledger.read()
    return now.in_use, now.idle, now.opening, now.waiting, now.opened, now.open_failed


def test_each_host_has_the_connections_to_it(ledger: Ledger, clock: FakeClock) -> None:
    open_one(ledger, clock, "a", "one:80")
    open_one(ledger, clock, "b", "one:80")
    open_one(ledger, clock, "c", "two:80")
    fail(ledger, clock, "two:80")
    ledger.opening("now", clock(), "two:80")
    ledger.waiting("caller", clock(), "one:80")
    take(ledger, clock, "a")
    ledger.served("c", clock(), clock())
    expected = [
        host("one:80", in_use=1, idle=1, waiting=1, opened=2),
        host("two:80", in_use=1, opening=1, opened=1, open_failed=1),
    ]
    assert (expected, of_pool(ledger)) == (ledger.hosts(), sums(ledger))
    assert ledger.end("a", clock())
    ledger.closed("c", clock())
    ledger.open_failed("now", clock(), 0.1)
    ledger.stopped_waiting("caller", clock())
    expected = [host("one:80", idle=2, opened=2), host("two:80", opened=1, open_failed=2)]
    assert (expected, of_pool(ledger)) == (ledger.hosts(), sums(ledger))
    ledger.emptied(clock())
    assert [0, 0] == [each.idle for each in ledger.hosts()]
    assert of_pool(ledger) == sums(ledger)


def test_an_event_that_comes_twice_counts_once(ledger: Ledger, clock: FakeClock) -> None:
    for _ in range(2):
        ledger.opening("attempt", clock(), "one:80")
        ledger.waiting("caller", clock(), "one:80")
    assert [host("one:80", opening=1, waiting=1)] == ledger.hosts()
    for _ in range(2):
        ledger.opened("attempt", "a", clock(), 0.1, False, "one:80")
        ledger.open_failed("attempt", clock(), 0.1)
        ledger.stopped_waiting("caller", clock())
    assert [host("one:80", idle=1, opened=1)] == ledger.hosts()
    for _ in range(2):
        ledger.closed("a", clock())
    assert [host("one:80", opened=1)] == ledger.hosts()
    assert of_pool(ledger) == sums(ledger)


def test_what_was_open_before_the_watch_counts_for_its_host(
    ledger: Ledger, clock: FakeClock
) -> None:
    ledger.adopted("a", clock(), False, ALWAYS_HELD, "one:80")
    ledger.adopted("b", clock(), True, ALWAYS_HELD, "one:80")
    assert [host("one:80", in_use=1, idle=1, opened=2)] == ledger.hosts()


def test_a_host_that_is_known_late_has_the_connection_and_not_the_count(
    ledger: Ledger, clock: FakeClock
) -> None:
    """No counter falls: it has been counted once, and stays where it was."""
    ledger.adopted("a", clock(), True)
    assert [host(OTHER_LABEL, in_use=1, opened=1)] == ledger.hosts()
    ledger.returned("a", clock(), "one:80")
    assert [host(OTHER_LABEL, opened=1), host("one:80", idle=1)] == ledger.hosts()
    ledger.closed("a", clock())
    assert [host(OTHER_LABEL, opened=1), host("one:80")] == ledger.hosts()
    assert of_pool(ledger) == sums(ledger)


def test_a_host_keeps_its_label_whatever_comes_later(ledger: Ledger, clock: FakeClock) -> None:
    names = [f"host{number:02}:80" for number in range(SHOWN_HOSTS + 5)]
    for name in names:
        open_one(ledger, clock, name, name)
        fail(ledger, clock, name)
    for _ in range(50):
        fail(ledger, clock, names[-1])
    own = [host(name, idle=1, opened=1, open_failed=1) for name in names[:SHOWN_HOSTS]]
    other = host(OTHER_LABEL, idle=5, opened=5, open_failed=55)
    assert ([*own, other], of_pool(ledger)) == (ledger.hosts(), sums(ledger))


def test_a_connection_of_an_unknown_host_takes_no_label_from_the_others(
    ledger: Ledger, clock: FakeClock
) -> None:
    ledger.adopted("a", clock(), False)
    names = [f"host{number:02}:80" for number in range(SHOWN_HOSTS + 1)]
    for name in names:
        open_one(ledger, clock, name, name)
    assert [OTHER_LABEL, *names[:-1]] == [each.host for each in ledger.hosts()]
    assert host(OTHER_LABEL, idle=2, opened=2) == ledger.hosts()[0]


def test_any_string_is_a_host_of_bounded_length(ledger: Ledger, clock: FakeClock) -> None:
    names = ["a\ud800\n:80", "b" * 1000]
    for name in names:
        open_one(ledger, clock, name, name)
    assert list(map(label_value, names)) == [each.host for each in ledger.hosts()]


def test_a_connection_that_is_being_set_up_is_in_use_of_its_host(
    ledger: Ledger, clock: FakeClock
) -> None:
    ledger.opening("attempt", clock(), "one:80")
    ledger.opened("attempt", "a", clock(), 0.1, True, "one:80")
    assert [host("one:80", in_use=1, opened=1)] == ledger.hosts()
    ledger.served("a", clock(), clock(), reused=False)
    assert [host("one:80", in_use=1, opened=1)] == ledger.hosts()


def test_a_host_that_was_taken_back_with_its_event_begins_at_zero(
    ledger: Ledger, clock: FakeClock
) -> None:
    """An exception has interrupted the event that added it, and another host has its cells."""
    ledger._begin_change()
    ledger._connections.add("a", "one:80")
    ledger.changes.roll_back()
    open_one(ledger, clock, "b", "two:80")
    assert [host("two:80", idle=1, opened=1)] == ledger.hosts()


def test_a_pool_of_one_server_has_no_hosts(clock: FakeClock) -> None:
    ledger = Ledger(Limits(10, 10, 0), clock)
    ledger.opening("attempt", clock())
    ledger.opened("attempt", "a", clock(), 0.1, False)
    ledger.waiting("caller", clock())
    assert [] == ledger.hosts()


def test_a_forked_child_begins_without_hosts(ledger: Ledger, clock: FakeClock) -> None:
    open_one(ledger, clock, "a", "one:80")
    ledger.forked()
    assert [] == ledger.hosts()
    ledger.served("a", clock(), clock(), host="one:80")
    assert [host("one:80", in_use=1, opened=1)] == ledger.hosts()

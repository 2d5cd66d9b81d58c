"""
The base of the state machines: counts operations, and checks invariants after each.

A machine does to a pool whatever a program or a server can do, in random order. After each
operation the reading must equal the pool's own structures, what the server sees, and what the
machine has done.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from unittest import mock

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from poolscope import Watch
from poolscope.demo.postgres import EmbeddedPostgres
from poolscope.errors import internal_errors
from poolscope.readings.reading import Reading
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from stateful.forks import problem_in_child
from support.histograms import count_of

COUNTERS: Final = (
    "acquired", "timed_out", "cancelled", "failed", "waited", "gave_up", "reused",
    "opened", "open_failed", "closed", "invalidated_hard", "invalidated_soft", "nested",
    "leaks_overdue", "leaks_abandoned", "leaks_recovered",
    "in_use_seconds", "waiting_seconds", "saturated_seconds",
)  # fmt: skip


LEAK_AFTER: Final = 1.5
"""Seconds; a hold is overdue after two of the seconds by which a machine advances the clock."""


@dataclass(frozen=True)
class Gauges:
    """How many connections are in use, idle and being opened, and how many callers wait."""

    in_use: int
    idle: int
    opening: int
    waiting: int


def operation(**strategies: Any) -> Callable[[Callable[..., None]], Any]:
    """Decorate a rule: the machine counts how often it was applied."""

    def decorate(apply: Callable[..., None]) -> Any:
        @functools.wraps(apply)
        def counted(self: PoolMachine, **drawn: Any) -> None:
            self.done[apply.__name__] += 1
            with self.noting_differences(apply.__name__):
                apply(self, **drawn)

        applied: Any = rule(**strategies)  # hypothesis has no types for it
        return applied(counted)

    return decorate


class PoolMachine(RuleBasedStateMachine):
    """
    A watched pool, and everything that the machine knows of it.

    begun: how many attempts to get a connection have begun.
    in_flight: how many of them have not ended.
    adopted: how many connections were open when the watch began.
    dropped_out: how many connections callers have dropped without returning them.
    patchable: methods of the library's classes that others may patch.
    """

    done: ClassVar[Counter[str]] = Counter()
    differences: ClassVar[list[str]] = []
    postgres: ClassVar[EmbeddedPostgres]
    patchable: ClassVar[Sequence[tuple[type, str]]] = ()
    watch: Watch

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.watches = Watches(self.clock)
        self.begun = 0
        self.adopted = 0
        self.dropped_out = 0
        self._before: Reading | None = None
        self._found = 0.0
        self._errors_before = internal_errors.count
        self._patches: dict[tuple[type, str], Any] = {}

    def in_flight(self) -> int:
        """Return how many attempts have begun and not ended."""
        raise NotImplementedError

    def gauges(self) -> Gauges:
        """Return the gauges according to the pool's own structures."""
        raise NotImplementedError

    def holds(self) -> int:
        """Return how many callers hold a connection."""
        raise NotImplementedError

    def out(self) -> int:
        """Return how many connections are in use, with those that were before the watch."""
        raise NotImplementedError

    def compare_with_server(self, connections: int) -> None:
        """Wait until the server has this many connections from the pool; fail if it never has."""
        raise NotImplementedError

    def reading(self) -> Reading:
        self.watch._pool.check_leaks()
        return self.watch._pool._groups.read(self.watch._pool)

    def most_lost(self) -> float:
        """Return how many connections can be abandoned at most."""
        return self.dropped_out

    def lost_slots(self) -> int:
        """Return how many slots count as lost by the library: they are in use without a caller."""
        return sum(len(ledger._lost_slots) for ledger in self.watch._pool.ledgers)

    @operation()
    def a_second_passes(self) -> None:
        before = self.reading()
        self.clock.advance(1.0)
        after = self.reading()
        saturated = before.in_use + before.opening >= before.limit > 0
        assert before.in_use_seconds + before.in_use == after.in_use_seconds
        assert before.waiting_seconds + before.waiting == after.waiting_seconds
        assert before.saturated_seconds + saturated == after.saturated_seconds

    # Anyone

    @operation()
    def a_child_is_forked(self) -> None:
        assert "" == problem_in_child(self.look_in_child)

    def look_in_child(self) -> None:
        """In a forked child, see that what the pool has done is its parent's."""
        self.counts_from_zero(PoolMachine.reading(self), 0)

    def counts_from_zero(self, reading: Reading, acquired: int) -> None:
        """Check a reading of the child, which has acquired that many connections."""
        own = {"acquired", "opened", "closed", "reused"} if acquired else set()
        assert {name: 0 for name in COUNTERS if name not in own} == {
            name: getattr(reading, name) for name in COUNTERS if name not in own
        }
        assert acquired == reading.acquired
        assert reading.opened - reading.closed == reading.in_use + reading.idle
        assert (0, 0, 0) == (reading.in_use, reading.opening, reading.waiting)
        assert [] == self.watch.holders()
        assert self._errors_before == internal_errors.count

    @operation(which=st.integers(0, 11))
    def a_method_is_patched_or_restored(self, which: int) -> None:
        if not self.patchable:
            return
        cls, name = method = self.patchable[which % len(self.patchable)]
        if method in self._patches:
            self._patches.pop(method).stop()
            return
        original = getattr(cls, name)

        @functools.wraps(original)
        def through(*args: Any, **kwargs: Any) -> Any:
            return original(*args, **kwargs)

        self._patches[method] = mock.patch.object(cls, name, through)
        self._patches[method].start()

    def restore_methods(self) -> None:
        """Undo all patches. Each machine's `teardown` begins with this."""
        while self._patches:
            self._patches.popitem()[1].stop()

    @invariant()
    def the_reading_is_true(self) -> None:
        if hasattr(self, "watch"):
            with self.noting_differences("the reading"):
                self._compare(self.reading())

    @contextmanager
    def noting_differences(self, where: str) -> Iterator[None]:
        """Note an error of a check, because hypothesis may report varying timing instead of it."""
        try:
            yield
        except AssertionError as error:
            self.differences.append(f"{where}: {error}")
            raise

    def _compare(self, reading: Reading) -> None:
        self._gauges_are_the_pools_own(reading)
        self._counters_obey_their_laws(reading)
        if self._before is not None:
            fallen = [
                name for name in COUNTERS if getattr(reading, name) < getattr(self._before, name)
            ]
            assert [] == fallen
        self._before = reading

    def _gauges_are_the_pools_own(self, reading: Reading) -> None:
        read = Gauges(
            int(reading.in_use) - self.lost_slots(),
            int(reading.idle),
            int(reading.opening),
            int(reading.waiting),
        )
        expected = self.gauges()
        assert expected == read, (expected, read)
        self.compare_with_server(read.in_use + read.idle)

    def _counters_obey_their_laws(self, reading: Reading) -> None:
        ended = reading.acquired + reading.timed_out + reading.cancelled + reading.failed
        assert self.begun == ended + self.in_flight()
        lost = self.lost_slots()
        assert reading.opened - reading.closed == reading.in_use - lost + reading.idle
        assert ended == count_of(reading.acquire_seconds)
        assert reading.waited == count_of(reading.queue_seconds)
        assert reading.gave_up <= min(reading.waited, ended - reading.acquired)
        # A lost slot that the pool has back was a hold that nobody had acquired.
        found = count_of(reading.hold_seconds) + self.holds() - reading.acquired
        assert 0 <= found <= reading.leaks_abandoned - lost
        assert self._before is None or found >= self._found
        self._found = found
        assert reading.opened + reading.open_failed == count_of(reading.open_seconds) + self.adopted
        assert reading.reused <= reading.acquired
        assert self._errors_before == internal_errors.count
        holders = self.watch.holders()
        assert self.out() + lost == len(holders)
        assert sum(holder.overdue for holder in holders) == reading.overdue
        assert sum(holder.abandoned for holder in holders) == reading.abandoned
        assert reading.abandoned <= reading.leaks_abandoned <= self.most_lost() + lost + found
        assert reading.leaks_recovered + reading.overdue <= reading.leaks_overdue
        sites = [site for ledger in self.watch._pool.ledgers for site in ledger.sites()]
        named = sum(holder.site is not None for holder in holders)
        assert sum(site.in_use for site in sites) == named
        assert sum(site.overdue for site in sites) <= reading.overdue
        assert sum(site.abandoned for site in sites) <= reading.abandoned
        assert reading.in_use_peak >= reading.in_use
        assert reading.waiting_peak >= reading.waiting

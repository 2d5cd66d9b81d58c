"""
Pools by name: those that share a name and a kind are added up.

A pool that is gone leaves its counters with its name, so that no counter falls when pools come
and go.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING

from poolscope.callsites.frames import Site
from poolscope.ledger.ledger import Ledger
from poolscope.pacing import Courtesy
from poolscope.readings.evidence import Sightings
from poolscope.readings.findings import FINE, WATCHED, Case, Finding, findings_of
from poolscope.readings.holders import Holder, SharedSites
from poolscope.readings.hosts import busiest
from poolscope.readings.reading import NOTHING, Reading, Rising, total
from poolscope.readings.report import HostReading, Report
from poolscope.watching.pool_log import Alarm

if TYPE_CHECKING:
    from poolscope.watching.watch import Watch


class Group:
    """
    All pools of one name and kind.

    ended: the counters of those that are gone.
    created: how many pool objects there ever were.
    shown: False after the last watch was ended with `unwatch`, until there is a new one.
    """

    __slots__ = (
        "_last_setup", "_rising", "alarm", "created", "ended", "kind", "name", "shown",
        "sightings", "sites", "watches",
    )  # fmt: skip

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        self.ended = NOTHING
        self.created = 0
        self.shown = False
        self.sites = SharedSites()
        self.alarm = Alarm(name, kind)
        self.sightings = Sightings(self._sighted)
        self.watches: list[Watch] = []
        self._last_setup = FINE
        self._rising = Rising()

    def take(self, watch: Watch) -> None:
        """Have a further watch."""
        watch.alarm, watch.sightings = self.alarm, self.sightings
        watch.first_of_name = self.created == 0
        self.sightings.note(WATCHED, watch.site)
        self.watches.append(watch)
        self.shown = True

    def leave(self, watch: Watch) -> None:
        """Have a watch no more, whose pools are gone."""
        if watch in self.watches:
            self.watches.remove(watch)
            self._last_setup = watch.setup

    def take_pool(self, watch: Watch, ledger: Ledger) -> None:
        """Have a further pool object of one of the watches."""
        watch.ledgers.append(ledger)
        ledger.sightings = self.sightings
        for rule, site in self.sightings:
            ledger.sighted(rule, site)
        self.created += 1

    def read(self) -> Reading:
        """Return the sum of all pools."""
        readings = [ledger.read() for watch in self.watches for ledger in watch.ledgers]
        if len(readings) == 1 and self.created == 1:
            return readings[0]
        values = total([*readings, self.ended]).values()
        return Reading.of(self._rising.raised(values))

    def _sighted(self, rule: str, site: Site | None) -> None:
        for watch in list(self.watches):
            for ledger in list(watch.ledgers):
                ledger.sighted(rule, site)

    def findings(self, reading: Reading) -> tuple[Finding, ...]:
        # Of pools that come and go there may be none just now.
        setups = {watch.setup for watch in self.watches} or {self._last_setup}
        seen = self.sightings.read()
        cases = [Case(setup, reading, self.created, seen) for setup in setups]
        return findings_of(self.name, self.kind, cases)

    def report(self) -> Report:
        ledgers = [ledger for watch in self.watches for ledger in watch.ledgers]
        reading = self.read()
        hosts: list[HostReading] = []
        for watch in self.watches:
            hosts += watch.hosts()
        return Report(
            pool=self.name,
            kind=self.kind,
            reading=reading,
            created=self.created,
            infos=tuple(sorted({watch.info for watch in self.watches if watch.info})),
            hosts=busiest(hosts),
            sites=self.sites.added(site for ledger in ledgers for site in ledger.sites()),
            findings=self.findings(reading),
        )


class Groups:
    """The groups of one registry. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._groups: dict[tuple[str, str], Group] = {}
        self._gone: deque[tuple[Watch, Ledger]] = deque()
        self._process = os.getpid()

    def add(self, watch: Watch) -> None:
        with self._lock:
            self._settle()
            group = self._groups.setdefault((watch.name, watch.kind), Group(watch.name, watch.kind))
            group.take(watch)

    def add_pool(self, watch: Watch, ledger: Ledger) -> None:
        """A watch has a further pool object: its first, or one that replaces it."""
        with self._lock:
            self._settle()
            self._groups[watch.name, watch.kind].take_pool(watch, ledger)

    def pool_gone(self, watch: Watch, ledger: Ledger) -> None:
        """
        A pool object was collected.

        Takes no lock, as the garbage collector calls it, whatever else is on the stack.
        """
        self._gone.append((watch, ledger))

    def remove(self, watch: Watch) -> None:
        """End a watch: its counters stay with the name, but with the last one nothing is shown."""
        with self._lock:
            self._settle()
            for ledger in list(watch.ledgers):
                self._end(watch, ledger)
            group = self._groups[watch.name, watch.kind]
            group.leave(watch)
            group.shown = bool(group.watches)

    def empty(self) -> bool:
        """Whether nothing is shown."""
        with self._lock:
            return not any(group.shown for group in self._groups.values())

    def read(self, watch: Watch) -> Reading:
        """Return the sum of one watch's pools, those that are gone included."""
        with self._lock:
            self._settle()
            return total([*(ledger.read() for ledger in watch.ledgers), watch.ended])

    def holders(self, watch: Watch) -> list[Holder]:
        """Return who has what is out of one watch's pools."""
        with self._lock:
            self._settle()
            return [holder for ledger in watch.ledgers for holder in ledger.holders()]

    def findings(self, watch: Watch) -> tuple[Finding, ...]:
        """Return what is found in the pools that have the name of the watch."""
        with self._lock:
            self._settle()
            group = self._groups[watch.name, watch.kind]
            return group.findings(group.read())

    def watches(self) -> list[Watch]:
        with self._lock:
            self._settle()
            return [watch for group in self._groups.values() for watch in group.watches]

    def reports(self) -> list[Report]:
        """Return a report for each name and kind, in the order in which they came."""
        with self._lock:
            self._settle()
            groups = list(self._groups.values())
        courtesy = Courtesy()
        return [report for group in groups for report in self._reports(group, courtesy)]

    def _reports(self, group: Group, courtesy: Courtesy) -> list[Report]:
        """Return the report of a group, if it is shown; who adds a pool waits for no more."""
        courtesy.let_others_run()
        for watch in list(group.watches):
            watch.look()
        with self._lock:
            self._settle()
            return [group.report()] if group.shown else []

    def follow_fork(self) -> None:
        """
        In the child of a fork, let all numbers start anew: those of the parent are the parent's.

        Whatever else the application does after a fork may come first, and come here again.
        """
        if self._process == os.getpid():
            return
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._gone.clear()
        for group in self._groups.values():
            group.ended = NOTHING
            group._rising = Rising()
            group.sites = SharedSites()
            group.alarm = Alarm(group.name, group.kind)
            group.sightings = Sightings(group._sighted)
            group.created = 0
            watches, group.watches = group.watches, []
            for watch in watches:
                watch.ended = NOTHING
                group.take(watch)
                ledgers, watch.ledgers = watch.ledgers, []
                for ledger in ledgers:
                    ledger.forked()
                    group.take_pool(watch, ledger)

    def _settle(self) -> None:
        while self._gone:
            self._end(*self._gone.popleft())

    def _end(self, watch: Watch, ledger: Ledger) -> None:
        if ledger not in watch.ledgers:
            return
        watch.ledgers.remove(ledger)
        counters = ledger.read().ended()
        watch.ended = total([watch.ended, counters])
        group = self._groups[watch.name, watch.kind]
        group.ended = total([group.ended, counters])
        group.sites.ended(ledger.sites())
        if not watch.ledgers:
            group.leave(watch)

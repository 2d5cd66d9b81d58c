"""
Groups of pools: the numbers of pools that share a name and a kind are added up.

A pool that ends leaves its counters to its group, so that no counter falls when pools come and go.
Once there are many groups without a pool, they leave theirs to the group of all other names.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Generic

from poolscope.ledger.ledger import Ledger
from poolscope.process.forks import forks
from poolscope.process.pacing import Pacer
from poolscope.readings.evidence import Evidence
from poolscope.readings.findings import Finding
from poolscope.readings.holders import Holder
from poolscope.readings.labels import MAX_ENDED_NAMES, OTHER_POOLS
from poolscope.readings.limits import Clock
from poolscope.readings.reading import EMPTY_READING, Monotonic, Reading, sum_readings
from poolscope.readings.report import Report
from poolscope.watching.member import M
from poolscope.watching.pool_group import PoolGroup
from poolscope.watching.pool_log import PoolLog


class Groups(Generic[M]):
    """The groups of one registry. All methods may be called from any thread."""

    def __init__(self, wall_clock: Clock = time.time) -> None:
        """`wall_clock` returns the Unix time."""
        self._wall_clock = wall_clock
        self._process_lock = threading.RLock()
        self._groups: dict[tuple[str, str], PoolGroup[M]] = {}
        # Those without members, in the order in which they have lost the last one.
        self._without_members: dict[tuple[str, str], None] = {}
        self._gone: deque[tuple[M, Ledger, float]] = deque()

    @property
    def _lock(self) -> threading.RLock:
        """The lock of this process: one that a child inherits may stay locked for ever."""
        forks().follow()
        return self._process_lock

    def add(self, member: M) -> None:
        """Add a watched pool, with the pool objects that it has already: all of it or nothing."""
        with self._lock:
            self._fold_gone()
            key = member.name, member.kind
            group = self._group(key)
            evidence, ledgers, created = member.evidence, member.ledgers, group.created
            try:
                member.ledgers = []
                group.add(member)
                for ledger in ledgers:
                    group.add_pool(member, ledger)
                for rule, site in evidence:
                    group.evidence.add(rule, site)
            except BaseException:
                group.remove(member)
                group.created = created
                group.hide_if_empty()
                raise
            self._groups[key] = group
            self._without_members.pop(key, None)

    def _group(self, key: tuple[str, str]) -> PoolGroup[M]:
        """Return the group of a name and kind, which is not among the groups yet if it is new."""
        return self._groups.get(key) or PoolGroup[M](*key, self._wall_clock())

    def _lost_member(self, group: PoolGroup[M]) -> None:
        """Limit the number of groups without members, after a group has lost one."""
        if group.members or group.name == OTHER_POOLS:
            return
        self._without_members[group.name, group.kind] = None
        while len(self._without_members) > MAX_ENDED_NAMES:
            key = next(iter(self._without_members))
            given_up = self._groups.pop(key, None)
            if given_up is not None and given_up.shown:
                other = OTHER_POOLS, given_up.kind
                self._groups[other] = self._group(other)
                self._groups[other].take_over(given_up)
            del self._without_members[key]

    def add_pool(self, member: M, ledger: Ledger) -> None:
        """Add a pool object of a member: its first, or one that replaces another."""
        with self._lock:
            self._fold_gone()
            if member.pool_log is None:  # the member is not added yet; `add` adds both
                member.ledgers.append(ledger)
            else:
                key = member.name, member.kind
                self._groups[key] = self._group(key)
                self._groups[key].add_pool(member, ledger)

    def pool_gone(self, member: M, ledger: Ledger) -> None:
        """
        A pool object was collected.

        The garbage collector calls this at any point of any thread, so it takes no lock.
        """
        self._gone.append((member, ledger, member.clock()))

    def remove(self, member: M) -> None:
        """End a member: its group keeps the counters, and is not shown without a member."""
        with self._lock:
            self._fold_gone()
            for ledger in list(member.ledgers):
                self._end(member, ledger, member.clock() if ledger.closed_for_good else None)
            group = self._groups.get((member.name, member.kind))
            if group is not None:
                group.remove(member)
                group.hide_if_empty()
                self._lost_member(group)

    def leave(self, member: M, used: bool) -> None:
        """
        End a member that goes on under another name.

        used: whether anybody has asked it for a connection. What it has counted then stays in the
            totals of its group; else it leaves no trace.
        """
        with self._lock:
            self._fold_gone()
            key = member.name, member.kind
            group = self._group(key)
            if not used:
                group.forget(member)
            for ledger in list(member.ledgers):
                self._leave(member, ledger, used)
            group.remove(member)
            if group.created:
                self._lost_member(group)
            else:
                self._groups.pop(key, None)

    def _leave(self, member: M, ledger: Ledger, used: bool) -> None:
        if used:
            self._end(member, ledger, None)
        else:
            member.ledgers.remove(ledger)
            ledger.discard(member.clock())

    def empty(self) -> bool:
        """Whether no group is shown."""
        with self._lock:
            return not any(group.shown for group in self._groups.values())

    def read(self, member: M) -> Reading:
        """Return the sum of one member's pool objects, with those that have ended."""
        with self._lock:
            self._fold_gone()
            return sum_readings([*(ledger.read() for ledger in member.ledgers), member.ended])

    def holders(self, member: M) -> list[Holder]:
        """Return the holders of all connections in use of one member."""
        with self._lock:
            self._fold_gone()
            return [holder for ledger in member.ledgers for holder in ledger.holders()]

    def findings(self, member: M) -> tuple[Finding, ...]:
        """Return the findings of the group of the member."""
        with self._lock:
            self._fold_gone()
            group = self._groups.get((member.name, member.kind))
            if group is None:  # it was given up
                return ()
            each = group.read_each()
            return group.findings(each, group.total(each))

    def members(self) -> list[M]:
        with self._lock:
            self._fold_gone()
            return [member for group in self._groups.values() for member in group.members]

    def reports(self) -> list[Report]:
        """Return a report of each group, in the order in which the groups were made."""
        with self._lock:
            self._fold_gone()
            groups = list(self._groups.values())
        pacer = Pacer()
        return [report for group in groups for report in self._reports(group, pacer)]

    def _reports(self, group: PoolGroup[M], pacer: Pacer) -> list[Report]:
        """Return the report of a group if it is shown; holds the lock for this group only."""
        pacer.yield_gil()
        for member in list(group.members):
            member.check_leaks()
        with self._lock:
            self._fold_gone()
            return [group.report()] if group.shown else []

    def has_forked(self) -> None:
        """Let the pools that this process never used rest until it uses them."""
        for member in self.members():
            for ledger in list(member.ledgers):
                ledger.has_forked()

    def forked(self) -> None:
        """In the child of a fork, reset all numbers: until the fork they are the parent's."""
        self._process_lock = threading.RLock()
        self._gone.clear()
        self._without_members.clear()
        self._groups = {key: group for key, group in self._groups.items() if group.members}
        for group in self._groups.values():
            group.ended = EMPTY_READING
            group._monotonic = Monotonic()
            group._forget_labels()
            group.turnover = None
            group.pool_log = PoolLog(group.name, group.kind)
            group.evidence = Evidence(group._add_evidence)
            group.created, group.since = 0, self._wall_clock()
            members, group.members = group.members, []
            for member in members:
                member.ended = EMPTY_READING
                group.add(member)
                ledgers, member.ledgers = member.ledgers, []
                for ledger in ledgers:
                    ledger.forked()
                    group.add_pool(member, ledger)

    def _fold_gone(self) -> None:
        while self._gone:
            self._end(*self._gone.popleft())

    def _end(self, member: M, ledger: Ledger, gone_at: float | None) -> None:
        """A pool object was collected or closed at this time; None: it was only unwatched."""
        if ledger not in member.ledgers:
            return
        member.ledgers.remove(ledger)
        if member.pool_log is None:  # the member is not added yet
            return
        counters = ledger.read().counters_only()
        member.ended = sum_readings([member.ended, counters])
        key = member.name, member.kind
        group = self._groups[key] = self._group(key)
        group.ended = sum_readings([group.ended, counters])
        labelled = ledger.labelled()
        group.sites.add_ended(labelled.sites)
        group.operations.add_ended(labelled.operations)
        group.hosts.add_ended(labelled.hosts)
        ledger.ended(member.clock())
        if not member.ledgers:
            group.remove(member)
            if gone_at is not None:
                group.has_ended(member, gone_at)
            self._lost_member(group)

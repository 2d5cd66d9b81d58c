"""
Groups of pools: the numbers of pools that share a name and a kind are added up.

A pool that ends leaves its counters to its group, so that no counter falls when pools come and go.
Once there are many groups without a pool, they leave theirs to the group of all other names.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Generic

from poolscope.callsites.frames import SHOWN_SITES
from poolscope.callsites.operations import SHOWN_OPERATIONS
from poolscope.ledger.ledger import Ledger
from poolscope.process.forks import forks
from poolscope.process.pacing import Pacer
from poolscope.readings.by_label import HOLDS, HOSTS, LabelReading, SharedLabels
from poolscope.readings.evidence import Evidence, Line
from poolscope.readings.exemplars import slowest
from poolscope.readings.findings import WATCHED, Finding, PoolEvidence, findings_of
from poolscope.readings.holders import Holder
from poolscope.readings.hosts import SHOWN_HOSTS, HostReading
from poolscope.readings.labels import MAX_ENDED_NAMES, OTHER_POOLS
from poolscope.readings.limits import Clock
from poolscope.readings.pool_config import DEFAULT_CONFIG
from poolscope.readings.reading import EMPTY_READING, Monotonic, Reading, sum_readings
from poolscope.readings.report import Report
from poolscope.readings.saturation import too_small
from poolscope.readings.turnover import Turnover
from poolscope.watching.member import M
from poolscope.watching.pool_log import PoolLog


class PoolGroup(Generic[M]):
    """
    All pools of one name and kind.

    ended: the sum of the counters of pools that have ended.
    created: how many pool objects there have been.
    since: the Unix time since when the counters count.
    turnover: of the pools that have ended, if any has.
    shown: False after `unwatch` has ended the last member, until there is a new one, unless it has
        taken over counters of other names.
    """

    __slots__ = (
        "_has_others",
        "_last_config",
        "_monotonic",
        "created",
        "ended",
        "evidence",
        "hosts",
        "kind",
        "members",
        "name",
        "operations",
        "pool_log",
        "shown",
        "since",
        "sites",
        "turnover",
    )

    def __init__(self, name: str, kind: str, since: float) -> None:
        self.name = name
        self.kind = kind
        self.since = since
        self.ended = EMPTY_READING
        self.created = 0
        self.shown = False
        self._forget_labels()
        self.turnover: Turnover | None = None
        self.pool_log = PoolLog(name, kind)
        self.evidence = Evidence(self._add_evidence)
        self.members: list[M] = []
        self._has_others = False
        self._last_config = DEFAULT_CONFIG
        self._monotonic = Monotonic()

    def _forget_labels(self) -> None:
        self.sites = SharedLabels[LabelReading](SHOWN_SITES, HOLDS)
        self.operations = SharedLabels[LabelReading](SHOWN_OPERATIONS, HOLDS)
        self.hosts = SharedLabels[HostReading](SHOWN_HOSTS, HOSTS)

    def add(self, member: M) -> None:
        """Add a watched pool to the group."""
        member.pool_log, member.evidence = self.pool_log, self.evidence
        self.evidence.add(WATCHED, member.site)
        self.members.append(member)
        self.shown = True

    def remove(self, member: M) -> None:
        """Remove a watched pool whose pool objects have all ended."""
        if member in self.members:
            self.members.remove(member)
            self._last_config = member.config

    def forget(self, member: M) -> None:
        """Have the group be as if the watched pool had never been in it."""
        self.created -= len(member.ledgers)
        self.remove(member)

    def hide_if_empty(self) -> None:
        """Show the group no more if it has nothing but counters of members that were unwatched."""
        self.shown = bool(self.members) or self._has_others

    def add_pool(self, member: M, ledger: Ledger) -> None:
        """Add a pool object of a member."""
        member.ledgers.append(ledger)
        ledger.evidence = self.evidence
        for rule, site in self.evidence:
            ledger.add_evidence(rule, site)
        self.created += 1

    def take_over(self, group: PoolGroup[M]) -> None:
        """Add the counters of a group of another name, which has no members and is given up."""
        self.ended = sum_readings([self.ended, group.total(())])
        self.created += group.created
        self.since = min(self.since, group.since)
        self.sites.add_ended(group.sites.sums(()))
        self.operations.add_ended(group.operations.sums(()))
        self.hosts.add_ended(group.hosts.sums(()))
        self._has_others, self.shown, group.shown = True, True, False

    def read_each(self) -> list[tuple[M, Reading]]:
        """Return a reading of each pool object, with the member that it is of."""
        return [(member, ledger.read()) for member in self.members for ledger in member.ledgers]

    def total(self, each: Sequence[tuple[M, Reading]]) -> Reading:
        """Return the sum of all pools, with those that have ended."""
        readings = [reading for _, reading in each]
        if len(readings) == 1 and self.created == 1:
            return readings[0]
        values = sum_readings([*readings, self.ended]).values()
        return Reading.of(self._monotonic.clamp(values))

    def _add_evidence(self, rule: str, site: Line | None) -> None:
        for member in list(self.members):
            for ledger in list(member.ledgers):
                ledger.add_evidence(rule, site)

    def has_ended(self, member: M, gone_at: float) -> None:
        """A pool has come and gone, at a reading of the clock."""
        if self.turnover is None:
            self.turnover = Turnover()
        self.turnover.add(member.site, member.ended.acquired, member.since, gone_at)
        self._check(self.turnover, [member])

    def _check(self, turnover: Turnover, members: Iterable[M]) -> None:
        for member in members:
            if turnover.is_high(member.site):
                self.evidence.add("pool-per-request", member.site)

    def _check_closed(self, each: Sequence[tuple[M, Reading]]) -> None:
        """Look at the pools that were closed and still exist; most programs have none."""
        closed = [member for member in self.members if member.closed]
        if closed:
            turnover = self.turnover.copy() if self.turnover is not None else Turnover()
            for member in closed:
                mine = sum(reading.acquired for owner, reading in each if owner is member)
                acquired = member.ended.acquired + mine
                turnover.add(member.site, acquired, member.since, member.clock())
            self._check(turnover, closed)

    def findings(self, each: Sequence[tuple[M, Reading]], reading: Reading) -> tuple[Finding, ...]:
        self._check_closed(each)
        # Between two pools that share the name there may be no member for a while.
        configs = {member.config for member in self.members} or {self._last_config}
        evidence = self.evidence.read()
        if self.name == OTHER_POOLS and not self.members:
            return ()  # its numbers are those of any pools, which have nothing in common
        small = too_small((member.address, reading) for member, reading in each)
        cases = [PoolEvidence(config, reading, evidence, (), small) for config in configs]
        return findings_of(self.name, self.kind, cases)

    def report(self) -> Report:
        ledgers = [ledger for member in self.members for ledger in member.ledgers]
        each = self.read_each()
        reading = self.total(each)
        labelled = [ledger.labelled() for ledger in ledgers]
        return Report(
            pool=self.name,
            kind=self.kind,
            reading=reading,
            created=self.created,
            infos=tuple(sorted({member.info for member in self.members if member.info})),
            hosts=self.hosts.sums(host for each in labelled for host in each.hosts),
            sites=self.sites.sums(site for each in labelled for site in each.sites),
            operations=self.operations.sums(
                operation for each in labelled for operation in each.operations
            ),
            findings=self.findings(each, reading),
            since=self.since,
            exemplars=slowest(each.exemplars for each in labelled),
        )


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

"""The pools of one name and kind, whose numbers are added up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic

from poolscope.callsites.frames import SHOWN_SITES
from poolscope.callsites.operations import SHOWN_OPERATIONS
from poolscope.ledger.ledger import Ledger
from poolscope.readings.by_label import HOLDS, HOSTS, LabelReading, SharedLabels
from poolscope.readings.evidence import Evidence, Line
from poolscope.readings.exemplars import slowest
from poolscope.readings.findings import WATCHED, Finding, PoolEvidence, findings_of
from poolscope.readings.hosts import SHOWN_HOSTS, HostReading
from poolscope.readings.labels import OTHER_POOLS
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

"""What the groups of pools need to know of a watched pool."""

from __future__ import annotations

from typing import Protocol, TypeVar

from poolscope.callsites.frames import Site
from poolscope.ledger.ledger import Ledger
from poolscope.readings.evidence import Evidence
from poolscope.readings.limits import Clock
from poolscope.readings.pool_config import PoolConfig
from poolscope.readings.reading import Reading
from poolscope.readings.report import Info
from poolscope.watching.pool_log import PoolLog


class Member(Protocol):
    """What a group needs to know of a watched pool."""

    config: PoolConfig
    ledgers: list[Ledger]
    ended: Reading
    pool_log: PoolLog | None
    evidence: Evidence

    # Read-only for the group.
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def site(self) -> Site | None: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def since(self) -> float: ...
    @property
    def address(self) -> str: ...
    @property
    def info(self) -> Info | None: ...
    @property
    def closed(self) -> bool: ...

    def check_leaks(self) -> None: ...


M = TypeVar("M", bound=Member)

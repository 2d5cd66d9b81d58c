"""What there is to say of one name and kind of pool: the catalogue's getters take it apart."""

from __future__ import annotations

from dataclasses import dataclass

from poolscope.findings import Finding
from poolscope.holders import SiteReading
from poolscope.reading import Reading


@dataclass(frozen=True, slots=True, order=True)
class Info:
    """What a pool is: its class, the driver below it (or ""), and the library's version."""

    cls: str
    driver: str
    version: str


@dataclass(frozen=True, slots=True)
class HostReading:
    """The connections of an aiohttp pool to one `host:port`, now."""

    host: str
    in_use: float
    idle: float
    opening: float
    waiting: float


@dataclass(frozen=True, slots=True)
class Report:
    """
    The sum of all pools of one name and kind.

    created: how many pool objects were ever watched under the name.
    """

    pool: str
    kind: str
    reading: Reading
    created: int
    infos: tuple[Info, ...] = ()
    hosts: tuple[HostReading, ...] = ()
    sites: tuple[SiteReading, ...] = ()
    findings: tuple[Finding, ...] = ()

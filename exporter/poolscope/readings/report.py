"""What there is to say of one name and kind of pool: the catalogue's getters take it apart."""

from __future__ import annotations

from typing import NamedTuple

from poolscope.readings.findings import Finding
from poolscope.readings.hosts import HostReading
from poolscope.readings.reading import Reading
from poolscope.readings.sites import SiteReading


class Info(NamedTuple):
    """What a pool is: its class, the driver below it (or ""), and the library's version."""

    cls: str
    driver: str
    version: str


class Report(NamedTuple):
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

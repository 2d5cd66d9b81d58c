"""All that is known of the pools of one name and kind; the catalogue's getters read it."""

from __future__ import annotations

from typing import NamedTuple

from poolscope.readings.by_label import LabelReading
from poolscope.readings.exemplars import NO_EXEMPLARS, Exemplars
from poolscope.readings.findings import Finding
from poolscope.readings.hosts import HostReading
from poolscope.readings.reading import Reading


class Info(NamedTuple):
    """The class of a pool, its database driver (or ""), and the version of its library."""

    cls: str
    driver: str
    version: str


class Report(NamedTuple):
    """
    The sum of all pools of one name and kind.

    created: how many pool objects were ever watched under this name.
    since: the Unix time since when the counters count; 0.0 if it is not known.
    """

    pool: str
    kind: str
    reading: Reading
    created: int
    infos: tuple[Info, ...] = ()
    hosts: tuple[HostReading, ...] = ()
    sites: tuple[LabelReading, ...] = ()
    findings: tuple[Finding, ...] = ()
    since: float = 0.0
    operations: tuple[LabelReading, ...] = ()
    exemplars: Exemplars = NO_EXEMPLARS

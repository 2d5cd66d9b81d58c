"""The counters of all processes that have ended, kept in a file that is replaced as a whole."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from poolscope.callsites.frames import OTHER_SITES
from poolscope.fleet.pool_view import PoolView
from poolscope.label_values import label_value
from poolscope.readings.labels import MAX_ENDED_NAMES, OTHER_POOLS
from poolscope.readings.reading import Reading, sum_readings
from poolscope.readings.sites import SiteReading

TOTALS: Final = "totals.json"
TOTALS_VERSION: Final = 2

MAX_KNOWN_FUNCTIONS: Final = 1000
"""Functions of a name whose seconds are kept apart; many more than are shown."""

logger = logging.getLogger("poolscope.exporter")


@dataclass(frozen=True)
class Total:
    """
    The totals of one name and kind: counters, pool objects, and seconds in use by function.

    since: the Unix time since when they count; infinite while they are empty.
    """

    reading: Reading = field(default_factory=Reading)
    created: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    since: float = math.inf

    def sites(self) -> list[SiteReading]:
        """Return the seconds in use by function."""
        return [SiteReading(label, 0.0, seconds, 0.0) for label, seconds in self.seconds.items()]

    def plus(self, view: PoolView) -> Total:
        """Return this total with the counters of one more pool."""
        seconds = {site.site: site.in_use_seconds for site in view.sites()}
        return self.with_total(Total(view.reading.counters_only(), 1, seconds, view.since))

    def with_total(self, other: Total) -> Total:
        """Return the sum of both totals."""
        seconds = dict(self.seconds)
        for label, more in other.seconds.items():
            known = label in seconds or len(seconds) < MAX_KNOWN_FUNCTIONS
            kept = label if known else OTHER_SITES
            seconds[kept] = seconds.get(kept, 0.0) + more
        return Total(
            sum_readings([self.reading, other.reading]),
            self.created + other.created,
            seconds,
            min(self.since, other.since),
        )


@dataclass(frozen=True)
class Totals:
    """
    The totals of all names and kinds.

    pools: the one whose last process has ended first comes first.
    processes: how many processes they include.
    folded: the names of included processes whose files may not have been removed yet.
    """

    pools: dict[tuple[str, str], Total] = field(default_factory=dict)
    processes: int = 0
    folded: frozenset[str] = frozenset()

    def with_processes(
        self,
        ended: Mapping[str, Iterable[PoolView]],
        remaining: Iterable[str],
        live: Collection[tuple[str, str]] = (),
    ) -> Totals:
        """
        Return the totals with more processes; see `MAX_ENDED_NAMES`.

        ended: the pools of each process to add, by its name.
        remaining: the names of processes that were folded before and still have files.
        live: the names and kinds of all other pools, which keep totals of their own.
        """
        pools = dict(self.pools)
        for view in (view for views in ended.values() for view in views):
            key = view.pool, view.kind
            pools[key] = pools.pop(key, Total()).plus(view)
        without_pool = [key for key in pools if key[0] != OTHER_POOLS and key not in live]
        for key in without_pool[: max(0, len(without_pool) - MAX_ENDED_NAMES)]:
            other = OTHER_POOLS, key[1]
            pools[other] = pools.pop(other, Total()).with_total(pools.pop(key))
        return Totals(pools, self.processes + len(ended), frozenset({*ended, *remaining}))

    def save(self, path: Path) -> None:
        """Replace the file. Raises OSError, and then the old file is still there."""
        hidden = path.with_name(f".{path.name}")
        document = {
            "version": TOTALS_VERSION,
            "processes": self.processes,
            "folded": sorted(self.folded),
            "pools": [
                {
                    "pool": pool,
                    "kind": kind,
                    "created": total.created,
                    "since": total.since,
                    "seconds": total.seconds,
                    "counters": _counters(total.reading),
                }
                for (pool, kind), total in self.pools.items()
            ],
        }
        with hidden.open("w", encoding="utf-8") as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        hidden.replace(path)

    @classmethod
    def load(cls, path: Path) -> Totals:
        """Return the totals in the file; empty ones if it does not exist or is damaged."""
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls()
        try:
            document = json.loads(text)
            if document["version"] != TOTALS_VERSION:
                raise ValueError(document["version"])
            pools = {
                (label_value(entry["pool"]), label_value(entry["kind"])): _total(entry)
                for entry in document["pools"]
            }
            return cls(pools, int(document["processes"]), frozenset(document["folded"]))
        except (ValueError, TypeError, KeyError):
            kept = path.with_name(f"{path.name}.damaged")
            path.replace(kept)
            logger.warning(
                "%s is damaged or of another version; totals start at 0, and the file is now %s",
                path,
                kept,
            )
            return cls()


def _counters(reading: Reading) -> dict[str, Any]:
    fields: dict[str, Any] = reading._asdict()
    return {
        name: {"counts": value[:-1], "sum": value[-1]} if isinstance(value, tuple) else value
        for name, value in fields.items()
    }


def _total(entry: dict[str, Any]) -> Total:
    counters: dict[str, Any] = {
        name: (*value["counts"], value["sum"]) if isinstance(value, dict) else value
        for name, value in entry["counters"].items()
    }
    return Total(
        Reading(**counters), int(entry["created"]), dict(entry["seconds"]), float(entry["since"])
    )

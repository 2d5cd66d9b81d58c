"""
The counters of pools that have ended, kept in a file that is replaced as a whole.

The exporter has one for the processes that have ended, and each process has one for its own pools.
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from poolscope.fleet.pool_view import MOST, BadFileError, PoolView
from poolscope.fleet.whole_files import read_whole, replace_whole
from poolscope.label_values import OTHER_LABEL, label_value
from poolscope.readings.by_label import LabelReading
from poolscope.readings.hosts import HostReading
from poolscope.readings.labels import MAX_ENDED_NAMES, OTHER_POOLS
from poolscope.readings.reading import EMPTY_READING, Reading, sum_readings

TOTALS: Final = "totals.json"
TOTALS_VERSION: Final = 2

MAX_KNOWN_LABELS: Final = 1000
"""Functions, operations, and hosts, of a name that are kept apart; many more than are shown."""

LARGEST_TOTALS: Final = 64 * 2**20
"""Bytes; a larger file is neither read nor written."""

MOST_IN_TOTALS: Final = 1e6 * MOST
"""A number beyond this is not possible: it would take a million pools with the most of one."""

NOT_PERMITTED: Final = (errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class Total:
    """
    The totals of one name and kind: counters, pool objects, seconds in use by function and by
    operation, and connections by host.

    since: the Unix time since when they count; infinite while they are empty.
    opened, open_failed: by host, how many connections were opened, and could not be opened.
    """

    reading: Reading = field(default_factory=Reading)
    created: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    since: float = math.inf
    by_operation: dict[str, float] = field(default_factory=dict)
    opened: dict[str, float] = field(default_factory=dict)
    open_failed: dict[str, float] = field(default_factory=dict)

    def sites(self) -> list[LabelReading]:
        """Return the seconds in use by function."""
        return _readings(self.seconds)

    def operations(self) -> list[LabelReading]:
        """Return the seconds in use by operation."""
        return _readings(self.by_operation)

    def hosts(self) -> list[HostReading]:
        """Return the connections that were opened, by host."""
        opened, failed = self.opened, self.open_failed
        return [
            HostReading(host, 0.0, 0.0, 0.0, 0.0, opened.get(host, 0.0), failed.get(host, 0.0))
            for host in {**opened, **failed}
        ]

    def plus(self, view: PoolView) -> Total:
        """Return this total with the counters of one more pool."""
        seconds = {site.label: site.in_use_seconds for site in view.sites()}
        operations = {each.label: each.in_use_seconds for each in view.operations()}
        opened, open_failed = {}, {}
        for host in view.hosts():
            opened[host.host], open_failed[host.host] = host.opened, host.open_failed
        counters = view.reading.counters_only()
        return self.with_total(
            Total(counters, 1, seconds, view.since, operations, opened, open_failed)
        )

    def with_total(self, other: Total) -> Total:
        """Return the sum of both totals."""
        return Total(
            sum_readings([self.reading, other.reading]),
            self.created + other.created,
            _sums(self.seconds, other.seconds),
            min(self.since, other.since),
            _sums(self.by_operation, other.by_operation),
            _sums(self.opened, other.opened),
            _sums(self.open_failed, other.open_failed),
        )


def _readings(seconds: Mapping[str, float]) -> list[LabelReading]:
    return [LabelReading(label, 0.0, of_label, 0.0) for label, of_label in seconds.items()]


def _sums(known: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    """Return the sums by label, for a bounded number of labels."""
    sums = dict(known)
    for label, number in more.items():
        kept = label if label in sums or len(sums) < MAX_KNOWN_LABELS else OTHER_LABEL
        sums[kept] = sums.get(kept, 0.0) + number
    return sums


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

    def with_pools(self, views: Iterable[PoolView], others: Iterable[Totals] = ()) -> Totals:
        """Return the totals with the counters of more pools, and with other totals of pools."""
        pools = dict(self.pools)
        for view in views:
            key = view.pool, view.kind
            pools[key] = pools.pop(key, NOTHING).plus(view)
        for other in others:
            for key, total in other.pools.items():
                pools[key] = pools.pop(key, NOTHING).with_total(total)
        return Totals(pools, self.processes, self.folded)

    def with_processes(
        self,
        ended: Mapping[str, tuple[Iterable[PoolView], Totals]],
        remaining: Iterable[str],
        live: Collection[tuple[str, str]] = (),
    ) -> Totals:
        """
        Return the totals with more processes; see `MAX_ENDED_NAMES`.

        ended: of each process to add, by its name, the pools, and the totals of those that had
            ended within it.
        remaining: the names of processes that were folded before and still have files.
        live: the names and kinds of all other pools, which keep totals of their own.
        """
        totals = self
        for views, within in ended.values():
            totals = totals.with_pools(views, [within])
        pools = totals.bounded(live).pools
        return Totals(pools, self.processes + len(ended), frozenset({*ended, *remaining}))

    def bounded(self, live: Collection[tuple[str, str]]) -> Totals:
        """
        Return the totals of at most `MAX_ENDED_NAMES` names, and of all further ones together.

        live: the names and kinds of all pools there are, which keep totals of their own.
        """
        pools = dict(self.pools)
        without_pool = [key for key in pools if key[0] != OTHER_POOLS and key not in live]
        for key in without_pool[: max(0, len(without_pool) - MAX_ENDED_NAMES)]:
            other = OTHER_POOLS, key[1]
            pools[other] = pools.pop(other, NOTHING).with_total(pools.pop(key))
        return Totals(pools, self.processes, self.folded)

    def document(self) -> dict[str, Any]:
        """Return what `of_document` reads, as values for JSON."""
        return {
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
                    "operations": total.by_operation,
                    "opened": total.opened,
                    "open_failed": total.open_failed,
                    "counters": _counters(total.reading),
                }
                for (pool, kind), total in self.pools.items()
            ],
        }

    @classmethod
    def of_document(cls, document: Any) -> Totals:
        """Raises ValueError, TypeError, KeyError, AttributeError or the like if it is damaged."""
        if document["version"] != TOTALS_VERSION:
            raise ValueError(document["version"])
        folded = frozenset(map(_text, _list(document["folded"])))
        totals = cls({}, int(_number(document["processes"])), folded)
        for entry in _list(document["pools"]):
            key = _text(entry["pool"]), _text(entry["kind"])
            totals = totals.with_pools((), [cls({key: _total(entry)})])
        return totals

    def save(self, path: Path) -> None:
        """Replace the file. Raises OSError, and then the old file is still there."""
        write_json(path, self.document())

    @classmethod
    def load(cls, path: Path) -> Totals:
        """
        Return the totals in the file; empty ones if it does not exist.

        Raises BadFileError if it is damaged, and OSError or MemoryError if it cannot be read now.
        """
        try:
            return cls.of_document(read_json(path))
        except FileNotFoundError:
            return cls()
        except DAMAGE as error:
            raise BadFileError(WRONG) from error


WRONG: Final = "it is damaged, or of another version"

DAMAGE: Final = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What reading a document raises if the document is not what it should be."""

NOTHING: Final = Total()


def read_json(path: Path) -> Any:
    """
    Return the value in a file of JSON.

    Raises BadFileError if the file is damaged or is none, FileNotFoundError if there is none, and
    another OSError or MemoryError if it cannot be read now.
    """
    try:
        return json.loads(read_whole(path, LARGEST_TOTALS).decode())
    except (ValueError, RecursionError) as error:
        raise BadFileError(WRONG) from error
    except OSError as error:
        if error.errno in NOT_PERMITTED:
            raise BadFileError("this user may not read it") from error
        raise


def write_json(path: Path, document: Any, sync: bool = True) -> None:
    """
    Replace the file by one that `read_json` reads; see `replace_whole` for `sync`.

    Raises OSError, and then the old file is still there.
    """
    data = json.dumps(document).encode()
    if len(data) > LARGEST_TOTALS:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    replace_whole(path, data, sync)


def _counters(reading: Reading) -> dict[str, Any]:
    """Return the counters that have counted something."""
    fields: dict[str, Any] = reading._asdict()
    return {
        name: {"counts": value[:-1], "sum": value[-1]} if isinstance(value, tuple) else value
        for name, value in fields.items()
        if value != EMPTY_READING[Reading._fields.index(name)]
    }


def _total(entry: Any) -> Total:
    counters: dict[str, Any] = {}
    for name, value in dict(entry["counters"]).items():
        default = EMPTY_READING[Reading._fields.index(name)]
        if isinstance(default, tuple):
            counts = (*_list(value["counts"]), value["sum"])
            counters[name] = tuple(map(_number, counts))
            if len(counts) != len(default):
                raise ValueError(name)
        else:
            counters[name] = _number(value)
    seconds, operations = _by_label(entry["seconds"]), _by_label(entry.get("operations", {}))
    opened, failed = _by_label(entry.get("opened", {})), _by_label(entry.get("open_failed", {}))
    created, since = int(_number(entry["created"])), float(_number(entry["since"]))
    return Total(Reading(**counters), created, seconds, since, operations, opened, failed)


def _by_label(value: Any) -> dict[str, float]:
    return {_text(label): _number(seconds) for label, seconds in dict(value).items()}


def _number(value: Any) -> float:
    """Return a number that can be that of a counter."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(value)
    if not 0 <= value <= MOST_IN_TOTALS:
        raise ValueError(value)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return label_value(value)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(value)
    return value

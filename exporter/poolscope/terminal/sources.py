"""Where the numbers come from: an exporter, or the folder that processes share."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlencode, urlsplit, urlunsplit

from prometheus_client.parser import text_string_to_metric_families

import poolscope
from poolscope.exporter.api import document
from poolscope.exporter.history import History
from poolscope.fleet.fleet import Fleet
from poolscope.fleet.folder import FolderError
from poolscope.metrics.exporter_families import Scrape
from poolscope.readings.buckets import ACQUIRE_BUCKETS, HOLD_BUCKETS
from poolscope.readings.reading import Histogram
from poolscope.sizing.http import SourceError, get, without_credentials
from poolscope.terminal.answers import parsed

Key = tuple[str, str]

Counts = Mapping[float, float]
"""How many durations were at most so many seconds, since the beginning."""

TIMEOUT: Final = 5.0
"""Seconds for each answer of the exporter."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """
    All pools at one moment.

    document: what the exporter answers as JSON.
    acquires, holds: the durations of each pool.
    """

    document: Mapping[str, Any]
    acquires: Mapping[Key, Counts] = field(default_factory=dict)
    holds: Mapping[Key, Counts] = field(default_factory=dict)


class Source(Protocol):
    """Something to ask."""

    @property
    def name(self) -> str:
        """What is asked, without a password."""

    def read(self) -> Numbers:
        """Return the numbers as they are now. Raises SourceError."""

    def close(self) -> None:
        """Ask no more."""


class Exporter:
    """A running exporter."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.name: Final = without_credentials(url)[0].rstrip("/")
        self._base: Final = urlunsplit(parts._replace(path=parts.path.rstrip("/")))

    def read(self) -> Numbers:
        try:
            pools = parsed(get(f"{self._base}/api/v1/pools", "application/json", TIMEOUT))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise SourceError(f"{self.name} is no exporter of poolscope") from None
        return Numbers(pools, *self._durations())

    def _durations(self) -> Iterable[Mapping[Key, Counts]]:
        """Return those of acquires and of holds; none where the metrics are at another path."""
        names = [f"connpool_{name}_seconds_bucket" for name in ("acquire", "hold")]
        found: dict[str, defaultdict[Key, dict[float, float]]] = {
            name: defaultdict(dict) for name in names
        }
        query = urlencode([("name[]", name) for name in names])
        with suppress(SourceError, ValueError, KeyError):
            text = get(f"{self._base}/metrics?{query}", "text/plain", TIMEOUT).decode()
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    if sample.name in found:
                        key = sample.labels["pool"], sample.labels["kind"]
                        found[sample.name][key][float(sample.labels["le"])] = sample.value
        return found.values()

    def close(self) -> None:
        """There is nothing to close."""


class Folder:
    """A folder that no exporter reads. Raises SourceError."""

    def __init__(self, folder: Path) -> None:
        self.name: Final = str(folder)
        if not folder.is_dir():
            raise SourceError(f"{folder} is no folder; name the one that POOLSCOPE_DIR has")
        try:
            self._fleet = Fleet(folder)
        except FolderError as error:
            raise SourceError(str(error)) from None
        self._history = History()

    def read(self) -> Numbers:
        try:
            view = self._fleet.scan()
        except (OSError, FolderError) as error:
            raise SourceError(f"{self.name}: {error}") from None
        self._history.record(view)
        reports = {(report.pool, report.kind): report.reading for report in view.reports}
        return Numbers(
            document(Scrape(view, 0.0, poolscope.__version__), self._history),
            {key: _counts(each.acquire_seconds, ACQUIRE_BUCKETS) for key, each in reports.items()},
            {key: _counts(each.hold_seconds, HOLD_BUCKETS) for key, each in reports.items()},
        )

    def close(self) -> None:
        self._fleet.close()


def _counts(histogram: Histogram, bounds: tuple[float, ...]) -> Counts:
    counts, total = {}, 0.0
    for bound, count in zip((*bounds, math.inf), histogram[:-1], strict=True):
        total += count
        counts[bound] = total
    return counts

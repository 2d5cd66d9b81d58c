"""Where a check asks: an exporter, a folder, or the processes of a command that it runs."""

from __future__ import annotations

import json
import math
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from poolscope.checking.found import Checked, PoolState
from poolscope.fleet.fleet import Fleet, FleetView
from poolscope.fleet.folder import FolderError
from poolscope.fleet.pool_view import PoolView
from poolscope.launching.report import Run
from poolscope.readings.findings import SEVERITIES, Finding
from poolscope.sizing.http import SourceError, get, without_credentials

__all__ = ["SourceError", "of_command", "of_exporter", "of_folder"]


def of_exporter(url: str) -> Checked:
    """Ask an exporter. Raises SourceError."""
    parts = urlsplit(url)
    address = urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/api/v1/pools"))
    shown = without_credentials(address)[0]
    try:
        pools = json.loads(get(address, "application/json"))["pools"]
        findings = [finding for pool in pools for finding in _findings(pool)]
        states = tuple(_state(pool) for pool in pools)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise SourceError(f"{shown} is no answer of an exporter") from None
    return Checked(without_credentials(url)[0], tuple(findings), states)


def _findings(pool: Mapping[str, Any]) -> Iterable[Finding]:
    for each in pool["findings"]:
        severity = each["severity"]
        if severity not in SEVERITIES:
            raise ValueError(severity)
        yield Finding(
            pool["pool"],
            pool["kind"],
            each["rule"],
            severity,
            each["message"],
            tuple(each["sites"]),
        )


def _state(pool: Mapping[str, Any]) -> PoolState:
    limit = math.inf if pool["limit"] is None else float(pool["limit"])
    sites = dict.fromkeys(hold["site"] for hold in pool["holders"] if hold["site"])
    numbers = float(pool["in_use"]), limit, float(pool["instances"])
    return PoolState(pool["pool"], pool["kind"], *numbers, tuple(sites))


def of_folder(folder: Path) -> Checked:
    """Read a folder that processes share. Raises SourceError."""
    if not folder.is_dir():
        raise SourceError(f"{folder} is no folder; name the one that POOLSCOPE_DIR has")
    return _read(folder, str(folder), 1)


def of_command(
    command: Sequence[str], environment: Mapping[str, str], processes: int
) -> tuple[Checked, int]:
    """
    Run a command to its end; return what its processes did, and its exit code.

    environment: one in which its pools are watched; see `launching`.
    processes: how many processes the command stands for, whose limits are added up.

    Raises SourceError, or OSError if the command cannot be run.
    """
    with tempfile.TemporaryDirectory(prefix="poolscope-check-") as name:
        folder = Path(name) / "pools"
        watched = {**environment, "POOLSCOPE_DIR": str(folder)}
        code = subprocess.run(list(command), env=watched, check=False).returncode  # noqa: S603 - that is the command
        if not folder.exists():
            return Checked(" ".join(command), (), ()), code
        return _read(folder, " ".join(command), processes), code


class Ended:
    """What the processes that have ended had at their end."""

    def __init__(self) -> None:
        self.run = Run()
        self.by_pool: defaultdict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)

    def __call__(self, pid: int, pools: Sequence[PoolView]) -> None:
        self.run.ended(pid, pools)
        numbers: defaultdict[tuple[str, str], tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
        for view in pools:
            in_use, limit = numbers[view.pool, view.kind]
            added = in_use + view.reading.in_use, limit + max(view.config.limit, 0.0)
            numbers[view.pool, view.kind] = added
        for key, each in numbers.items():
            self.by_pool[key].append(each)


def _read(folder: Path, source: str, processes: int) -> Checked:
    ended = Ended()
    try:
        fleet = Fleet(folder, ended=ended)
        try:
            view = fleet.scan()
        finally:
            fleet.close()
    except FolderError as error:
        raise SourceError(str(error)) from None
    except OSError as error:
        raise SourceError(f"{folder}: {error.strerror}") from None
    return Checked(source, tuple(ended.run.findings(view)), _states(view, ended, processes))


def _states(view: FleetView, ended: Ended, processes: int) -> tuple[PoolState, ...]:
    holders: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for hold in view.holds:
        if hold.site is not None:
            holders[hold.pool, hold.kind][hold.site] = None
    states = []
    for report in view.reports:
        key, reading = (report.pool, report.kind), report.reading
        gone = ended.by_pool[key]
        in_use = reading.in_use + sum(out for out, _ in gone)
        limit = reading.limit or processes * max((limit for _, limit in gone), default=0.0)
        states.append(PoolState(*key, in_use, limit, reading.instances, tuple(holders[key])))
    return tuple(states)

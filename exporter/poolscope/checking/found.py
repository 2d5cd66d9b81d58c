"""What a check has found, and where."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import quote

from poolscope.readings.findings import SEVERITIES, Finding, Severity

DOCS: Final = "https://poolscope.readthedocs.io/en/latest/"
"""Where the documentation is."""

_SITE: Final = re.compile(r"(?P<file>.+?):(?P<line>[0-9]{1,9})(?: in (?P<function>.*))?")

MAX_OUT: Final = "max-out"
MAX_CONNECTIONS: Final = "max-connections"
"""The rules of limits that the caller of a check gives."""

_WITHOUT_A_PAGE: Final = (MAX_OUT, MAX_CONNECTIONS)


class Place(NamedTuple):
    """A line of code; `line` is 0 where only the file is known."""

    file: str
    line: int
    function: str


def place_of(site: str) -> Place:
    """Return the place that a site such as `shop/db.py:12 in connect` names."""
    match = _SITE.fullmatch(site)
    if match is None:
        return Place(site, 0, "")
    return Place(match["file"], int(match["line"]), match["function"] or "")


class PoolState(NamedTuple):
    """
    A pool at the moment of the check.

    in_use: connections that are out. limit: how many all its pool objects may open; infinity if
    there is no limit. instances: how many of them are alive.
    """

    pool: str
    kind: str
    in_use: float
    limit: float
    instances: float
    holders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Checked:
    """
    What is known of some processes.

    source: what was asked, in words.
    """

    source: str
    findings: tuple[Finding, ...]
    pools: tuple[PoolState, ...]


def page_of(rule: str) -> str | None:
    """Return the address of the page on a rule; None if it has none."""
    if rule in _WITHOUT_A_PAGE:
        return None
    # An exporter of another version may have other rules.
    return f"{DOCS}findings/{quote(rule, safe='', errors='replace')}/"


def is_at_least(severity: Severity, least: Severity) -> bool:
    return SEVERITIES.index(severity) <= SEVERITIES.index(least)


def limits_exceeded(
    pools: Sequence[PoolState], max_out: int | None, max_connections: int | None
) -> list[Finding]:
    """
    Return what exceeds the given limits, as findings.

    max_out: connections of a pool that may be out. max_connections: that the pools for databases
    may open together.
    """
    found = []
    for pool in pools if max_out is not None else ():
        if pool.in_use > (max_out or 0):
            many = "" if pool.in_use == 1 else "s"
            message = (
                f"{pool.in_use:g} connection{many} out, and at most {max_out} may be: somebody "
                "has not returned what it has taken"
            )
            found.append(Finding(pool.pool, pool.kind, MAX_OUT, "critical", message, pool.holders))
    databases = [pool for pool in pools if pool.kind != "aiohttp"]
    promised = sum(pool.limit for pool in databases)
    if max_connections is not None and promised > max_connections:
        names = ", ".join(sorted({pool.pool for pool in databases}))
        message = (
            f"the pools {names} may open {_count(promised)} connections together, and at most "
            f"{max_connections} may be"
        )
        found.append(Finding(names, "all", MAX_CONNECTIONS, "critical", message, ()))
    return found


def _count(number: float) -> str:
    return "any number of" if number == float("inf") else f"{number:g}"


def sorted_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings, the most severe first, each once."""
    return sorted(
        dict.fromkeys(findings),
        key=lambda each: (SEVERITIES.index(each.severity), each.pool, each.kind, each.rule),
    )

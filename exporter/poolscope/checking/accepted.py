"""What a check is to leave out: ignored rules, each with its reason, and a baseline."""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from poolscope.checking.found import MAX_CONNECTIONS, MAX_OUT, place_of
from poolscope.readings.findings import RULES, Finding

VERSION: Final = 1


class Ignored(NamedTuple):
    """A rule that is not applied to pools whose name the pattern matches."""

    rule: str
    pool: str = "*"

    def covers(self, finding: Finding) -> bool:
        return self.rule == finding.rule and fnmatch.fnmatchcase(finding.pool, self.pool)


def ignored(text: str) -> Ignored:
    """Return what `RULE` or `RULE:POOL` ignores. Raises ValueError if there is no such rule."""
    rule, _, pool = text.partition(":")
    known = (*RULES, MAX_OUT, MAX_CONNECTIONS)
    if rule not in known:
        raise ValueError(f"{rule!r} is no rule; rules are {', '.join(sorted(known))}")
    return Ignored(rule, pool or "*")


def of_table(value: object, where: str) -> list[Ignored]:
    """
    Return what the `ignore` of a configuration file says.

    It is a list of tables with `rule`, `reason` and perhaps `pool`. Raises ValueError.
    """
    entries = value if isinstance(value, list) else None
    if entries is None or not all(isinstance(each, dict) for each in entries):
        raise ValueError(f'{where}: ignore must be a list of {{rule = "...", reason = "..."}}')

    found = []
    for entry in entries:
        unknown = entry.keys() - {"rule", "pool", "reason"}
        if unknown:
            raise ValueError(f"{where}: ignore: {min(unknown)!r} is not known")
        values = [entry.get(key, "") for key in ("rule", "pool", "reason")]
        rule, pool, reason = values
        if not all(isinstance(each, str) for each in values):
            raise ValueError(f"{where}: ignore: rule, pool and reason must be strings")
        if not reason.strip():
            raise ValueError(f"{where}: ignore: {rule!r} needs a reason")
        try:
            found.append(ignored(f"{rule}:{pool}" if pool else rule))
        except ValueError as error:
            raise ValueError(f"{where}: ignore: {error}") from None
    return found


Identity = tuple[str, str, str, tuple[tuple[str, str], ...]]


def identity(finding: Finding) -> Identity:
    """Return what stays the same of a finding when lines move and numbers change."""
    places = sorted({(place.file, place.function) for place in map(place_of, finding.sites)})
    return finding.rule, finding.pool, finding.kind, tuple(places)


def without(
    findings: Iterable[Finding], ignores: Sequence[Ignored], known: Iterable[Identity]
) -> list[Finding]:
    """Return the findings that nobody has accepted."""
    accepted = frozenset(known)
    return [
        finding
        for finding in findings
        if identity(finding) not in accepted and not any(each.covers(finding) for each in ignores)
    ]


def read_baseline(path: Path) -> list[Identity]:
    """Return what a baseline accepts. Raises ValueError or OSError."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != VERSION:
            raise ValueError
        return [
            (
                str(entry["rule"]),
                str(entry["pool"]),
                str(entry["kind"]),
                tuple((str(file), str(function)) for file, function in entry["places"]),
            )
            for entry in content["findings"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(
            f"{path} is no baseline; --write-baseline {path} makes one of what is found now"
        ) from None


def write_baseline(path: Path, findings: Iterable[Finding]) -> None:
    """
    Write a baseline that accepts the findings. Raises OSError.

    Whoever reads it meanwhile sees all of the old one or of the new one.
    """
    entries = [
        {"rule": rule, "pool": pool, "kind": kind, "places": [list(place) for place in places]}
        for rule, pool, kind, places in sorted(set(map(identity, findings)))
    ]
    text = json.dumps({"version": VERSION, "findings": entries}, indent=2)
    if path.exists() and not path.is_file():  # such as /dev/stdout
        path.write_text(f"{text}\n", encoding="utf-8")
        return
    target = path.resolve()
    new = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        new.write_text(f"{text}\n", encoding="utf-8")
        new.replace(target)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None

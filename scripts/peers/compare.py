"""Compares the results of one test suite, unwatched and watched, with the differences we know."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

ABSENT: Final = "absent"


@dataclass(frozen=True)
class Result:
    """
    How one test ended.

    outcome: passed, failed, error, skipped, xfailed or xpassed; absent if it did not run.
    internal_errors: the hooks of poolscope that failed in it.
    message: the end of the traceback, for people to read.
    """

    outcome: str = ABSENT
    internal_errors: tuple[str, ...] = ()
    message: str = ""


@dataclass(frozen=True)
class Run:
    """
    The results of one run of a suite, by the id of the test.

    pools: how many pools were watched.
    acquires: how many successful acquires poolscope counted in them.
    """

    results: Mapping[str, Result]
    pools: int = 0
    acquires: int = 0


class Difference(NamedTuple):
    """A test that does not end as it ends unwatched, or in which a hook of poolscope failed."""

    test: str
    change: str


@dataclass(frozen=True)
class Review:
    """
    Differences beside those that the reviewed file names.

    explained: occurred, and the file has the reason, which is the value.
    unexplained: occurred, and the file does not name them.
    gone: named by the file, and did not occur.
    """

    explained: Mapping[Difference, str] = field(default_factory=dict)
    unexplained: tuple[Difference, ...] = ()
    gone: tuple[Difference, ...] = ()

    @property
    def is_as_expected(self) -> bool:
        return not self.unexplained and not self.gone


def read_run(path: Path) -> Run:
    """Read what the plugin `record` has written."""
    document = json.loads(path.read_text())
    results = {
        test: Result(row["outcome"], tuple(row["internal_errors"]), row["message"])
        for test, row in document["tests"].items()
    }
    return Run(results, document["pools"], document["acquires"])


def change_of(unwatched: Result, watched: Result) -> str | None:
    """Return in words what watching changed; None if nothing."""
    changes = []
    if unwatched.outcome != watched.outcome:
        changes.append(f"{unwatched.outcome} -> {watched.outcome}")
    changes += [f"internal error in {place}" for place in sorted(set(watched.internal_errors))]
    return ", ".join(changes) or None


def differences(unwatched: Run, watched: Run) -> list[Difference]:
    """Return what differs, in the order of the tests."""
    found = []
    for test in dict.fromkeys([*unwatched.results, *watched.results]):
        change = change_of(
            unwatched.results.get(test, Result()), watched.results.get(test, Result())
        )
        if change is not None:
            found.append(Difference(test, change))
    return found


def review(found: Iterable[Difference], expected: Mapping[Difference, str]) -> Review:
    """Sort the differences that were found by whether they are expected."""
    occurred = list(found)
    return Review(
        {difference: expected[difference] for difference in occurred if difference in expected},
        tuple(difference for difference in occurred if difference not in expected),
        tuple(difference for difference in expected if difference not in occurred),
    )


def read_expected(path: Path, suite: str) -> dict[Difference, str]:
    """
    Read the differences of a suite that are known, each with its reason.

    Raises ValueError if one has no reason, or is named twice.
    """
    rows: list[dict[str, Any]] = tomllib.loads(path.read_text()).get(suite, [])
    expected: dict[Difference, str] = {}
    for row in rows:
        difference = Difference(row["test"], row["change"])
        if not row["reason"].strip():
            raise ValueError(f"{path.name}: {difference.test} has no reason")
        if difference in expected:
            raise ValueError(f"{path.name}: {difference.test} is named twice")
        expected[difference] = row["reason"]
    return expected


def as_toml(suite: str, reasons: Mapping[Difference, str]) -> str:
    """Return differences in the form of the reviewed file; JSON strings are TOML strings."""
    return "".join(
        f"[[{suite}]]\n"
        f"test = {json.dumps(difference.test)}\n"
        f"change = {json.dumps(difference.change)}\n"
        f"reason = {json.dumps(reason)}\n\n"
        for difference, reason in reasons.items()
    )

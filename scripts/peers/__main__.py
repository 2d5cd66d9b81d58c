"""
Run the libraries' own tests twice, unwatched and with every pool watched, and list each difference.

    python -m scripts.peers [SUITE ...]      fail if a difference is not in expected.toml, or one
                                             that is there does not occur any more
    python -m scripts.peers --list           print the differences in the form of that file
    python -m scripts.peers --run            watch by `poolscope run` instead of a plugin of pytest

A test that differs is run again, alone, both ways: only what differs again counts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.peers.compare import (
    Difference,
    Result,
    Review,
    Run,
    as_toml,
    differences,
    read_expected,
    review,
)
from scripts.peers.record import BETWEEN_TESTS
from scripts.peers.suites import SUITES, How, Suite, run

EXPECTED: Final = Path(__file__).parent / "expected.toml"


@dataclass(frozen=True)
class Outcome:
    """
    What came of a suite.

    unrepeated: tests that differed at first, and did not when they ran alone.
    messages: the end of the traceback of each test that differs.
    """

    suite: Suite
    unwatched: Run
    watched: Run
    review: Review
    unrepeated: tuple[Difference, ...]
    messages: dict[Difference, str]


def repeated(
    suite: Suite, how: How, found: Sequence[Difference], in_company: Run
) -> dict[Difference, str]:
    """
    Return the differences of the tests that differ also when each runs alone, with its message.

    in_company: the watched run in which they were found.
    """
    confirmed = {}
    for difference in found:
        if difference.test == BETWEEN_TESTS:
            confirmed[difference] = in_company.results[difference.test].message
            continue
        unwatched, watched = (run(suite, each, (difference.test,)) for each in (How.UNWATCHED, how))
        for again in differences(unwatched, watched):
            confirmed[again] = watched.results.get(again.test, Result()).message
    return confirmed


def outcome_of(suite: Suite, how: How) -> Outcome:
    """Run a suite both ways, and review what differs."""
    unwatched, watched = run(suite, How.UNWATCHED), run(suite, how)
    if not unwatched.results or not watched.acquires:
        raise RuntimeError(f"no test of {suite.name} ran, or no acquire was counted")
    found = differences(unwatched, watched)
    confirmed = repeated(suite, how, found, watched)
    tests = {difference.test for difference in confirmed}
    return Outcome(
        suite,
        unwatched,
        watched,
        review(confirmed, read_expected(EXPECTED, suite.name)),
        tuple(difference for difference in found if difference.test not in tests),
        confirmed,
    )


def passed(tests: Run) -> int:
    return sum(result.outcome == "passed" for result in tests.results.values())


def print_outcomes(outcomes: Sequence[Outcome]) -> None:
    """Print the table of the suites, and each difference below."""
    columns = "{:<12}{:>7}{:>18}{:>17}{:>7}{:>10}{:>13}"
    head = ("suite", "tests", "passed unwatched", "passed watched", "pools", "acquires")
    print(columns.format(*head, "differences"))
    for outcome in outcomes:
        unwatched, watched = outcome.unwatched, outcome.watched
        counts = (len(unwatched.results), passed(unwatched), passed(watched))
        found = len(outcome.review.explained) + len(outcome.review.unexplained)
        print(columns.format(outcome.suite.name, *counts, watched.pools, watched.acquires, found))
    for outcome in outcomes:
        for difference, reason in outcome.review.explained.items():
            print(f"\n{outcome.suite.name}: {difference.test}\n  {difference.change}: {reason}")
        for difference in outcome.review.unexplained:
            print(f"\n{outcome.suite.name}: {difference.test}\n  {difference.change}: UNEXPLAINED")
            print("    " + outcome.messages[difference].replace("\n", "\n    "))
        for difference in outcome.review.gone:
            print(f"\n{outcome.suite.name}: {difference.test}\n  {difference.change}: GONE")
        for difference in outcome.unrepeated:
            print(
                f"\n{outcome.suite.name}: {difference.test}\n  {difference.change}: "
                "not when it ran again, alone"
            )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.peers", description=__doc__)
    names = [suite.name for suite in SUITES]
    parser.add_argument("suites", metavar="SUITE", nargs="*", help=f"of {', '.join(names)}")
    parser.add_argument("--list", action="store_true", help="print the list for expected.toml")
    parser.add_argument("--run", action="store_true", help="watch by `poolscope run`")
    options = parser.parse_args()
    if unknown := set(options.suites) - set(names):
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")
    chosen = [suite for suite in SUITES if not options.suites or suite.name in options.suites]
    outcomes = [outcome_of(suite, How.LAUNCHED if options.run else How.WATCHED) for suite in chosen]
    if options.list:
        for outcome in outcomes:
            unexplained = dict.fromkeys(outcome.review.unexplained, "")
            print(as_toml(outcome.suite.name, {**outcome.review.explained, **unexplained}), end="")
        return 0
    print_outcomes(outcomes)
    # The file is of pools that the plugin watches, which `poolscope run` does not all watch.
    if options.run:
        return 0 if not any(outcome.review.unexplained for outcome in outcomes) else 1
    return 0 if all(outcome.review.is_as_expected for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())

"""The benchmark of `watch()`: a row for each number of other objects in memory."""

from __future__ import annotations

import statistics
from typing import Final

from benchmarks import environments
from benchmarks.figures import Result, Target, blocks, figure, rows

OTHERS: Final = (0, 1_000_000)
"""How many other objects are in memory."""


def result(kind: str, number: int, dsn: str) -> Result:
    """Return the milliseconds of `number` watches of a pool of that kind that is in use."""
    times = blocks(
        {
            f"{others} other objects": environments.measure(
                "watching", kind=kind, number=number, others=others, dsn=dsn
            )
            for others in OTHERS
        }
    )
    none, most = times[0]
    title = f"watch() of a pool in use, {kind}"
    return Result(
        f"watch-{kind}",
        f"{title}: ms of wall time",
        rows(times, "ms", none, typical=statistics.median),
        [
            Target(
                f"{title}, with {most}",
                figure(times, lambda part: statistics.median(part[most])),
                0.5,
                "ms",
            )
        ],
        [],
    )

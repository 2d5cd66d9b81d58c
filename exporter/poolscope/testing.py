"""
Helpers for your own tests: a clock that you move, and a check that no connection is in use.

    clock = FakeClock()
    watches = Watches(clock)
    watch = watches.watch(engine, registry=None)
    ...
    clock.advance(5.0)
    assert watch.snapshot().oldest_hold_seconds == 5.0
    assert_no_connections_out(watch)
"""

from __future__ import annotations

import poolscope
from poolscope.watching.watch import Watch
from poolscope.watching.watches import Watches

__all__ = ["FakeClock", "Watches", "assert_no_connections_out"]


class FakeClock:
    """
    A clock that stands still until `advance` moves it.

    Pass it to `Watches`. It returns seconds, as `time.monotonic` does. It must not start at 0,
    which poolscope reads as "never".
    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the clock forward by `seconds`."""
        self.now += seconds


def assert_no_connections_out(*watches: Watch) -> None:
    """
    Raise AssertionError if a connection is in use or being opened, or if a caller waits.

    The error names each such pool, and for each connection in use who holds it and for how long.
    Without arguments it checks all pools that `poolscope.watch` watches in this process.
    """
    snapshots = [watch.snapshot() for watch in watches] if watches else poolscope.snapshots()
    holds = [hold for watch in watches for hold in watch.holders()]
    lines = [
        f"{pool.name} ({pool.kind}): {pool.in_use} in use, {pool.opening} opening, "
        f"{pool.waiting} waiting"
        for pool in snapshots
        if pool.in_use or pool.opening or pool.waiting
    ]
    lines += [
        f"{hold.pool} ({hold.kind}): held for {hold.held_seconds:.3g} s by "
        f"{hold.owner or 'an unknown caller'}, from {hold.site or 'an unknown line'}"
        for hold in (holds if watches else poolscope.holders())
    ]
    if lines:
        raise AssertionError("\n  ".join(["connections are still in use:", *lines]))

"""A clock that stands still until the test moves it."""

from __future__ import annotations


class FakeClock:
    """Seconds, as `time.monotonic` has them. They begin anywhere but at 0."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds

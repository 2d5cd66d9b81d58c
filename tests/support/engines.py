"""SQLAlchemy engines on the real server."""

from __future__ import annotations

from poolscope import Watch


def counted(watch: Watch) -> tuple[int, int, int]:
    """Return in use, idle and opened; in use and idle add up to opened less closed."""
    snapshot = watch.snapshot()
    assert snapshot.in_use + snapshot.idle == snapshot.opened - snapshot.closed
    return snapshot.in_use, snapshot.idle, snapshot.opened

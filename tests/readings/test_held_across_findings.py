"""How severe it is that connections are held across requests."""

from __future__ import annotations

import pytest

from poolscope import Finding
from poolscope.readings.findings import PoolEvidence, findings_of
from poolscope.readings.pool_config import PoolConfig
from poolscope.readings.reading import Reading


@pytest.mark.parametrize(
    ("seconds", "in_use_seconds", "severity", "share"),
    [
        (60.0, 600.0, "critical", "60.0 connection-seconds, 10% of the time in use"),
        (60.0, 601.0, "warning", "60.0 connection-seconds, 10% of the time in use"),
        (59.9, 59.9, "warning", "59.9 connection-seconds, 100% of the time in use"),
        (60.0, 60.0, "critical", "60.0 connection-seconds, 100% of the time in use"),
        (0.0, 60.0, "warning", "0.0 connection-seconds"),
    ],
)
def test_holds_across_requests_are_critical_from_a_share_of_the_time_on(
    seconds: float, in_use_seconds: float, severity: str, share: str
) -> None:
    lines = ("shop.py:7 in pay, across shop.py:9 in ask",)
    reading = Reading(held_across=3, held_across_seconds=seconds, in_use_seconds=in_use_seconds)
    evidence = PoolEvidence(PoolConfig(), reading, {"held-across-request": lines})
    (finding,) = findings_of("orders", "asyncpg", [evidence])
    assert finding == Finding(
        "orders",
        "asyncpg",
        "held-across-request",
        severity,  # type: ignore[arg-type]  # it is one
        "connections were held while their callers waited for another server: 3 of them, "
        f"for {share}",
        lines,
    )

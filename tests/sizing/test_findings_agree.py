"""The findings about sizes never say the opposite of `poolscope size`."""

from __future__ import annotations

import math
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from poolscope.readings.buckets import ACQUIRE_BUCKETS, HOLD_BUCKETS
from poolscope.readings.findings import PoolEvidence, findings_of
from poolscope.readings.pool_config import PoolConfig
from poolscope.readings.reading import Reading
from poolscope.readings.saturation import too_small
from poolscope.sizing.advice import Advice, Server, advise
from poolscope.sizing.measured import Durations, Measured
from poolscope.sizing.sizes import MOST_DATABASE_CONNECTIONS, Goal

WATCHED: Final = 3600.0


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    """A pool that one process has used for an hour, whatever of it is possible."""
    limit = draw(st.integers(1, 80))
    callers = draw(st.integers(100, 100_000))
    most = limit if draw(st.booleans()) else draw(st.integers(1, limit))
    load = draw(st.floats(0.001, 1.0)) * most
    bounds = (*HOLD_BUCKETS, math.inf)
    hold = load * WATCHED / callers
    holds = [0.0] * len(bounds)
    holds[next(i for i, bound in enumerate(bounds) if hold <= bound)] = float(callers)
    waits = [0.0] * (len(ACQUIRE_BUCKETS) + 1)
    bucket = draw(st.integers(0, len(ACQUIRE_BUCKETS) - 1))
    gave_up = 0.0
    if most == limit:  # otherwise nobody waits
        waits[bucket] = float(draw(st.integers(0, callers)))
        gave_up = draw(st.sampled_from([0.0, callers / 1000, callers / 10]))
    return Reading(
        limit=float(limit),
        instances=1.0,
        watched_seconds=WATCHED,
        most_in_use=float(most),
        acquired=float(callers),
        timed_out=gave_up,
        waited=sum(waits) + gave_up,
        gave_up=gave_up,
        reused=float(callers),
        in_use_seconds=load * WATCHED,
        saturated_seconds=draw(st.floats(0.0, 1.0)) * WATCHED if most == limit else 0.0,
        queue_seconds=(*waits, sum(waits) * ACQUIRE_BUCKETS[bucket]),
        hold_seconds=(*holds, load * WATCHED),
    )


def advice_for(reading: Reading) -> Advice:
    *holds, held = reading.hold_seconds
    *waits, waited = reading.queue_seconds
    measured = Measured(
        pool="orders",
        kind="sqlalchemy",
        seconds=WATCHED,
        in_use_seconds=reading.in_use_seconds,
        attempts=reading.acquired + reading.timed_out,
        acquired=reading.acquired,
        waited=reading.waited,
        gave_up=reading.gave_up,
        nested=0.0,
        holds=Durations((*HOLD_BUCKETS, math.inf), tuple(holds), held),
        waits=Durations((*ACQUIRE_BUCKETS, math.inf), tuple(waits), waited),
        limit=reading.limit,
        instances=reading.instances,
        peak=reading.most_in_use,
    )
    return advise(measured, Goal(), Server())


@settings(max_examples=500, deadline=None)
@given(readings())
def test_what_is_too_large_is_not_to_grow(reading: Reading) -> None:
    evidence = PoolEvidence(PoolConfig(database=True, limit=reading.limit), reading, {})
    found = {finding.rule for finding in findings_of("orders", "sqlalchemy", [evidence])}
    verdict = advice_for(reading).verdict
    if "too-large" in found:
        assert verdict in ("shrink", "untrusted")
    if "oversized" in found:
        assert reading.limit > MOST_DATABASE_CONNECTIONS
        assert verdict in ("shrink", "unreachable", "untrusted")


@settings(max_examples=500, deadline=None)
@given(readings())
def test_what_is_too_small_is_not_to_stay(reading: Reading) -> None:
    if too_small([("", reading)]):
        assert advice_for(reading).verdict in ("grow", "unreachable", "untrusted")

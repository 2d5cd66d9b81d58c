"""A hold says in which trace of OpenTelemetry it was acquired, whatever the kind of pool."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, use_span
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from contract.pools import PoolUnderTest
from poolscope import Watch
from poolscope.errors import internal_errors
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.tracing import Tracing, id_of
from support.waiting import eventually


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def watch(
    tracing: Tracing, pool: PoolUnderTest, watches: Watches, registry: CollectorRegistry
) -> Watch:
    return watches.watch(pool.target, "orders", registry=registry)


def exemplars(registry: CollectorRegistry, family: str) -> dict[str, tuple[str, float]]:
    """Return the trace and the value of each exemplar, by the bound of its bucket."""
    write: Any = generate_latest
    parse: Any = text_string_to_metric_families
    return {
        sample.labels["le"]: (sample.exemplar.labels["trace_id"], sample.exemplar.value)
        for metric in parse(write(registry).decode())
        for sample in metric.samples
        if sample.name == f"{family}_bucket" and sample.exemplar is not None
    }


async def test_a_hold_knows_its_trace(pool: PoolUnderTest, watch: Watch, tracing: Tracing) -> None:
    for _ in range(2):  # the first round opens connections, the second reuses them
        with tracing.span() as first:
            held = [await pool.acquire()]
        with tracing.span(sampled=False) as second:
            assert id_of(first) == watch.holders()[0].trace_id
            held.append(await pool.acquire())
        assert [id_of(first), id_of(second)] == [hold.trace_id for hold in watch.holders()]
        for connection in held:
            await pool.release(connection)


async def test_without_a_span_there_is_no_trace(pool: PoolUnderTest, watch: Watch) -> None:
    held = await pool.acquire()
    assert [None] == [hold.trace_id for hold in watch.holders()]
    await pool.release(held)


async def test_the_slowest_hold_of_a_bucket_is_its_exemplar(
    pool: PoolUnderTest,
    watch: Watch,
    tracing: Tracing,
    clock: FakeClock,
    registry: CollectorRegistry,
) -> None:
    spans = []
    for seconds, sampled in ((0.3, True), (0.4, True), (0.35, True), (0.45, False), (7.0, True)):
        with tracing.span(sampled=sampled) as span:
            held = await pool.acquire()
            clock.advance(seconds)
            await pool.release(held)
        spans.append(id_of(span))
    found = exemplars(registry, "connpool_hold_seconds")
    assert {"0.5": (spans[1], 0.4), "10.0": (spans[4], 7.0)} == {
        bound: (trace, round(value, 9)) for bound, (trace, value) in found.items()
    }


async def test_a_long_wait_is_an_exemplar_and_an_event_of_its_span(
    pool: PoolUnderTest,
    watch: Watch,
    tracing: Tracing,
    clock: FakeClock,
    registry: CollectorRegistry,
) -> None:
    held = [await pool.acquire() for _ in range(2)]
    site = watch.holders()[0].site
    with tracing.span("late") as late:
        attempt = asyncio.ensure_future(pool.acquire())
        await eventually(1, lambda: watch.snapshot().waiting)
        clock.advance(2.0)
        await pool.release(held.pop())
        held.append(await attempt)
    for connection in held:
        await pool.release(connection)
    trace, value = exemplars(registry, "connpool_acquire_seconds")["2.5"]
    assert (id_of(late), 2.0) == (trace, round(value, 9))
    (span,) = [span for span in tracing.ended if span.name == "late"]
    (event,) = span.events
    assert "poolscope.wait" == event.name
    seen: dict[str, Any] = dict(event.attributes or {})
    assert pytest.approx(2.0) == seen.pop("seconds")
    # As it was when the caller got its connection, or just before.
    assert re.fullmatch(rf"[12] x {re.escape(str(site))} \(oldest 2\.0 s\)", seen.pop("holder"))
    assert {"pool": "orders", "kind": pool.kind} == seen


async def test_a_time_out_is_an_exemplar(
    pool: PoolUnderTest, watch: Watch, tracing: Tracing, registry: CollectorRegistry
) -> None:
    held = [await pool.acquire() for _ in range(2)]
    with tracing.span() as span, pytest.raises(pool.timeout):
        await pool.acquire_soon()
    found = exemplars(registry, "connpool_acquire_seconds")
    assert [id_of(span)] == [trace for trace, _ in found.values()]
    for connection in held:
        await pool.release(connection)


async def test_a_short_wait_is_no_event(
    pool: PoolUnderTest, watch: Watch, tracing: Tracing, clock: FakeClock
) -> None:
    held = [await pool.acquire() for _ in range(2)]
    with tracing.span("soon"):
        attempt = asyncio.ensure_future(pool.acquire())
        await eventually(1, lambda: watch.snapshot().waiting)
        clock.advance(0.009)
        await pool.release(held.pop())
        held.append(await attempt)
    for connection in held:
        await pool.release(connection)
    assert [0] == [len(span.events) for span in tracing.ended]
    assert 1 == watch.snapshot().waited


class TracerError(Exception):
    """Of a tracer's own."""


class FailingSpan(NonRecordingSpan):
    """A span whose every method that poolscope calls fails, or only the last one."""

    def __init__(self, fails: str) -> None:
        super().__init__(SpanContext(7, 1, is_remote=False))
        self._fails = fails

    def _call(self, name: str, result: Any) -> Any:
        if name == self._fails:
            raise TracerError(name)
        return result

    def get_span_context(self) -> SpanContext:
        context: SpanContext = self._call("get_span_context", super().get_span_context())
        return context

    def is_recording(self) -> bool:
        return bool(self._call("is_recording", True))

    def add_event(self, *_: Any, **__: Any) -> None:
        self._call("add_event", None)


@pytest.mark.makes_hooks_fail
@pytest.mark.parametrize("fails", ["get_span_context", "is_recording", "add_event"])
async def test_a_tracer_that_fails_does_not_reach_the_application(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock, fails: str
) -> None:
    held = [await pool.acquire() for _ in range(2)]
    before = internal_errors.count
    with use_span(FailingSpan(fails)):
        attempt = asyncio.ensure_future(pool.acquire())
        await eventually(1, lambda: watch.snapshot().waiting)
        clock.advance(2.0)
        await pool.release(held.pop())
        held.append(await attempt)
    assert internal_errors.count > before
    assert (2, 3) == (watch.snapshot().in_use, watch.snapshot().acquired)
    for connection in held:
        await pool.release(connection)

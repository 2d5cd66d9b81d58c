"""A scrape lets other threads of the service run, however many pools there are."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count, repeat
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import choose_encoder
from sqlalchemy.pool import QueuePool

from poolscope.metrics import samples as samples_of
from poolscope.metrics.pool_families import INTERNAL_ERRORS
from poolscope.metrics.rendering import rendered, wanted
from poolscope.process import pacing
from poolscope.readings.report import Report
from poolscope.watching.watches import Watches
from support.created import without_created
from support.waiting import PATIENCE

POOLS = 50


def pool() -> QueuePool:
    make: Any = object
    return QueuePool(make)


@pytest.fixture
def registry(watches: Watches) -> CollectorRegistry:
    registry = CollectorRegistry()
    pools = [pool() for _ in range(POOLS)]
    for number, watched in enumerate(pools):
        watches.watch(watched, f"pool-{number}", registry=registry)
    registry.pools = pools  # type: ignore[attr-defined]  # keeps the pools alive
    return registry


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of the test, which makes the clock advance by a second at each call."""
    made: list[float] = []
    monkeypatch.setattr(pacing, "perf_counter", partial(next, count(1.0)))
    monkeypatch.setattr(pacing, "sleep", made.append)
    return made


def test_a_scrape_pauses_before_each_pool_and_each_sample(
    registry: CollectorRegistry, pauses: list[float]
) -> None:
    samples = generate_latest(registry).count(b"\nconnpool_")
    assert samples > POOLS
    pieces = -(-POOLS // samples_of.IN_A_PIECE)
    assert [pacing.PAUSE_SECONDS] * (POOLS + samples + pieces) == pauses


def test_a_short_scrape_makes_no_pauses(
    registry: CollectorRegistry, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "perf_counter", partial(next, repeat(0.0)))
    generate_latest(registry)
    assert not pauses


def test_adding_a_pool_does_not_wait_for_the_end_of_a_scrape(
    registry: CollectorRegistry, watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would block the event loop of an application that creates a pool for each request."""
    with ThreadPoolExecutor(1) as thread:

        def add(_: object) -> None:
            new = pool()
            adding = thread.submit(watches.watch, new, f"added-{id(new)}", registry=registry)
            adding.result(timeout=PATIENCE).unwatch()
            added.append(new)

        added: list[QueuePool] = []
        scrape = iter(registry.collect())
        with monkeypatch.context() as patched:
            patched.setattr(pacing.Pacer, "yield_gil", add)
            families = [next(scrape)]
        families += scrape
    assert POOLS == len(added)
    (instances,) = [family for family in families if family.name == "connpool_instances"]
    assert POOLS == len(instances.samples)


def test_a_scrape_pauses_between_freeing_pieces_of_the_reports(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples_of, "IN_A_PIECE", 20)
    counts: list[int] = []
    # Reports of other tests that still exist do not count.
    others = {id(found): found for found in gc.get_objects() if type(found) is Report}

    def count_reports(_: object) -> None:
        reports = (found for found in gc.get_objects() if type(found) is Report)
        counts.append(sum(id(report) not in others for report in reports))

    for family in registry.collect():
        if family.name == INTERNAL_ERRORS.name.removesuffix("_total"):
            monkeypatch.setattr(pacing.Pacer, "yield_gil", count_reports)
    assert [40, 20, 0] == counts


@pytest.mark.parametrize("size", [1, 20, POOLS - 1, POOLS, POOLS + 1])
@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_a_text_in_pieces_equals_the_text_in_one_piece(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, size: int, accept: str
) -> None:
    whole = choose_encoder(accept)[0](registry)
    monkeypatch.setattr(samples_of, "IN_A_PIECE", size)
    parts = rendered(registry, wanted(accept, "", "")).parts
    assert whole == without_created(b"".join(parts))

"""A scrape lets the service go on, however many pools there are."""

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

from poolscope import pacing as pacer
from poolscope.metrics import samples as samples_of
from poolscope.metrics.pool_families import INTERNAL_ERRORS
from poolscope.metrics.rendering import rendered
from poolscope.readings.report import Report
from poolscope.watching.watches import Watches
from support.waiting import PATIENCE

POOLS = 50


def pool() -> QueuePool:
    make: Any = object
    return QueuePool(make)


@pytest.fixture
def registry(watches: Watches) -> CollectorRegistry:
    registry = CollectorRegistry()
    pools = [pool() for _ in range(POOLS)]
    for number, one in enumerate(pools):
        watches.watch(one, f"pool-{number}", registry=registry)
    registry.pools = pools  # type: ignore[attr-defined]  # so that they live as long
    return registry


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return what is filled with pauses, as if each look at the clock came a second later."""
    made: list[float] = []
    monkeypatch.setattr(pacer, "perf_counter", partial(next, count(1.0)))
    monkeypatch.setattr(pacer, "sleep", made.append)
    return made


def test_others_may_run_before_each_pool_and_each_sample(
    registry: CollectorRegistry, pauses: list[float]
) -> None:
    samples = generate_latest(registry).count(b"\nconnpool_")
    assert samples > POOLS
    pieces = -(-POOLS // samples_of.IN_A_PIECE)
    own = 1  # of internal errors, which is there at once
    assert [pacer.PAUSE_SECONDS] * (POOLS + samples - own + pieces) == pauses


def test_a_scrape_makes_no_pauses_where_it_is_short(
    registry: CollectorRegistry, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacer, "perf_counter", partial(next, repeat(0.0)))
    generate_latest(registry)
    assert not pauses


def test_who_adds_a_pool_does_not_wait_for_a_scrape_to_end(
    registry: CollectorRegistry, watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event loop would be blocked for that long: its pool may be one per request."""
    with ThreadPoolExecutor(1) as thread:

        def add(_: object) -> None:
            one = pool()
            adding = thread.submit(watches.watch, one, f"added-{id(one)}", registry=registry)
            adding.result(timeout=PATIENCE).unwatch()
            added.append(one)

        added: list[QueuePool] = []
        scrape = iter(registry.collect())
        with monkeypatch.context() as patched:
            patched.setattr(pacer.Pacer, "yield_gil", add)
            families = [next(scrape)]
        families += scrape
    assert POOLS == len(added)
    (instances,) = [family for family in families if family.name == "connpool_instances"]
    assert POOLS == len(instances.samples)


def test_others_may_run_between_letting_go_of_some_reports_and_of_more(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples_of, "IN_A_PIECE", 20)
    left: list[int] = []
    # Those that another test has left somewhere are there before and after.
    others = {id(one): one for one in gc.get_objects() if isinstance(one, Report)}

    def count_reports(_: object) -> None:
        reports = (one for one in gc.get_objects() if isinstance(one, Report))
        left.append(sum(id(one) not in others for one in reports))

    for family in registry.collect():
        if family.name == INTERNAL_ERRORS.name.removesuffix("_total"):
            monkeypatch.setattr(pacer.Pacer, "yield_gil", count_reports)
    assert [40, 20, 0] == left


@pytest.mark.parametrize("size", [1, 20, POOLS - 1, POOLS, POOLS + 1])
@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_a_text_in_pieces_is_that_of_all_at_once(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, size: int, accept: str
) -> None:
    whole = choose_encoder(accept)[0](registry)
    monkeypatch.setattr(samples_of, "IN_A_PIECE", size)
    parts = rendered(registry, accept, "", {}).parts
    assert whole == b"".join(parts)

"""Since when counters and histograms count: the `_created` samples of OpenMetrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import sqlalchemy
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from poolscope.fleet.fleet import Fleet
from poolscope.metrics.exporter_families import Scrape
from poolscope.metrics.exposition import expose, rendered_scrape
from poolscope.metrics.rendering import Wanted, rendered, wanted
from poolscope.watching.watches import Watches

OPENMETRICS = "application/openmetrics-text; version=1.0.0"

Created = dict[tuple[str, frozenset[tuple[str, str]]], float]


def created(text: bytes) -> Created:
    """
    Return the `_created` samples, by the name of their family and their labels.

    Fails unless each counter and each histogram has one, with the same labels, and no gauge has.
    """
    counts: set[tuple[str, frozenset[tuple[str, str]]]] = set()
    times: Created = {}
    families: Any = text_string_to_metric_families
    for family in families(text.decode()):
        for sample in family.samples:
            key = family.name, frozenset(sample.labels.items())
            if sample.name.endswith("_created"):
                times[key] = sample.value
            elif sample.name.endswith(("_total", "_count")):
                counts.add(key)
    assert counts == times.keys()
    return times


def served(registry: CollectorRegistry) -> Created:
    return created(b"".join(rendered(registry, wanted(OPENMETRICS, "", "")).parts))


def exported(fleet: Fleet) -> Created:
    return created(expose(Scrape(fleet.scan(), 0.0, "1.2.3"), OPENMETRICS)[0])


def assert_asked_alone(render: Callable[[Wanted], bytes]) -> None:
    """Fail unless `name[]` selects such samples in OpenMetrics, and nothing in text."""
    for name in ("connpool_acquires_created", "connpool_hold_seconds_created"):
        text = render(wanted(OPENMETRICS, "", f"name[]={name}")).decode()
        samples = [line for line in text.splitlines() if not line.startswith("#")]
        assert {name} == {sample.partition("{")[0] for sample in samples}
        assert b"" == render(wanted("", "", f"name[]={name}"))


class TestOfTheProcess:
    @pytest.fixture
    def registry(self) -> CollectorRegistry:
        return CollectorRegistry()

    @pytest.fixture
    def engine(self) -> Iterator[sqlalchemy.Engine]:
        engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool)
        yield engine
        engine.dispose()

    def test_they_count_since_the_first_pool_of_the_name_was_watched(
        self, watches: Watches, registry: CollectorRegistry, engine: sqlalchemy.Engine
    ) -> None:
        begun = time.time()
        watch = watches.watch(engine, "orders", registry=registry)
        ended = time.time()
        engine.connect().close()
        times = served(registry)
        pools = {value for (_, labels), value in times.items() if ("pool", "orders") in labels}
        (since,) = pools
        assert begun <= since <= ended
        assert 0 < times["connpool_internal_errors", frozenset()] <= begun
        # The counters go on where they were, so they still count since then.
        watch.unwatch()
        watches.watch(engine, "orders", registry=registry)
        assert times == served(registry)

    def test_a_client_may_ask_for_them_alone(
        self, watches: Watches, registry: CollectorRegistry, engine: sqlalchemy.Engine
    ) -> None:
        watches.watch(engine, "orders", registry=registry)
        engine.connect().close()
        assert_asked_alone(lambda asked: b"".join(rendered(registry, asked).parts))

    @pytest.mark.parametrize("name", ["connpool_hold_seconds_created", None])
    def test_they_are_left_out_where_they_are_disabled(
        self,
        watches: Watches,
        registry: CollectorRegistry,
        engine: sqlalchemy.Engine,
        name: str | None,
    ) -> None:
        watches.watch(engine, "orders", registry=registry)
        engine.connect().close()
        query = "" if name is None else f"name[]={name}"
        client: Any = prometheus_client
        client.disable_created_metrics()
        try:
            text = b"".join(rendered(registry, wanted(OPENMETRICS, "", query)).parts)
        finally:
            client.enable_created_metrics()
        assert b"_created{" not in text
        assert text.endswith(b"# EOF\n")

    def test_those_of_a_forked_child_count_since_the_fork(
        self, watches: Watches, registry: CollectorRegistry, engine: sqlalchemy.Engine
    ) -> None:
        watches.watch(engine, "orders", registry=registry)
        before = served(registry)
        watches.forked()
        after = served(registry)
        changed = {key for key in before if after[key] > before[key]}
        assert {key for key in before if key[1]} == changed

    @pytest.mark.parametrize("generate", [generate_latest, generate_openmetrics])
    def test_whoever_else_writes_the_metrics_gets_none(
        self,
        watches: Watches,
        registry: CollectorRegistry,
        engine: sqlalchemy.Engine,
        generate: Callable[[CollectorRegistry], bytes],
    ) -> None:
        watches.watch(engine, "orders", registry=registry)
        engine.connect().close()
        assert b"_created{" not in generate(registry)

    def test_text_has_none(
        self, watches: Watches, registry: CollectorRegistry, engine: sqlalchemy.Engine
    ) -> None:
        watches.watch(engine, "orders", registry=registry)
        engine.connect().close()
        assert b"connpool_instances_created_total" in generate_latest(registry)
        for text in rendered(registry, wanted("", "", "")).parts:
            assert b"_created{" not in text


class TestOfTheExporter:
    def test_they_count_since_the_first_process_whoever_ends_and_restarts(
        self, workers: Any, folder: Path
    ) -> None:
        begun = time.time()
        first = workers()
        ended = time.time()
        second = workers()
        fleet = Fleet(folder)
        second.tell("use 3")
        times = exported(fleet)
        (since,) = set(times.values())
        assert begun <= since <= ended
        first.kill()
        assert times == exported(fleet)
        second.end()
        assert times == exported(fleet)
        fleet.close()
        workers()
        restarted = Fleet(folder)
        assert times == exported(restarted)
        restarted.close()

    def test_a_name_of_its_own_counts_from_its_own_begin(self, workers: Any, folder: Path) -> None:
        workers().end()
        begun = time.time()
        workers("billing")
        fleet = Fleet(folder)
        for (_, labels), since in exported(fleet).items():
            assert (("pool", "billing") in labels) == (since >= begun)
        fleet.close()

    def test_a_forked_child_counts_since_the_fork(self, workers: Any, folder: Path) -> None:
        worker = workers()
        begun = time.time()
        worker.tell("fork", "use 3")
        fleet = Fleet(folder)
        times = [pool.since for process in fleet.scan().processes for pool in process.pools]
        fleet.close()
        assert 1 == len(times)
        assert times[0] >= begun

    def test_a_client_may_ask_for_them_alone(self, workers: Any, folder: Path) -> None:
        workers().tell("use 3")
        fleet = Fleet(folder)
        scrape = Scrape(fleet.scan(), 0.0, "1.2.3")
        fleet.close()
        assert_asked_alone(lambda asked: b"".join(rendered_scrape(scrape, asked).parts))

    def test_text_has_none(self, workers: Any, folder: Path) -> None:
        workers().tell("use 3")
        fleet = Fleet(folder)
        text = expose(Scrape(fleet.scan(), 0.0, "1.2.3"), "")[0]
        fleet.close()
        assert b"connpool_hold_seconds_count" in text
        assert b"_created{" not in text

"""Registries that lose the collector, and a default registry that is replaced."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import asyncpg
import prometheus_client
import pytest
import sqlalchemy
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

import poolscope
from poolscope.errors import internal_errors
from poolscope.watching.watches import Watches
from support.waiting import PATIENCE


def unregister_all(registry: Any) -> None:
    for collector in list(registry._collector_to_names):
        registry.unregister(collector)


def clear_collectors(registry: Any) -> None:
    registry._collector_to_names.clear()


def clear_names(registry: Any) -> None:
    registry._names_to_collectors.clear()


def clear_both(registry: Any) -> None:
    clear_collectors(registry)
    clear_names(registry)


LOSSES = (unregister_all, clear_collectors, clear_names, clear_both)

every_loss = pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)


@pytest.fixture
def default(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    """A default registry of the test's own."""
    registry = CollectorRegistry(auto_describe=True)
    monkeypatch.setattr(prometheus_client, "REGISTRY", registry)
    return registry


@pytest.fixture(params=["default", "custom"])
def registry(request: pytest.FixtureRequest, default: CollectorRegistry) -> CollectorRegistry:
    return default if request.param == "default" else CollectorRegistry()


@pytest.fixture
def watch(watches: Watches, default: CollectorRegistry, registry: CollectorRegistry) -> Any:
    """Watches a pool in the registry; the default one is not named."""
    options: dict[str, Any] = {} if registry is default else {"registry": registry}

    def watch(target: Any, name: str) -> poolscope.Watch:
        return watches.watch(target, name, **options)

    return watch


def pools_in(registry: CollectorRegistry) -> list[str]:
    """Return the pools of the registry, as a scrape shows them; each sample once only."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    samples = [sample for family in families for sample in family.samples]
    series = Counter((sample.name, *sorted(sample.labels.items())) for sample in samples)
    assert [] == [each for each, times in series.items() if times > 1]
    restricted: Any = registry.restricted_registry(["connpool_limit"])
    asked = [sample.labels["pool"] for family in restricted.collect() for sample in family.samples]
    shown = [sample.labels["pool"] for sample in samples if sample.name == "connpool_limit"]
    assert sorted(shown) == sorted(asked)
    return sorted(shown)


@every_loss
def test_a_registry_that_has_lost_the_collector_gets_it_again(
    watch: Any, registry: CollectorRegistry, sqlite: Any, lose: Callable[[Any], None]
) -> None:
    engines = [sqlite() for _ in range(3)]
    watch(engines[0], "a")
    for _ in range(2):
        lose(registry)
        watch(engines[1], "b")
        assert ["a", "b"] == pools_in(registry)
    watch(engines[2], "c")
    assert ["a", "b", "c"] == pools_in(registry)
    unregister_all(registry)
    assert [] == pools_in(registry)


@every_loss
async def test_a_pool_that_is_watched_again_appears_again(
    watch: Any, registry: CollectorRegistry, sqlite: Any, lose: Callable[[Any], None]
) -> None:
    async with aiohttp.ClientSession() as session:
        for target in (sqlite(), asyncpg.create_pool(min_size=0), session):
            with watch(target, "a") as first:
                lose(registry)
                assert first is watch(target, "a")
                assert ["a"] == pools_in(registry)


def test_several_registries_get_their_own_collectors_again(watches: Watches, sqlite: Any) -> None:
    registries = [CollectorRegistry() for _ in range(3)]
    engines = {name: sqlite() for name in ("a", "b", "c", "d", "e", "f")}
    for name, registry in zip("abc", registries, strict=True):
        watches.watch(engines[name], name, registry=registry)
    for registry in registries:
        unregister_all(registry)
    watches.watch(engines["d"], "d", registry=registries[0])
    assert [["a", "d"], [], []] == [pools_in(registry) for registry in registries]
    for name, registry in zip("ef", registries[1:], strict=True):
        watches.watch(engines[name], name, registry=registry)
    assert [["a", "d"], ["b", "e"], ["c", "f"]] == [pools_in(registry) for registry in registries]


def test_who_wants_no_registry_gets_nothing_registered_again(
    watches: Watches, default: CollectorRegistry, sqlite: Any
) -> None:
    engine = sqlite()
    watches.watch(engine, "a")
    unregister_all(default)
    watches.watch(engine, "a", registry=None)
    assert [] == pools_in(default)


class TestTheDefaultRegistryIsReplaced:
    @pytest.fixture
    def replaced(
        self, watches: Watches, sqlite: Any, default: CollectorRegistry, monkeypatch: Any
    ) -> tuple[sqlalchemy.Engine, CollectorRegistry]:
        """An engine that is watched, and the registry that then takes the default one's place."""
        engine = sqlite()
        watches.watch(engine, "a")
        other = CollectorRegistry()
        monkeypatch.setattr(prometheus_client, "REGISTRY", other)
        return engine, other

    def test_the_new_one_has_all_pools(self, watches: Watches, sqlite: Any, replaced: Any) -> None:
        second, (_, other) = sqlite(), replaced
        watches.watch(second, "b")
        assert ["a", "b"] == pools_in(other)

    def test_a_pool_that_is_watched_again_appears_there(
        self, watches: Watches, default: CollectorRegistry, replaced: Any
    ) -> None:
        engine, other = replaced
        watches.watch(engine, "a")
        assert ["a"] == pools_in(other) == pools_in(default)

    def test_the_old_one_can_still_be_named(
        self, watches: Watches, default: CollectorRegistry, sqlite: Any, replaced: Any
    ) -> None:
        engine = sqlite()
        watches.watch(engine, "b", registry=default)
        assert ["a", "b"] == pools_in(default)
        assert [] == pools_in(replaced[1])

    def test_one_that_has_pools_of_its_own_keeps_them(
        self, watches: Watches, sqlite: Any, replaced: Any
    ) -> None:
        named, unnamed = sqlite(), sqlite()
        watches.watch(named, "b", registry=replaced[1])
        watches.watch(unnamed, "c")
        assert ["b", "c"] == pools_in(replaced[1])


@every_loss
def test_threads_that_watch_at_once_register_it_once(
    watch: Any, registry: CollectorRegistry, sqlite: Any, lose: Callable[[Any], None]
) -> None:
    names = [f"pool-{number}" for number in range(8)]
    together = threading.Barrier(len(names), timeout=PATIENCE)
    engines = [sqlite() for _ in names]
    watch(engines[0], names[0])
    lose(registry)

    def begin(engine: sqlalchemy.Engine, name: str) -> None:
        together.wait()
        watch(engine, name)

    with ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(begin, engines, names))
    assert names == pools_in(registry)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_registers_it_again_while_a_thread_of_its_parent_is_at_it(
    watch: Any, watches: Watches, registry: CollectorRegistry, sqlite: Any
) -> None:
    engines = sqlite(), sqlite()
    watch(engines[0], "a")
    engines[0].connect().close()
    begun, end = threading.Event(), threading.Event()

    def be_registering() -> None:
        with watches._collectors._lock:
            begun.set()
            end.wait(PATIENCE)

    thread = threading.Thread(target=be_registering)
    thread.start()
    begun.wait(PATIENCE)
    child = os.fork()
    if child == 0:
        try:
            unregister_all(registry)
            watch(engines[1], "b")
            engines[1].connect().close()
            # The child has not used the other pool.
            right = ["b"] == pools_in(registry)
        except BaseException:
            right = False
        os._exit(0 if right else 1)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    end.set()
    thread.join()
    assert ["a"] == pools_in(registry)


class Wrapping(CollectorRegistry):
    """A registry that registers something else in the place of each collector."""

    registered = 0

    def register(self, collector: Collector) -> None:
        self.registered += 1

        class Wrapped(Collector):
            def collect(self) -> Iterable[Metric]:
                return collector.collect()

        super().register(Wrapped())


def test_a_registry_that_cannot_tell_what_it_has_gets_it_once(
    watches: Watches, sqlite: Any
) -> None:
    registry, engines = Wrapping(), (sqlite(), sqlite())
    for engine, name in zip(engines, ("a", "b"), strict=True):
        watches.watch(engine, name, registry=registry)
    assert 1 == registry.registered
    assert 1 == generate_latest(registry).count(b'connpool_limit{kind="sqlalchemy",pool="b"}')


class Foreign(Collector):
    """Has the name of one of our metrics."""

    def describe(self) -> Iterable[Metric]:
        return [Metric("connpool_limit", "", "gauge")]

    def collect(self) -> Iterable[Metric]:
        return []


@pytest.mark.makes_hooks_fail
def test_a_collector_that_cannot_be_registered_again_is_an_error_of_ours(
    watch: Any, registry: CollectorRegistry, sqlite: Any
) -> None:
    engines, errors = (sqlite(), sqlite()), internal_errors.count
    watch(engines[0], "a")
    unregister_all(registry)
    registry.register(Foreign())
    watch(engines[1], "b")
    assert errors + 1 == internal_errors.count
    unregister_all(registry)
    watch(engines[1], "b")
    assert ["a", "b"] == pools_in(registry)


PROGRAM = """
import poolscope, prometheus_client, sqlalchemy
from prometheus_client import REGISTRY, generate_latest

engines = [sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool) for _ in "ab"]
poolscope.watch(engines[0], name="a")
for collector in list(REGISTRY._collector_to_names):
    REGISTRY.unregister(collector)
poolscope.watch(engines[1], name="b")
print(generate_latest().decode().count("connpool_limit{"), end="")
"""


def test_the_default_registry_of_the_process_gets_it_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert ("2", "") == (done.stdout, done.stderr)

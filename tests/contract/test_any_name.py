"""Any string is the name of a pool: all that is served of it can be read, and agrees."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Metric, generate_latest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families as text_families

from contract.pools import PoolUnderTest
from poolscope.exporter import api
from poolscope.exporter.history import History
from poolscope.fleet.fleet import Fleet
from poolscope.fleet.folder import Folder
from poolscope.label_values import label_value
from poolscope.metrics.exporter_families import Scrape
from poolscope.metrics.exposition import expose
from poolscope.metrics.rendering import rendered, wanted
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support import pools_schema

TEXT, OPENMETRICS = "text/plain; version=0.0.4", "application/openmetrics-text; version=1.0.0"

ODD_NAMES = [
    "shop\ud800",
    "caf\udce9",
    "nul\0",
    "two\nlines\r",
    "\x1b[31m\x85\u2028",
    'quo"te\\n',
    "\\ud800",
    "x" * 10_000_000,
    "\U0001f600" * 119,
    "other",
    " ",
]


def parsed(text: bytes, accept: str) -> list[Metric]:
    parse = openmetrics_families if accept == OPENMETRICS else text_families
    return list(parse(text.decode()))


def pools_in(families: list[Metric]) -> set[str]:
    samples = [sample for family in families for sample in family.samples]
    return {sample.labels["pool"] for sample in samples if "pool" in sample.labels}


async def test_any_string_is_a_name(
    pool: PoolUnderTest, tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "poolscope")
    for number, name in enumerate(ODD_NAMES):
        caplog.clear()
        await serve(pool, name, tmp_path / str(number), clock, caplog)


async def serve(
    pool: PoolUnderTest, name: str, folder: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Watch the pool by this name, and read what is served and logged of it."""
    registry = CollectorRegistry()
    Counter("of_the_application", "Something else.", registry=registry).inc()
    watches = Watches(clock, Folder(folder))
    watch = watches.watch(pool.target, name, registry=registry, leak_after=1.0)
    assert watch is watches.watch(pool.target, name, registry=registry)
    shown = label_value(name)
    connection = await pool.acquire()
    clock.advance(2.0)
    texts = [(generate_latest(registry), TEXT)]
    texts += [
        (b"".join(rendered(registry, wanted(accept, "", "")).parts), accept)
        for accept in (TEXT, OPENMETRICS)
    ]
    for text, accept in texts:
        families = parsed(text, accept)
        assert {shown} == pools_in(families)
        assert "of_the_application" in {family.name for family in families}
    fleet = Fleet(folder, clock)
    scrape = Scrape(fleet.scan(), 0.0, "1.2.3", per_process=True)
    for accept in (TEXT, OPENMETRICS):
        assert {shown} == pools_in(parsed(expose(scrape, accept)[0], accept))
    document: Any = json.loads(json.dumps(api.document(scrape, History())).encode())
    pools_schema.check(document)
    fleet.close()
    await pool.release(connection)
    assert [shown] == [each["pool"] for each in document["pools"]]
    assert {shown} == {hold["pool"] for hold in logged(caplog)}
    assert shown == watch.name == watch.snapshot().name
    for record in caplog.records:
        assert len(record.getMessage().encode().splitlines()) == 1
    watch.unwatch()


def logged(caplog: pytest.LogCaptureFixture) -> list[Any]:
    """Return the facts of the records about pools."""
    records: list[Any] = caplog.records
    facts = [record.poolscope for record in records if hasattr(record, "poolscope")]
    return [each for each in facts if "pool" in each]


async def test_two_names_that_differ_in_what_cannot_be_shown_stay_two(
    pool: PoolUnderTest, watches: Watches
) -> None:
    watch = watches.watch(pool.target, "shop\ud800", registry=None)
    with pytest.raises(ValueError, match="already watched as"):
        watches.watch(pool.target, "shop\ud801", registry=None)
    watch.unwatch()

"""One process or hundreds, with and without labels of a service: each alert fires once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mixin.alerts.replay import alert, fires
from mixin.alerts.simulated_day import Series
from poolscope.fleet.fleet import Fleet
from poolscope.metrics.exporter_families import Scrape
from poolscope.metrics.exposition import expose
from poolscope.mixin.queries import name_of
from poolscope.testing import FakeClock
from support.waiting import eventually

MINUTES: Final = 30
SCRAPE: Final = 15
"""Seconds between two scrapes, where they count."""

EXHAUSTED: Final = {"saturated_seconds_total": 60.0, "waiting_seconds_total": 300.0}
HEALTHY: Final = dict.fromkeys(EXHAUSTED, 0.0)
ATTEMPTS: Final = {'acquires_total{outcome="ok"}': 100.0}
TIMING_OUT: Final = {'acquires_total{outcome="timeout"}': 20.0}

SCOPES: Final[tuple[dict[str, str], ...]] = (
    {},
    {"cluster": "eu"},
    {"service": "shop"},
    {"cluster": "eu", "service": "shop"},
)


def processes(each: list[dict[str, float]], scope: dict[str, str]) -> Series:
    """
    Return the series of processes, each with its own instance, from their growth per minute.

    Connections are returned within the same minute: a process that takes some and never returns
    one looks like one that was killed.
    """
    found: Series = {}
    for number, grown in enumerate(each):
        labels = {**scope, "instance": f"worker-{number}", "pool": "orders", "kind": "asyncpg"}
        found[series("instances", labels)] = [1.0] * MINUTES
        for name, value in grown.items():
            found[series(name, labels)] = [value * minute for minute in range(MINUTES)]
        returned = grown.get('acquires_total{outcome="ok"}', 0.0)
        held = series("hold_seconds", labels).replace("{", "_count{")
        found[held] = [returned * minute for minute in range(MINUTES)]
    return found


def series(name: str, labels: dict[str, str]) -> str:
    family, _, own = name.partition("{")
    inside = [f'{key}="{value}"' for key, value in labels.items()]
    return f"{name_of(family)}{{{','.join([*inside, *filter(None, [own.removesuffix('}')])])}}}"


@pytest.mark.parametrize("scope", SCOPES, ids=" and ".join)
@pytest.mark.parametrize("count", [1, 200])
def test_the_alert_of_all_processes_fires_once(
    promtool: str, tmp_path: Path, defaults: Path, count: int, scope: dict[str, str]
) -> None:
    bad = EXHAUSTED | ATTEMPTS | TIMING_OUT
    assert "" == fires(
        promtool,
        tmp_path,
        defaults,
        processes([bad] * count, scope),
        [
            alert("ConnPoolAcquireTimeouts", "critical"),
            alert("ConnPoolAcquireTimeouts", "warning"),
            alert("ConnPoolExhausted", "critical"),
            alert("ConnPoolExhausted", "warning"),
        ],
    )


def test_one_bad_process_of_hundreds_does_not_page(
    promtool: str, tmp_path: Path, defaults: Path
) -> None:
    one = EXHAUSTED | ATTEMPTS | {'acquires_total{outcome="timeout"}': 1.0}
    others = HEALTHY | ATTEMPTS
    each = processes([one] + [others] * 199, {})
    assert "" == fires(promtool, tmp_path, defaults, each, [])


def test_timeouts_count_by_their_number(promtool: str, tmp_path: Path, defaults: Path) -> None:
    """Half of the attempts of an idle process are few attempts; a mean of ratios would be 25%."""
    idle = HEALTHY | {'acquires_total{outcome="ok"}': 5.0, 'acquires_total{outcome="timeout"}': 5.0}
    busy = HEALTHY | {'acquires_total{outcome="ok"}': 10_000.0}
    each = processes([idle, busy], {})
    assert "" == fires(promtool, tmp_path, defaults, each, [])


@pytest.mark.parametrize("fork", ["fork", "fork in C"])
async def test_the_only_worker_of_a_master_pages_within_two_minutes(
    promtool: str, tmp_path: Path, defaults: Path, folder: Path, workers: Any, fork: str
) -> None:
    """The master has watched the pool before it has forked, and never uses it."""
    workers().tell(fork, *["take"] * 4, *["wait"] * 20)
    clock = FakeClock(time.monotonic())
    fleet = Fleet(folder, clock)
    await eventually(20.0, lambda: fleet.scan().reports[0].reading.waiting)
    found: Series = {}
    scrapes = 120 // SCRAPE + 1
    for _ in range(scrapes):
        text, _ = expose(Scrape(fleet.scan(), 0.0, ""), "text/plain")
        for family in text_string_to_metric_families(text.decode()):
            for sample in family.samples:
                labels = [f'{name}="{value}"' for name, value in sample.labels.items()]
                name = f"{sample.name}{{{','.join(labels)}}}"
                found.setdefault(name, []).append(sample.value)
        clock.advance(SCRAPE)
    fleet.close()
    assert [[1.0] * scrapes] == [found[name] for name in found if "connpool_instances{" in name]
    expected = [alert("ConnPoolExhausted", "critical")]
    assert "" == fires(promtool, tmp_path, defaults, found, expected, SCRAPE)
    sooner = {name: values[:-2] for name, values in found.items()}
    assert "" == fires(promtool, tmp_path, defaults, sooner, [], SCRAPE)

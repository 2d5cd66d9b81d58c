"""Replays of what happens in a large estate: what must fire, and what must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixin.alerts import (
    replays_of_an_estate,
    replays_of_failed_scrapes,
    replays_of_full_pools,
    replays_of_given_up_waits,
    replays_of_hosts,
    replays_of_load,
    replays_of_processes,
    replays_of_releases,
    replays_of_scraping,
    replays_of_slow_attempts,
)
from mixin.alerts.estate import Replay
from mixin.alerts.replay import fires
from mixin.alerts.simulated_day import Series

REPLAYS = [
    *replays_of_processes.REPLAYS,
    *replays_of_slow_attempts.REPLAYS,
    *replays_of_failed_scrapes.REPLAYS,
    *replays_of_full_pools.REPLAYS,
    *replays_of_given_up_waits.REPLAYS,
    *replays_of_hosts.REPLAYS,
    *replays_of_an_estate.REPLAYS,
    *replays_of_releases.REPLAYS,
    *replays_of_scraping.REPLAYS,
    *replays_of_load.REPLAYS,
]


@pytest.mark.parametrize("replay", REPLAYS, ids=lambda replay: replay.name)
def test_a_replay_fires_its_alerts_and_no_others(
    promtool: str, tmp_path: Path, defaults: Path, replay: Replay
) -> None:
    estate = replay.estate
    assert "" == fires(
        promtool, tmp_path, defaults, estate.series, replay.expected, step=estate.step
    )


def test_the_rise_of_a_monday_after_an_idle_weekend_is_as_usual(
    promtool: str, tmp_path: Path, defaults: Path
) -> None:
    """Working days from 8 to 20 o'clock, of which the ninth is the Monday after a weekend."""
    hour = 12
    steps = range(8 * 24 * hour + 15 * hour)

    def used(step: int) -> float:
        day, now = divmod(step / hour, 24)
        rising = min(1.0, max(0.0, (now - 8) / 7)) if now < 20 else 0.0
        return 0.05 + (0.7 * rising if day not in (5, 6) else 0.0)

    labels = 'cluster="eu",service="shop",pool="orders",kind="asyncpg"'
    series: Series = {
        f"pool:connpool_in_use_seconds:ratio_rate5m{{{labels}}}": [used(step) for step in steps],
        f"connpool_limit{{{labels}}}": [20.0 for _ in steps],
    }
    assert "" == fires(promtool, tmp_path, defaults, series, [], step=300)

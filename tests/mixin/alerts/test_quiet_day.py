"""On a quiet day no alert fires; on the same day with an exhausted pool, the right ones do."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from mixin.alerts.replay import alert, fires
from mixin.alerts.simulated_day import DAY, Day

NOON: Final = 720


def test_no_alert_fires_on_a_quiet_day(promtool: str, tmp_path: Path, defaults: Path) -> None:
    assert "" == fires(promtool, tmp_path, defaults, Day().series(), [])


def test_alerts_fire_on_the_same_day_with_an_exhausted_pool(
    promtool: str, tmp_path: Path, defaults: Path
) -> None:
    day = Day(days=1, exhausted=range(NOON, NOON + 30))
    series = {name: samples[: NOON + 60] for name, samples in day.series().items()}
    assert "" == fires(
        promtool,
        tmp_path,
        defaults,
        series,
        [
            alert("ConnPoolAcquireSlow", "critical", 2),
            alert("ConnPoolAcquireSlow", "warning", 2),
            alert("ConnPoolAcquireTimeouts", "critical"),
            alert("ConnPoolAcquireTimeouts", "warning"),
            alert("ConnPoolExhausted", "critical"),
            alert("ConnPoolExhausted", "warning"),
            alert("ConnPoolNearExhaustion", "warning"),
        ],
    )


@pytest.mark.parametrize("days", [1, 2])
def test_the_simulated_day_has_deploys(days: int) -> None:
    series = Day(days=days).series()
    assert {days * DAY} == {len(samples) for samples in series.values()}
    processes = [name for name in series if name.startswith("up{") and "billing" in name]
    assert 4 * (1 + 2 * days) == len(processes), "deploys replace each process"

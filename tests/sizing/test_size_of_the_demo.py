"""`poolscope size` on the demo's service: its advice is followed there, and the goal is met."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from mixin.dashboards.gates.fixtures import prometheus, prometheus_program
from poolscope.cli import main
from poolscope.demo.postgres import EmbeddedPostgres
from support.exporters import ExporterProcess
from support.live_demo import WORKERS, DemoWorker
from support.prometheus import PrometheusServer, job

__all__ = ["prometheus", "prometheus_program"]

RATE: Final = 10
"""Requests each second to each worker. Each holds a connection for 50 to 150 ms."""

ACQUIRED: Final = 'connpool_acquires_total{pool="orders",outcome="ok"}'

CALLERS: Final = 240
"""While Prometheus looks."""

GOAL_SECONDS: Final = 0.25


def test_the_advice_for_the_demo_meets_the_goal(
    tmp_path: Path,
    postgres: EmbeddedPostgres,
    prometheus: Callable[..., PrometheusServer],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def advice(size: int) -> Any:
        pools = tmp_path / f"size-{size}"
        options = (f"--size=orders={size}", f"--rate=orders={RATE}")
        with ExitStack() as stack:
            for _ in range(WORKERS):
                stack.callback(DemoWorker(pools, postgres, *options).stop)
            exporter = ExporterProcess(pools, "--postgres", postgres.dsn)
            stack.callback(exporter.kill)
            scraped = prometheus(job("shop", exporter.url))
            scraped.wait_for(f"increase({ACQUIRED}[5m]) >= {CALLERS}")
            goal = ("--wait-p99", f"{GOAL_SECONDS}s", "--format", "json")
            assert 0 == main(["size", "--prometheus", scraped.url, "--pool", "orders", *goal])
        (found,) = json.loads(capsys.readouterr().out)
        return found

    before = advice(2)
    assert ("grow", 2, WORKERS) == (before["verdict"], before["size"], before["processes"])
    assert before["measured"]["rate"] == pytest.approx(WORKERS * RATE, rel=0.25)
    assert before["measured"]["waited"] > 0
    after = advice(before["recommended"])
    assert "keep" == after["verdict"]
    assert before["recommended"] == after["size"]
    _, longest = after["wait_p99"]["measured"]
    assert longest <= GOAL_SECONDS

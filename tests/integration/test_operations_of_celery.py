"""In real Celery workers, each connection that a task of `examples/` holds shows the task."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from support.example_services import (
    CONNECTIONS,
    SECONDS,
    OrdersDatabase,
    by_operation,
    database,
    expect,
    held,
    leaked,
    metrics_of,
    start,
)
from support.exporters import ExporterProcess, exporter
from support.waiting import PATIENCE

__all__ = ["database", "exporter", "start"]

WORKER: Final = ("celery", "--app", "celery_worker", "worker", "--concurrency", "2", "--pool")
TASK: Final = "celery_worker.place_order"


@pytest.mark.parametrize("kind", ["prefork", "threads"])
def test_each_hold_shows_its_task(
    kind: str,
    start: Callable[..., subprocess.Popen[bytes]],
    exporter: ExporterProcess,
    database: OrdersDatabase,
    tmp_path: Path,
) -> None:
    (tmp_path / "queue").mkdir()
    send = "import celery_worker as shop; [shop.place_order.delay(n) for n in (4711, 4712)]"
    (tmp_path / "send.py").write_text(send)
    start(*WORKER, kind)
    with database.locked():
        assert 0 == start("send").wait(PATIENCE)
        expect({TASK: 2}, lambda: held(exporter))
        assert {TASK: 2} == by_operation(CONNECTIONS, metrics_of(exporter))
        database.fail(2)
        expect({}, lambda: held(exporter))

        assert 0 == start("send").wait(PATIENCE)
        expect({TASK: 2}, lambda: held(exporter))
    expect({}, lambda: held(exporter))
    metrics = metrics_of(exporter)
    assert {TASK: 0} == by_operation(CONNECTIONS, metrics)
    assert [TASK] == list(by_operation(SECONDS, metrics))
    assert 0 == leaked(metrics)

"""The exporter adds up operations over all processes, those that have ended included."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from poolscope.fleet.fleet import Fleet, FleetView
from poolscope.fleet.totals import MAX_KNOWN_LABELS, TOTALS, Total, Totals
from poolscope.label_values import OTHER_LABEL
from support.waiting import eventually


@pytest.fixture
def fleet(folder: Path) -> Iterator[Fleet]:
    fleet = Fleet(folder)
    yield fleet
    fleet.close()


def in_use(view: FleetView) -> dict[str, float]:
    (report,) = view.reports
    return {each.label: each.in_use for each in report.operations}


def seconds(view: FleetView) -> dict[str, float]:
    (report,) = view.reports
    return {each.label: each.in_use_seconds for each in report.operations}


def test_they_are_added_up_over_processes(fleet: Fleet, workers: Any) -> None:
    first, second = workers(), workers()
    assert {} == in_use(fleet.scan())
    first.tell("take nightly report", "take GET /orders/{id}", "take")
    second.tell("take nightly report")
    view = fleet.scan()
    assert {"nightly report": 2.0, "GET /orders/{id}": 1.0} == in_use(view)
    names = [hold.operation or "" for hold in view.holds]
    assert ["", "GET /orders/{id}", "nightly report", "nightly report"] == sorted(names)


@pytest.mark.parametrize("how", ["end", "kill"])
async def test_the_seconds_of_an_ended_process_stay_also_after_a_restart(
    folder: Path, workers: Any, how: str
) -> None:
    worker = workers()
    worker.tell("take nightly report")
    fleet = Fleet(folder)
    # Some time has to pass, or there would be nothing to lose.
    await eventually(True, lambda: seconds(fleet.scan())["nightly report"] > 0.0)
    before = seconds(fleet.scan())
    getattr(worker, how)()
    after = fleet.scan()
    assert before["nightly report"] <= seconds(after)["nightly report"]
    assert {"nightly report": 0.0} == in_use(after)
    fleet.close()
    again = Fleet(folder)
    assert seconds(after) == seconds(again.scan())
    again.close()


def test_totals_without_operations_are_understood(folder: Path, workers: Any) -> None:
    """As an exporter has written them that does not know of operations."""
    worker = workers()
    worker.tell("use 3")
    fleet = Fleet(folder)
    worker.end()
    before = fleet.scan()
    fleet.close()
    document = json.loads((folder / TOTALS).read_text())
    for entry in document["pools"]:
        assert {} == entry.pop("operations")
    (folder / TOTALS).write_text(json.dumps(document))
    again = Fleet(folder)
    view = again.scan()
    again.close()
    assert [report.reading for report in before.reports] == [r.reading for r in view.reports]
    assert {} == seconds(view)


@pytest.mark.parametrize("operations", [[1], {"a": -1}, {"a": "1"}, 7])
def test_impossible_seconds_of_operations_are_damage(operations: object) -> None:
    total = {"pool": "a", "kind": "b", "created": 1, "since": 1e9, "seconds": {}, "counters": {}}
    document = {"version": 2, "processes": 0, "folded": [], "pools": [total]}
    Totals.of_document(document)
    total["operations"] = operations
    with pytest.raises((ValueError, TypeError)):
        Totals.of_document(document)


def test_operations_of_a_name_are_bounded() -> None:
    total = Total()
    for number in range(MAX_KNOWN_LABELS + 3):
        total = total.with_total(Total(by_operation={f"kind {number}": 1.0}))
    assert (MAX_KNOWN_LABELS + 1, 3.0) == (
        len(total.by_operation),
        total.by_operation[OTHER_LABEL],
    )

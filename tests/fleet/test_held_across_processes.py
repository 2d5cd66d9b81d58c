"""The exporter shows what is held across requests in other processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from poolscope.fleet.fleet import Fleet, FleetView
from poolscope.readings.report import Report
from support.ports import closed_port


def orders(view: FleetView) -> Report:
    (report,) = [report for report in view.reports if report.pool == "orders"]
    return report


def test_the_exporter_finds_it_and_counts_it_for_ever(folder: Path, workers: Any) -> None:
    fleet, url = Fleet(folder), f"ask http://127.0.0.1:{closed_port()}"
    first, second = workers(), workers()
    first.tell(url)
    assert [] == [f for f in orders(fleet.scan()).findings if f.rule == "held-across-request"]
    first.tell("take", "take", url, "give", "give")
    second.tell("take", url, url)
    report = orders(fleet.scan())
    (finding,) = [each for each in report.findings if each.rule == "held-across-request"]
    (lines,) = finding.sites
    held, asked = lines.split(", across ")
    assert (True, True) == (held.startswith("worker.py:"), asked.startswith("worker.py:"))
    assert (True, True) == (held.endswith(" in take"), asked.endswith(" in ask.<locals>.get"))
    assert "3 of them" in finding.message
    first.end()
    second.kill()
    after = orders(fleet.scan())
    assert 3 == after.reading.held_across
    assert report.reading.held_across_seconds <= after.reading.held_across_seconds
    fleet.close()
    again = Fleet(folder)
    assert 3 == orders(again.scan()).reading.held_across
    again.close()

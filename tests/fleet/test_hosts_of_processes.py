"""The exporter adds up hosts over all processes and sessions, those that have ended included."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from poolscope.fleet.fleet import Fleet, FleetView
from poolscope.fleet.totals import MAX_KNOWN_LABELS, TOTALS, Total, Totals
from poolscope.label_values import OTHER_LABEL
from poolscope.readings.hosts import SHOWN_HOSTS, HostReading
from support.ports import closed_port
from support.web import Server
from support.workers import WEB_WORKER, Worker


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def web_workers(workers: Any) -> Any:
    return lambda: workers("upstream", program=WEB_WORKER)


def hosts(view: FleetView) -> dict[str, HostReading]:
    (report,) = view.reports
    return {each.host: each for each in report.hosts}


def of_pool(view: FleetView) -> tuple[float, ...]:
    (report,) = view.reports
    now = report.reading
    return now.in_use, now.idle, now.opening, now.waiting, now.opened, now.open_failed


def sums(view: FleetView) -> tuple[float, ...]:
    return tuple(map(sum, zip(*(each[1:] for each in hosts(view).values()), strict=True)))


async def tell(worker: Worker, *words: str) -> None:
    """Tell it from another thread, as the server that it asks is in this one."""
    await asyncio.to_thread(worker.tell, *words)


@pytest.mark.parametrize("how", ["end", "kill"])
async def test_they_are_added_up_and_those_of_ended_processes_stay(
    folder: Path, web_workers: Any, server: Server, how: str
) -> None:
    good, bad = f"127.0.0.1:{server.port}", f"127.0.0.1:{closed_port()}"
    first, second = web_workers(), web_workers()
    fleet = Fleet(folder)
    assert {} == hosts(fleet.scan())
    await tell(first, f"get http://{bad}/", f"keep http://{good}/stream/x")
    await tell(second, f"get http://{bad}/", f"get http://{bad}/", f"get http://{good}/now/x")
    view = fleet.scan()
    expected = [HostReading(good, 1, 1, 0, 0, 2, 0), HostReading(bad, 0, 0, 0, 0, 0, 3)]
    assert {each.host: each for each in expected} == hosts(view)
    assert of_pool(view) == sums(view)
    await asyncio.to_thread(getattr(first, how))
    view = fleet.scan()
    assert HostReading(good, 0, 1, 0, 0, 2, 0) == hosts(view)[good]
    await asyncio.to_thread(getattr(second, how))
    for _ in range(2):  # the second time by another exporter
        view = fleet.scan()
        expected = [HostReading(good, 0, 0, 0, 0, 2, 0), HostReading(bad, 0, 0, 0, 0, 0, 3)]
        assert {each.host: each for each in expected} == hosts(view)
        assert of_pool(view) == sums(view)
        fleet.close()
        fleet = Fleet(folder)
    fleet.close()


async def test_the_counters_of_an_ended_session_stay_while_its_process_lives(
    folder: Path, web_workers: Any, server: Server
) -> None:
    good, bad = f"127.0.0.1:{server.port}", f"127.0.0.1:{closed_port()}"
    worker, fleet = web_workers(), Fleet(folder)
    for turn in range(1, 4):
        await tell(worker, f"get http://{good}/now/x", f"get http://{bad}/", "again")
        counted = {name: each[5:] for name, each in hosts(fleet.scan()).items()}
        assert {good: (turn, 0), bad: (0, turn)} == counted
    fleet.close()


async def test_a_host_keeps_its_label_after_the_exporter_was_restarted(
    folder: Path, web_workers: Any
) -> None:
    first, second = web_workers(), web_workers()
    shown = [f"get http://127.0.0.1:{port}/" for port in range(1, SHOWN_HOSTS + 3)]
    await tell(first, *shown)
    fleet = Fleet(folder)
    before = hosts(fleet.scan())
    assert (SHOWN_HOSTS + 1, 2) == (len(before), before[OTHER_LABEL].open_failed)
    await asyncio.to_thread(first.end)
    assert before == hosts(fleet.scan())
    fleet.close()
    await tell(second, *reversed(shown))
    fleet = Fleet(folder)
    after = hosts(fleet.scan())
    fleet.close()
    assert before.keys() == after.keys()
    assert all(after[host].open_failed >= each.open_failed for host, each in before.items())
    assert 2 * (SHOWN_HOSTS + 2) == sum(each.open_failed for each in after.values())


async def test_totals_without_hosts_are_understood(folder: Path, web_workers: Any) -> None:
    """As an exporter has written them that does not know of hosts."""
    worker = web_workers()
    await tell(worker, f"get http://127.0.0.1:{closed_port()}/")
    fleet = Fleet(folder)
    worker.end()
    before = fleet.scan()
    fleet.close()
    document = json.loads((folder / TOTALS).read_text())
    for entry in document["pools"]:
        assert 1 == sum(entry.pop("open_failed").values())
        assert 0 == sum(entry.pop("opened").values())
    (folder / TOTALS).write_text(json.dumps(document))
    again = Fleet(folder)
    view = again.scan()
    again.close()
    assert [report.reading for report in before.reports] == [r.reading for r in view.reports]
    assert {} == hosts(view)


@pytest.mark.parametrize("field", ["opened", "open_failed"])
@pytest.mark.parametrize("hosts", [[1], {"a": -1}, {"a": "1"}, 7])
def test_impossible_numbers_of_hosts_are_damage(field: str, hosts: object) -> None:
    total = {"pool": "a", "kind": "b", "created": 1, "since": 1e9, "seconds": {}, "counters": {}}
    document = {"version": 2, "processes": 0, "folded": [], "pools": [total]}
    Totals.of_document(document)
    total[field] = hosts
    with pytest.raises((ValueError, TypeError)):
        Totals.of_document(document)


def test_hosts_of_a_name_are_bounded() -> None:
    total = Total()
    for number in range(MAX_KNOWN_LABELS + 3):
        more = Total(opened={f"h{number}:80": 1.0}, open_failed={f"h{number}:80": 2.0})
        total = total.with_total(more)
    (other,) = (each for each in total.hosts() if each.host == OTHER_LABEL)
    assert (MAX_KNOWN_LABELS + 1, 3.0, 6.0) == (
        len(total.hosts()),
        other.opened,
        other.open_failed,
    )

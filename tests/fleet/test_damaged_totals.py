"""Whatever stands in the place of the exporter's own files is put aside, and the exporter runs."""

from __future__ import annotations

import json
import math
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poolscope.fleet import totals
from poolscope.fleet.fleet import Fleet
from poolscope.fleet.folder import FolderError
from poolscope.fleet.folder_lock import LOCK
from poolscope.fleet.pool_view import MOST, BadFileError
from poolscope.fleet.totals import LARGEST_TOTALS, TOTALS, Total, Totals
from poolscope.fleet.whole_files import DAMAGED, MAX_ASIDE, put_aside
from poolscope.readings.reading import Reading

ENTRY: dict[str, Any] = {
    "pool": "orders",
    "kind": "asyncpg",
    "created": 1,
    "since": 1e9,
    "seconds": {"shop:pay": 2.5},
    "counters": {"acquired": 7.0, "opened": 2.0, "closed": 2.0},
}
HUGE = (*[MOST / 100] * (len(Reading().hold_seconds) - 1), MOST / 3)
DOCUMENT: dict[str, Any] = {"version": 2, "processes": 1, "folded": [], "pools": [ENTRY]}


def document(**changes: Any) -> bytes:
    return json.dumps({**DOCUMENT, **changes}).encode()


def entry(**changes: Any) -> bytes:
    return document(pools=[{**ENTRY, **changes}])


def counters(**changes: Any) -> bytes:
    return entry(counters={**ENTRY["counters"], **changes})


CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "not UTF-8": b'{"version": 1, "pools": "\xff"}',
    "binary": bytes(range(256)),
    "too deep": b"[" * 1_000_000,
    "a deep object": b'{"a":' * 100_000,
    "a list": b"[]",
    "a list of entries": document(pools=[[], []]),
    "a number": b"1",
    "half": document()[:-20],
    "another version": document(version=99),
    "no version": b"{}",
    "a version that is a list": document(version=[1]),
    "processes that are a string": document(processes="3"),
    "negative processes": document(processes=-1),
    "folded that is a string": document(folded="abc"),
    "folded that is a number": document(folded=7),
    "pools that are an object": document(pools={"a": 1}),
    "a name that is a number": entry(pool=7),
    "a kind that is null": entry(kind=None),
    "a string for a number": counters(acquired="7"),
    "a list for a number": counters(acquired=[7]),
    "a bool for a number": counters(acquired=True),
    "a negative number": counters(acquired=-7),
    "NaN": counters(acquired=math.nan),
    "infinity": counters(acquired=math.inf),
    "a huge number": counters(acquired=1e300),
    "a huge integer": counters(acquired=10**400),
    "an integer of too many digits": document().replace(b"7.0", b"7" * 10_000),
    "an unknown counter": counters(colour=1),
    "a gauge that is an object": counters(in_use={"counts": [1], "sum": 1}),
    "short counts": counters(hold_seconds={"counts": [1, 2], "sum": 1.0}),
    "no sum": counters(hold_seconds={"counts": [1, 2]}),
    "counts that are strings": counters(
        hold_seconds={"counts": ["1"] * (len(Reading().hold_seconds) - 1), "sum": 1}
    ),
    "a number for a histogram": counters(hold_seconds=7),
    "negative created": entry(created=-1),
    "since when it counts is a text": entry(since="1e9"),
    "it counts since ever": entry(since=-math.inf),
    "seconds that are a list": entry(seconds=[1]),
    "negative seconds": entry(seconds={"a": -1}),
    "counters that are a list": entry(counters=[1, 2]),
}


def link(path: Path) -> None:
    other = path.with_name("other.json")
    other.write_bytes(document())
    path.symlink_to(other)


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        before = Path.cwd()
        os.chdir(path.parent)  # the path of a socket may be short only
        try:
            listener.bind(path.name)
        finally:
            os.chdir(before)


def fill_directory(path: Path) -> None:
    path.mkdir()
    (path / "note").write_text("of somebody else")


def make_device(path: Path) -> None:
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("only root can make a device")


def make_huge(path: Path) -> None:
    path.touch()
    os.truncate(path, LARGEST_TOTALS + 1)


def make_foreign(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can change the owner of a file")
    path.write_bytes(document())
    os.chown(path, 12345, 12345)


THINGS: dict[str, Callable[[Path], object]] = {
    "a directory": Path.mkdir,
    "a directory with files": fill_directory,
    "a FIFO": os.mkfifo,
    "a device": make_device,
    "a socket": listen,
    "a symbolic link": link,
    "a broken link": lambda path: path.symlink_to("nowhere"),
    "huge": make_huge,
    "of another user": make_foreign,
}


def make(path: Path, what: str) -> None:
    """Put something in the place of a file."""
    if what in CONTENTS:
        path.write_bytes(CONTENTS[what])
    else:
        THINGS[what](path)


@pytest.fixture
def shared(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def fleets(shared: Path) -> Iterator[Callable[[], Fleet]]:
    made: list[Fleet] = []

    def make() -> Fleet:
        for fleet in made:
            fleet.close()
        made.append(Fleet(shared))
        return made[-1]

    yield make
    for fleet in made:
        fleet.close()


def aside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(DAMAGED))


def test_what_is_in_order_is_read(shared: Path) -> None:
    (shared / TOTALS).write_bytes(document())
    assert DOCUMENT["pools"][0]["counters"]["acquired"] == 7.0
    (total,) = Totals.load(shared / TOTALS).pools.values()
    assert (Reading(acquired=7, opened=2, closed=2), 1, {"shop:pay": 2.5}) == (
        total.reading,
        total.created,
        total.seconds,
    )


@pytest.mark.parametrize("what", [*CONTENTS, *THINGS])
def test_damaged_totals_are_put_aside(
    shared: Path,
    workers: Any,
    fleets: Callable[[], Fleet],
    what: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = shared / TOTALS
    make(path, what)
    fleet = fleets()
    (record,) = caplog.records
    assert record.getMessage().endswith(f"it is now {path}{DAMAGED}")
    assert [f"{TOTALS}{DAMAGED}"] == aside(shared)
    # It can be written again, and is.
    view = fleet.scan()
    assert ((), 0, 1) == (view.reports, view.bad, len(caplog.records))
    Totals(processes=3).save(path)
    assert 3 == fleets().scan().gone


@pytest.mark.parametrize("what", ["a FIFO", "a directory with files", "a broken link", "a socket"])
@pytest.mark.parametrize("name", [f".{TOTALS}", LOCK, TOTALS])
def test_what_comes_in_the_way_of_a_running_exporter_is_put_aside(
    shared: Path, fleets: Callable[[], Fleet], workers: Any, what: str, name: str
) -> None:
    fleet = fleets()
    worker = workers()
    worker.tell("use 7")
    worker.kill()
    (shared / name).unlink(missing_ok=True)
    make(shared / name, what)
    assert [7] == [report.reading.acquired for report in fleet.scan().reports]
    assert [] == list(shared.glob("*.pool"))
    assert [7] == [report.reading.acquired for report in fleets().scan().reports]


def test_no_damaged_file_replaces_another_and_the_latest_are_kept(shared: Path) -> None:
    path = shared / TOTALS
    for number in range(MAX_ASIDE):
        path.write_text(str(number))
        put_aside(path)
    contents = {(shared / name).read_text() for name in aside(shared)}
    assert {str(number) for number in range(MAX_ASIDE)} == contents
    (shared / "1.pool").write_text("of a pool")
    put_aside(shared / "1.pool")
    for number in range(MAX_ASIDE, MAX_ASIDE + 5):
        path.write_text(str(number))
        put_aside(path)
    contents = {(shared / name).read_text() for name in aside(shared)}
    assert {"of a pool", *map(str, range(5, MAX_ASIDE + 5))} == contents


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError()])
def test_totals_that_cannot_be_read_now_are_left_alone(
    shared: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    (shared / TOTALS).write_bytes(document())

    def fail(*args: object) -> bytes:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("os.pread", fail)
        with pytest.raises(FolderError, match=r"^cannot read .*; repair it, or move it away$"):
            Fleet(shared)
    assert [] == aside(shared)
    fleet = Fleet(shared)  # the first one has released its lock
    assert [7] == [report.reading.acquired for report in fleet.scan().reports]
    fleet.close()


def test_sums_of_the_most_that_files_of_pools_may_say_can_be_read() -> None:
    counters = Reading(acquired=MOST / 3, in_use_seconds=MOST / 3, hold_seconds=HUGE)
    one = Totals({("orders", "asyncpg"): Total(counters, 1, {"shop:pay": MOST / 3}, 1e9)})
    written = Totals().with_pools((), [one] * 1000)
    assert written == Totals.of_document(json.loads(json.dumps(written.document())))


def test_totals_that_are_too_large_to_be_read_are_not_written(
    shared: Path, fleets: Callable[[], Fleet], workers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = workers()
    worker.tell("use 7")
    fleet = fleets()
    monkeypatch.setattr(totals, "LARGEST_TOTALS", 100)
    worker.kill()
    for _ in range(2):
        assert [7] == [report.reading.acquired for report in fleet.scan().reports]
    assert [7] == [report.reading.acquired for report in fleets().scan().reports]
    assert [] == aside(shared)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.floats(0, 1, exclude_max=True), change=st.binary(min_size=1, max_size=8))
def test_totals_with_any_content_are_refused_or_can_be_served(
    tmp_path: Path, place: float, change: bytes
) -> None:
    path = tmp_path / "totals.json"
    data = bytearray(document())
    start = int(place * len(data))
    data[start : start + len(change)] = change
    path.write_bytes(data)
    path.chmod(0o600)
    try:
        read = Totals.load(path)
    except BadFileError:
        return
    for key, total in read.pools.items():
        assert 0 <= sum(total.reading.values()) < math.inf
        assert [*key, *total.seconds] == [text.encode().decode() for text in (*key, *total.seconds)]

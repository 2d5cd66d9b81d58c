"""Files that are damaged, foreign or made up: they are refused, or what they say can be shown."""

from __future__ import annotations

import json
import math
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poolscope.callsites.frames import SHOWN_SITES
from poolscope.exporter import api
from poolscope.exporter.history import History
from poolscope.fleet.fleet import FleetView, ProcessView
from poolscope.fleet.folder import Folder
from poolscope.fleet.pool_view import BadFileError, PoolView
from poolscope.fleet.segment_file import HEAD
from poolscope.fleet.segment_reader import PoolFile
from poolscope.label_values import label_value
from poolscope.ledger import cells
from poolscope.ledger.ledger import Ledger
from poolscope.metrics.exporter_families import Scrape
from poolscope.metrics.exposition import expose
from poolscope.readings.by_label import HOLDS, SharedLabels
from poolscope.readings.findings import PoolEvidence, findings_of
from poolscope.readings.limits import Limits
from poolscope.readings.reading import Reading, sum_values
from poolscope.readings.report import Report
from poolscope.testing import FakeClock
from support.segments import FACTS, file_of, unshared

START = 4096
"""The offset of the cells in a file."""


class TestRefusedFiles:
    @pytest.fixture
    def path(self, busy: Ledger, folder: Path) -> Path:
        return file_of(folder)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda data: b"",
            lambda data: data[: HEAD.size - 1],
            lambda data: data[: HEAD.size],
            lambda data: data[:-1],
            lambda data: data + b"more",
            lambda data: b"x" + data[1:],
            lambda data: data[:8] + struct.pack("<I", 99) + data[12:],
            lambda data: data[: HEAD.size] + b"{]" + data[HEAD.size + 2 :],
            # A header that claims to be 4 GiB long, and JSON that is nested too deeply.
            lambda data: data[: HEAD.size - 4] + b"\xff" * 4 + data[HEAD.size :],
            lambda data: data[: HEAD.size] + b"[" * 200 + data[HEAD.size + 200 :],
            lambda data: os.urandom(len(data)),
            lambda data: bytes(len(data)),
        ],
    )
    def test_a_damaged_file_is_refused(self, path: Path, damage: Any, clock: FakeClock) -> None:
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(BadFileError):
            PoolFile(path, 42).read(clock())

    def test_a_file_that_is_damaged_after_its_first_read_is_refused(
        self, path: Path, busy: Ledger, clock: FakeClock
    ) -> None:
        known = PoolFile(path, 42)
        busy._segment.cells[cells.OK] = float("nan")
        with pytest.raises(BadFileError):
            known.read(clock())
        os.truncate(path, 100)
        with pytest.raises(BadFileError):
            known.read(clock())
        path.unlink()
        with pytest.raises(FileNotFoundError):
            known.read(clock())

    @pytest.fixture(params=["symlink", "fifo", "directory", "foreign"])
    def other(self, request: pytest.FixtureRequest, path: Path) -> Path:
        other = path.with_name(f"1-other.1.{request.param}")
        if request.param == "symlink":
            other.symlink_to(path)
        elif request.param == "fifo":
            os.mkfifo(other)
        elif request.param == "directory":
            other.mkdir()
        else:
            other.write_text("of somebody else")
            os.chown(other, 12345, 12345)
        return other

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of a file")
    def test_anything_but_a_regular_file_of_this_user_is_refused(self, other: Path) -> None:
        with pytest.raises((BadFileError, OSError)):
            PoolFile(other, 42)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    changes=st.lists(
        st.one_of(
            # Any byte, any cell, or a part of the header is replaced.
            st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=1)),
            st.tuples(
                st.one_of(st.integers(0, cells.SCALARS), st.integers(0, cells.FIRST_HOLD + 8)).map(
                    lambda cell: START + 8 * cell
                ),
                st.one_of(st.floats(), st.just(math.nan), st.just(math.inf)).map(
                    lambda value: struct.pack("d", value)
                ),
            ),
            st.tuples(st.integers(HEAD.size, HEAD.size + 400), st.binary(min_size=1, max_size=4)),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_file_with_any_content_is_refused_or_can_be_served(
    busy: Ledger, folder: Path, clock: FakeClock, changes: list[tuple[float, bytes]]
) -> None:
    path = file_of(folder)
    whole = path.read_bytes()
    data = bytearray(whole)
    for place, change in changes:
        start = int(place * len(data)) if isinstance(place, float) else place
        data[start : start + len(change)] = change
    path.write_bytes(data[: len(whole)])
    try:
        view = PoolFile(path, 42).read(clock())
    except BadFileError:
        pass
    else:
        serve(view)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize(
    "facts",
    [
        {"setup": {"limit": "10"}},
        {"setup": {"limit": None}},
        {"setup": {"pings": 3}},
        {"setup": {"recycle": True}},
        {"setup": {"recycle": -1.0}},
        {"setup": {"colour": 1.0}},
        {"info": ["QueuePool"]},
        {"info": {"a": 1, "b": 2, "c": 3}},
        {"pool": None},
        {"pool": "", "kind": 7},
    ],
)
def test_an_invalid_description_of_a_pool_is_refused(
    folder: Path, clock: FakeClock, facts: dict[str, Any]
) -> None:
    Ledger(Limits(3, 3, 0), clock, 5.0, Folder(folder).segments({**FACTS, **facts}, unshared))
    with pytest.raises(BadFileError, match="its description of the pool is not valid"):
        PoolFile(file_of(folder), 42)


def test_a_pool_name_with_surrogates_is_served_with_escapes(folder: Path, clock: FakeClock) -> None:
    facts = {**FACTS, "pool": "shop\ud800"}
    Ledger(Limits(3, 3, 0), clock, 5.0, Folder(folder).segments(facts, unshared))
    view = PoolFile(file_of(folder), 42).read(clock())
    serve(view)
    assert label_value("shop\ud800") == view.pool


def serve(view: PoolView) -> None:
    """Create everything that the exporter serves about the pool."""
    cases = [PoolEvidence(view.config, view.reading, view.evidence)]
    report = Report(
        view.pool,
        view.kind,
        Reading.of(sum_values([view.values])),
        1,
        (view.info,),
        sites=SharedLabels(SHOWN_SITES, HOLDS).sums(view.sites()),
        findings=findings_of(view.pool, view.kind, cases),
    )
    whole = FleetView((report,), (ProcessView(42, (view,)),), {("orders", "sqlalchemy"): 0.5}, 0, 0)
    text, _ = expose(Scrape(whole, 0.0, "1.2.3"), "")
    assert b"NaN" not in text
    json.dumps(api.document(Scrape(whole, 0.0, "1.2.3"), History()), allow_nan=False).encode()

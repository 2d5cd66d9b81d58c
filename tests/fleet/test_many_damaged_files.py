"""Damaged files of many processes that have ended: they cost one scan little."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolscope.fleet.fleet import Fleet
from poolscope.fleet.whole_files import DAMAGED, MAX_ASIDE


def leave(folder: Path, count: int) -> None:
    """Make a folder with the files of so many processes, whose pools are all damaged."""
    folder.mkdir(mode=0o700)
    for number in range(count):
        name = f"7-{number:032x}"
        for ending in ("process", "1.pool", "2.pool"):
            (folder / f"{name}.{ending}").write_bytes(b"")


def test_the_folder_is_listed_as_often_for_many_as_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    listed: list[object] = []

    def counting(call: Callable[[object], Any]) -> Callable[[object], Any]:
        def count(path: object) -> Any:
            listed.append(path)
            return call(path)

        return count

    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, counting(getattr(os, name)))
    counts = []
    for count in (1, 90):
        folder = tmp_path / f"of {count}"
        leave(folder, count)
        fleet = Fleet(folder)
        listed.clear()
        assert count == fleet.scan().gone
        fleet.close()
        counts.append(len(listed))
        rest = [path.name for path in folder.iterdir() if path.name.startswith("7-")]
        assert min(2 * count, MAX_ASIDE) == len(rest)
        assert all(name.endswith(DAMAGED) for name in rest)
    assert counts[0] == counts[1]
    about = [message for message in caplog.messages if "damaged" in message]
    assert 2 + MAX_ASIDE + 1 == len(about)
    assert "170 more files of processes that have ended are damaged" in about[-1]

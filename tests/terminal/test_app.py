"""The screen of `poolscope top` and its keys."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from textual.pilot import Pilot

from poolscope.terminal.app import KEYS, Top
from poolscope.terminal.table import Glyphs
from terminal.stand_in import StandIn, hold

EXPECTED: Final = Path(__file__).parent / "expected"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Running:
    """A screen that shows a stand-in, of which the tests say when it looks."""

    def __init__(self, app: Top, pilot: Pilot[None], source: StandIn, clock: Clock) -> None:
        self.app, self.pilot, self.source, self.clock = app, pilot, source, clock

    async def look(self) -> None:
        self.clock.now += 2.0
        self.app.action_look()
        await self.app.workers.wait_for_complete()
        await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.app.workers.wait_for_complete()
        await self.pilot.pause()

    @property
    def text(self) -> str:
        """The characters on the screen."""
        strips = self.app.screen._compositor.render_strips()
        lines = [strip.text.rstrip() for strip in strips]
        return "\n".join(lines).rstrip("\n") + "\n"

    @property
    def words(self) -> str:
        """The same without the breaks of lines."""
        return " ".join(self.text.split())


@asynccontextmanager
async def running(
    width: int = 120, height: int = 24, glyphs: Glyphs | None = None
) -> AsyncIterator[Running]:
    source, clock = StandIn(), Clock()
    app = Top(source, 3600.0, glyphs=glyphs, clock=clock)
    async with app.run_test(size=(width, height)) as pilot:
        there = Running(app, pilot, source, clock)
        await app.workers.wait_for_complete()
        await pilot.pause()
        source.pools[1]["acquired"] += 50
        await there.look()
        yield there


@pytest.mark.parametrize(("width", "height"), [(60, 15), (80, 24), (120, 24), (200, 24)])
async def test_the_screen(width: int, height: int) -> None:
    async with running(width, height) as there:
        text = there.text
    assert (EXPECTED / f"{width}x{height}.txt").read_text() == text
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize(("width", "height"), [(120, 24), (60, 15), (40, 10)])
async def test_without_unicode(width: int, height: int) -> None:
    async with running(width, height, Glyphs.for_encoding("ascii")) as there:
        there.source.pools[1]["holders"] *= 20
        await there.look()
        assert ("##########" in there.text) == (width > 80)
        for key in ("h", "p", "f", "question_mark", "slash"):
            await there.press(key)
            assert [] == [each for each in there.text if not each.isascii()]


async def test_enter_shows_and_hides_what_is_known_of_a_pool() -> None:
    async with running(60, 15) as there:
        assert "pay.py:7" not in there.text
        await there.press("enter")
        assert "2 x shop/pay.py:7 in pay for POST /orders" in there.text
        await there.press("enter")
        assert "pay.py:7" not in there.text


async def test_panes() -> None:
    async with running() as there:
        await there.press("p")
        assert "41  6 of 6, 0 waiting" in there.text
        await there.press("f")
        assert "warning  stale-connections: idle connections" in there.text
        assert "shop/db.py:3 in connect" in there.text
        await there.press("tab")
        assert "2 x shop/pay.py:7 in pay for POST /orders" in there.text
        assert "12 waiting, the longest for 420ms" in there.text
        await there.press("o")
        assert "2 x POST /orders" in there.text
        assert "1 x no operation" in there.text
        await there.press("down", "h")
        assert "nobody holds a connection" in there.text


async def test_waiting_callers_by_process() -> None:
    async with running() as there:
        (process,) = there.source.pools[1]["processes"]
        there.source.pools[1]["processes"] = [
            process,
            {**process, "pid": 43, "waiting": 9, "oldest_wait_seconds": 0.2},
            {**process, "pid": 45, "waiting": 3, "oldest_wait_seconds": 0.42},
        ]
        await there.look()
        await there.press("p")
        assert "43  6 of 6, 9 waiting, the longest for 200ms, oldest hold 0s" in there.text
        assert "45  6 of 6, 3 waiting, the longest for 420ms, oldest hold 0s" in there.text
        assert "41  6 of 6, 0 waiting, oldest hold 0s" in there.text
        pids = [int(line.split()[0]) for line in there.text.splitlines() if " of 6, " in line]
        assert [43, 45, 41] == pids


async def test_who_waits_is_said_before_who_holds_however_many_they_are() -> None:
    async with running(60, 15) as there:
        there.source.pools[1]["holders"] = [hold(f"shop/{n}.py:1 in f", 1.0) for n in range(50)]
        await there.look()
        await there.press("h")
        assert "12 waiting, the longest for 420ms" in there.text


async def test_the_cursor_stays_on_its_pool_when_the_order_changes() -> None:
    async with running() as there:
        await there.press("down", "h")
        assert "prices (aiohttp)" in there.text
        there.source.pools[0].update(in_use=8, waiting=99, limit=8)
        await there.look()
        assert "prices (aiohttp)" in there.text
        await there.press("up", "up", "up")
        there.source.pools[0].update(in_use=0, waiting=0)
        await there.look()
        assert "orders (sqlalchemy)" in there.text


async def test_sort_and_filter() -> None:
    async with running() as there:
        await there.press("s", "s", "s")
        assert "by name" in there.text
        names = [line.split()[0] for line in there.text.splitlines()[2:5]]
        assert ["billing", "orders", "prices"] == names
        await there.press("slash", "p", "r", "i", "enter")
        assert "only 'pri'" in there.text
        assert "billing" not in there.text
        await there.press("slash", "escape")
        assert "billing" in there.text


async def test_pause_and_interval() -> None:
    async with running() as there:
        await there.press("space")
        assert "paused" in there.text
        asked = there.source.asked
        there.app._look_unless_paused()
        assert asked == there.source.asked
        await there.press("space")
        assert "every 3600 s" in there.text
        await there.press("plus")
        assert "every 10 s" in there.text
        await there.press("minus", "minus")
        assert "every 30 s" in there.text


@pytest.mark.parametrize(("width", "height"), [(60, 30), (120, 24), (60, 15)])
async def test_help_and_quit(width: int, height: int) -> None:
    async with running(width, height) as there:
        before = there.text
        await there.press("question_mark")
        assert "choose a pool" in there.text
        assert "orders" in there.text
        if height > 15:
            assert [] == [text for _, text in KEYS if text not in there.text]
        await there.press("question_mark")
        assert before == there.text
        await there.press("question_mark", "escape")
        assert before == there.text
        await there.press("question_mark", "h")
        assert "pay.py:7" in there.text
        await there.press("question_mark")
        await there.press("question_mark")
        assert "choose a pool" not in there.text
        await there.press("q")
        assert there.app.return_code in (0, None)


async def test_dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with running() as there:
        await there.press("d")
        (file,) = (tmp_path / name for name in os.listdir(tmp_path))  # noqa: PTH208 - it blocks as briefly
        assert f"wrote {file.name}" in there.words
    pools = json.loads(file.read_text())["pools"]
    assert ["orders", "prices", "billing"] == [pool["pool"] for pool in pools]


async def test_an_exporter_that_goes_away_and_comes_back() -> None:
    async with running() as there:
        there.source.fails = "cannot reach http://127.0.0.1:10464: Connection refused"
        await there.look()
        assert "Connection refused; these numbers are 2 s old" in there.words
        assert "orders" in there.text
        assert there.app.query_one("#pools").has_class("old")
        there.source.fails = None
        await there.look()
        assert "Connection refused" not in there.text
        assert not there.app.query_one("#pools").has_class("old")


async def test_a_storm_of_sizes() -> None:
    async with running() as there:
        for width in (200, 61, 130, 60, 90, 120):
            await there.pilot.resize_terminal(width, 15 + width % 20)
            await there.pilot.pause()
            assert "orders" in there.text
            assert max(map(len, there.text.splitlines())) <= width


async def test_no_pools() -> None:
    async with running() as there:
        there.source.pools.clear()
        await there.look()
        assert "0 pools in 2 processes" in there.text

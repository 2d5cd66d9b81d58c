"""A time-out error says, in a note, who holds the connections."""

from __future__ import annotations

import re
import traceback

import pytest

from contract.pools import PoolUnderTest
from poolscope import Watch
from poolscope.testing import FakeClock
from poolscope.watching.pool_log import NOTES_LAST
from poolscope.watching.watches import Watches


@pytest.fixture
def watch(pool: PoolUnderTest, watches: Watches) -> Watch:
    return watches.watch(pool.target, "orders", leak_after=None, registry=None)


async def timed_out(pool: PoolUnderTest) -> BaseException:
    with pytest.raises(pool.timeout) as raised:
        await pool.acquire_soon()
    return raised.value


def note_of(pool: PoolUnderTest, site: str, seconds: float) -> str:
    """Return the note without the line at which the caller is now."""
    return (
        f"pool 'orders' ({pool.kind}): an attempt to get a connection timed out; 2 of 2 in use, "
        f"0 opening, 0 waiting; held by 2 x {site} (oldest {seconds} s)"
    )


async def test_each_time_out_has_one_note(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock
) -> None:
    held = [await pool.acquire() for _ in range(2)]
    site = watch.holders()[0].site
    assert site is not None
    for seconds in (3.0, 3.0 + 2 * NOTES_LAST):
        clock.advance(seconds - watch.snapshot().oldest_hold_seconds)
        for _ in range(2):
            error = await timed_out(pool)
            notes = getattr(error, "__notes__", [])
            # It asks for the third connection.
            note, times = re.subn(
                r", now at [\w/]*(test_notes|pools)\.py:\d+ in .*\w", "", notes[0]
            )
            assert note_of(pool, site, seconds) == note
            # A thread of an executor may be at work for others.
            assert times == 1 or not pool.nests
            assert traceback.format_exception(error)[-1].rstrip("\n") == notes[0]
    for connection in held:
        await pool.release(connection)


async def test_type_arguments_and_text_stay(
    pool: PoolUnderTest, watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [await pool.acquire() for _ in range(2)]
    unwatched = await timed_out(pool)
    watch = watches.watch(pool.target, "orders", leak_after=None, registry=None)
    noted = await timed_out(pool)
    monkeypatch.setenv("POOLSCOPE_NOTES", "0")
    without = await timed_out(pool)
    assert (type(unwatched), unwatched.args, str(unwatched)) == (
        type(noted), noted.args, str(noted),
    )  # fmt: skip
    notes = [getattr(error, "__notes__", []) for error in (unwatched, noted, without)]
    assert [0, 1, 0] == list(map(len, notes))
    watch.unwatch()
    for connection in held:
        await pool.release(connection)


async def test_an_attempt_that_does_not_time_out_has_no_note(
    pool: PoolUnderTest, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    monkeypatch.setattr("poolscope.watching.pool_log.PoolLog.add_note", lambda *_: made.append(_))
    await pool.release(await pool.acquire())
    assert [] == made

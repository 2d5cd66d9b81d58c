"""
What the attempts in flight have: for each caller, the record that its attempt has opened or got.

A caller may begin another attempt before one has ended: in a listener of the pool, in a signal
handler or in a finalizer. So a caller has a chain of notes, the latest first. What was noted before
an attempt began belongs to an outer attempt of the same caller.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class Note(NamedTuple):
    """
    A record of an attempt in flight.

    record: its id.
    at: the clock when the attempt had it.
    outer: what was noted before; it may be of an outer attempt.
    """

    record: int
    at: float
    outer: Note | None


Notes: TypeAlias = dict[int, Note]
"""The latest note of each caller."""


def note(notes: Notes, caller: int, record: int, now: float) -> None:
    """Note the record of the caller's innermost attempt; a second time, it changes nothing."""
    outer = notes.get(caller)
    if outer is None or outer.record != record:
        notes[caller] = Note(record, now, outer)


def record_of(notes: Notes, caller: int, started: float) -> int | None:
    """Return the record of the caller's attempt that began at `started`; None if it has none."""
    latest = notes.get(caller)
    return latest.record if latest is not None and latest.at >= started else None


def end_attempt(notes: Notes, caller: int, started: float) -> int | None:
    """Forget the record of the attempt that began at `started`, and return it."""
    latest = first = notes.get(caller)
    while first is not None and first.at >= started:
        first = first.outer
    if latest is None or latest is first:
        return None
    _put(notes, caller, first)
    return latest.record


def give_up(notes: Notes, caller: int, record: int) -> None:
    """The caller's innermost attempt gives up the record, if it has that."""
    latest = notes.get(caller)
    if latest is not None and latest.record == record:
        _put(notes, caller, latest.outer)


def _put(notes: Notes, caller: int, latest: Note | None) -> None:
    if latest is None:
        notes.pop(caller, None)
    else:
        notes[caller] = latest

"""
SQLAlchemy's connection records: which pool each belongs to, and the events of their connections.

There is one listener for all pools, so a rare event of an unwatched pool costs one look-up.
Listeners of a single pool would be copied to every pool that replaces it, and add up.
"""

from __future__ import annotations

import functools
import weakref
from typing import Any, Final, Protocol

from sqlalchemy import event
from sqlalchemy.pool import Pool

from poolscope.errors import harmless
from poolscope.ledger.ledger import Ledger


class Recording(Protocol):
    """What a pool's recording is told about its records."""

    @property
    def ledger(self) -> Ledger: ...

    def collected(self, record: int) -> None: ...
    def closing(self, record: weakref.ref[Any]) -> None: ...


tracked: Final[dict[int, tuple[weakref.ref[Any], Recording]]] = {}
"""The weak reference and the recording of each record, by the record's id."""


def track(record: Any, recording: Recording) -> None:
    """Remember whose record it is; tell the recording when the record is collected."""
    key = id(record)
    known = tracked.get(key)
    if known is None or known[0]() is not record:
        if known is not None:
            _on_collected(key, known[0])
        tracked[key] = weakref.ref(record, functools.partial(_on_collected, key)), recording


def find_collected() -> None:
    """Tell of records that were collected, where an exception has interrupted who should tell."""
    for key, (reference, _) in tracked.copy().items():
        if reference() is None:
            _on_collected(key, reference)


def forget(recording: Recording) -> None:
    """Forget all records of a pool."""
    for key in [key for key, (_, owner) in tracked.copy().items() if owner is recording]:
        tracked.pop(key, None)


@harmless
def _on_collected(key: int, reference: object) -> None:
    known = tracked.get(key)
    if known is not None and known[0] is reference:
        known[1].collected(key)
        tracked.pop(key, None)


@harmless
def _on_close(_: object, record: object) -> None:
    if entry := tracked.get(id(record)):
        reference, recording = entry
        recording.closing(reference)


@harmless
def _on_invalidate(_: object, record: object, exception: object) -> None:
    if entry := tracked.get(id(record)):
        entry[1].ledger.invalidated(False)


@harmless
def _on_soft_invalidate(_: object, record: object, exception: object) -> None:
    if entry := tracked.get(id(record)):
        entry[1].ledger.invalidated(True)


_LISTENERS: Final = (
    ("close", _on_close),
    ("invalidate", _on_invalidate),
    ("soft_invalidate", _on_soft_invalidate),
)


def listen() -> None:
    """Listen to the events of all pools; calling it again does nothing."""
    for name, listener in _LISTENERS:
        if not event.contains(Pool, name, listener):
            event.listen(Pool, name, listener)


def stop_listening() -> None:
    for name, listener in _LISTENERS:
        if event.contains(Pool, name, listener):
            event.remove(Pool, name, listener)

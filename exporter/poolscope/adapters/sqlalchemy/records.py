"""
SQLAlchemy's connection records: whose they are, and the events that only they tell of.

Listening at the class, once, costs a look-up at rare events of pools that are not watched.
Listeners at a pool would be copied to every pool that replaces it, and add up.
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
    """What is told of a record."""

    @property
    def ledger(self) -> Ledger: ...

    def collected(self, record: int) -> None: ...
    def closing(self, record: weakref.ref[Any]) -> None: ...


tracked: Final[dict[int, tuple[weakref.ref[Any], Recording]]] = {}
"""By identity of the record."""


def track(record: Any, hooks: Recording) -> None:
    """Know whose record it is, and when it is collected with its connection."""
    key = id(record)
    if key not in tracked:
        tracked[key] = weakref.ref(record, functools.partial(_on_died, key)), hooks


def forget(hooks: Recording) -> None:
    """Know nothing more of the records of a pool."""
    for key in [key for key, (_, whose) in list(tracked.items()) if whose is hooks]:
        tracked.pop(key, None)


@harmless
def _on_died(key: int, _: object) -> None:
    _, hooks = tracked.pop(key)
    hooks.collected(key)


@harmless
def _on_close(_: object, record: object) -> None:
    if found := tracked.get(id(record)):
        found[1].closing(found[0])


@harmless
def _on_invalidate(_: object, record: object, exception: object) -> None:
    if found := tracked.get(id(record)):
        found[1].ledger.invalidated(False)


@harmless
def _on_soft_invalidate(_: object, record: object, exception: object) -> None:
    if found := tracked.get(id(record)):
        found[1].ledger.invalidated(True)


_LISTENERS: Final = (
    ("close", _on_close),
    ("invalidate", _on_invalidate),
    ("soft_invalidate", _on_soft_invalidate),
)


def listen() -> None:
    """Listen to all pools, unless that is done already."""
    for name, listener in _LISTENERS:
        if not event.contains(Pool, name, listener):
            event.listen(Pool, name, listener)


def stop_listening() -> None:
    for name, listener in _LISTENERS:
        if event.contains(Pool, name, listener):
            event.remove(Pool, name, listener)

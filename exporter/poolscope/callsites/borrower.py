"""The caller that asks for a connection, and then holds it."""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Sequence
from typing import Any, Final, NamedTuple

from poolscope.callsites.frames import Function, Site, site_of
from poolscope.callsites.operations import Operation, shown_name
from poolscope.callsites.traces import Trace
from poolscope.label_values import printable


class Borrower(NamedTuple):
    """
    A caller that asks for a connection, and then holds it. The hot path makes plain tuples of the
    same elements, without the last one where nobody uses OpenTelemetry.

    function, at: the place in the application, if it is known; see `frames.Place`.
    borrower_key: identifies the caller: a weak reference to its task of asyncio, or its
        `owners.ThreadJob`.
    owner: the name that the task or thread had when it asked; "" if it is not known.
    operation: what it asks for a connection for, if it is known.
    trace: the one in which it asks, if there is one.
    """

    function: Function | None
    at: int
    borrower_key: Hashable
    owner: str
    operation: Operation | None = None
    trace: Trace | None = None

    @property
    def owner_now(self) -> str:
        """The name of the task or thread as it is now; once it is gone, as it was."""
        key: Any = self.borrower_key
        caller = key() if isinstance(key, weakref.ref) else key
        get_name = getattr(caller, "get_name", None)
        return printable((get_name() if get_name is not None else None) or self.owner)

    @property
    def site(self) -> Site | None:
        return site_of((self.function, self.at))

    @property
    def site_text(self) -> str | None:
        """`path/file.py:LINE in function` of the site, or None if it is not known."""
        return str(self.site) if self.function is not None else None

    @property
    def operation_name(self) -> str | None:
        """The name of its operation as it is shown, or None if it has none yet."""
        return shown_name(self.operation)

    @property
    def label(self) -> str | None:
        return self.function.label if self.function is not None else None


UNKNOWN_BORROWER: Final = Borrower(None, 0, None, "")
"""Holds the connections that were in use before they were watched."""


def anonymous_borrower() -> Borrower:
    """Return a borrower of which nothing is known, distinct from every other one."""
    return Borrower(*UNKNOWN_BORROWER)


def trace_of(borrower: Sequence[Any]) -> Trace | None:
    """Return the trace in which a caller has asked; the hot path's tuples may have none."""
    trace: Trace | None = borrower[5] if len(borrower) > 5 else None
    return trace

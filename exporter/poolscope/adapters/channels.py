"""The channels that a connection of asyncpg listens to, whichever library has pooled it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from poolscope.errors import harmless

# Checked with asyncpg 0.29.0 to 0.32.0: Connection._listeners, a dictionary that add_listener() and
#   remove_listener() change by item, and that is emptied when the connection is returned.


class Channels(dict[Any, Any]):
    """
    The callbacks of a connection by channel; tells when the connection begins or ends to listen.

    changed: called with whether there are any.
    """

    __slots__ = ("_changed", "_told")

    def __init__(self, channels: dict[Any, Any], changed: Callable[[bool], object]) -> None:
        super().__init__(channels)
        self._changed = changed
        self._told = bool(channels)

    def __setitem__(self, channel: Any, callbacks: Any) -> None:
        super().__setitem__(channel, callbacks)
        self._tell()

    def __delitem__(self, channel: Any) -> None:
        super().__delitem__(channel)
        self._tell()

    def check(self) -> None:
        """
        Tell that the channels were cleared.

        Not `clear` does so, because it runs for every connection that is returned.
        """
        if self._told and not self:
            self._tell()

    @harmless
    def _tell(self) -> None:
        self._told = bool(self)
        self._changed(self._told)


def watch_channels(connection: Any, changed: Callable[[bool], object]) -> None:
    """
    Call `changed` when the connection begins or ends to listen, instead of what was called before.

    A connection of another library than asyncpg is left as it is.
    """
    channels = _channels_of(connection)
    if channels is not None:
        connection._listeners = Channels(channels, changed)


def check_channels(connection: Any) -> None:
    """Tell if the connection no longer listens, and nothing has told of that."""
    channels = _channels_of(connection)
    if isinstance(channels, Channels):
        channels.check()


def unwatch_channels(connection: Any) -> None:
    """Leave the connection as it was; it may not be watched."""
    channels = _channels_of(connection)
    if isinstance(channels, Channels):
        connection._listeners = dict(channels)


def listens(connection: Any) -> bool:
    """Whether callbacks are called with what arrives at the connection."""
    return bool(_channels_of(connection))


def _channels_of(connection: Any) -> dict[Any, Any] | None:
    """Return the callbacks of a connection of asyncpg by channel; None for any other one."""
    asyncpg = sys.modules.get("asyncpg")
    if asyncpg is None or not isinstance(connection, asyncpg.Connection):
        return None
    channels: dict[Any, Any] = connection._listeners
    return channels

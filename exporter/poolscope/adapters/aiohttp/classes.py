"""The methods that aiohttp connectors have while they are watched."""

from __future__ import annotations

from asyncio import _get_running_loop
from sys import _getframe
from types import FrameType
from typing import Any, Final

import aiohttp

from poolscope.adapters.aiohttp.attempts import HAS_MIDDLEWARES, REQUEST
from poolscope.adapters.aiohttp.tracer import WatchedResolver
from poolscope.adapters.classes import HOOKS, bound, is_watched, stock_of
from poolscope.adapters.loops import used_in_other_loop
from poolscope.ledger.open_holds import ALWAYS_HELD

# Checked with aiohttp 3.9.0, 3.10.11, 3.11.18, 3.12.15, 3.13.5 and 3.14.5:
#   BaseConnector._loop, _closed, and closed, which ClientSession.closed asks, in _request() first
#   BaseConnector._release(key, protocol, should_close=), _close(), Connection.protocol,
#     TCPConnector._resolver, which is an attribute of the connector,
#     Connection.__del__() and ClientResponse.__del__(), which call _release(), the latter by
#     Connection.release()

_STOCK_CLOSED: Final = aiohttp.BaseConnector.closed
_CONNECTION_DEL: Final = aiohttp.connector.Connection.__del__.__code__
_CONNECTOR_DEL: Final = aiohttp.BaseConnector.__del__.__code__
_RESPONSE_DEL: Final = aiohttp.ClientResponse.__del__.__code__


def _connect(base: Any) -> Any:
    stock = stock_of(base, "connect")

    async def connect(self: Any, req: Any, traces: Any, timeout: Any) -> Any:
        try:
            hooks = self._poolscope_hooks
        except AttributeError:  # no longer watched
            return await bound(base, "connect", self)(req, traces=traces, timeout=timeout)
        attempt = hooks.asked(req, timeout, hooks.clock())
        if attempt is None:
            return await bound(base, "connect", self)(req, traces=traces, timeout=timeout)
        # These are passed by name, as aiohttp does, for what may be patched over the method.
        tracers = [*traces, attempt] if traces else [attempt]
        try:
            if base.connect is stock:
                connection = await stock(self, req, traces=tracers, timeout=timeout)
            else:
                connection = await bound(base, "connect", self)(
                    req, traces=tracers, timeout=timeout
                )
        except BaseException as error:
            try:
                attempt.failed(error, traces, req)
            except BaseException:
                # Another exception has come meanwhile; a second time changes nothing.
                hooks.gave_up(attempt)
                raise
            raise
        try:
            protocol = connection.protocol
            key = id(protocol)
            if key in hooks.hosts_by_protocol and attempt.is_ordinary and protocol.is_connected():
                if HAS_MIDDLEWARES:
                    outer = _getframe(1).f_back
                    if outer is None or outer.f_code is not REQUEST:
                        hooks.who(attempt)
                attempt.who = hooks.ledger.begin(key, attempt.started, ALWAYS_HELD, 2, attempt.who)
                if attempt.who is not None:
                    hooks.served(protocol, attempt)
            else:
                hooks.served(protocol, attempt)
        except BaseException as error:
            hooks.not_begun(connection, attempt, error)
        return connection

    return connect


def _release(base: Any) -> Any:
    def _release(self: Any, key: Any, protocol: Any, *, should_close: bool = False) -> None:
        hooks = vars(self).get(HOOKS)
        collected = hooks is not None and _is_collected(_getframe(1))
        if hooks is not None and not collected:
            # Recorded before the connector has it back. An exception that comes meanwhile comes
            # before the call, so aiohttp releases the connection once more, and not twice.
            hooks.released(key, protocol)
        elif collected:
            hooks.dropped(protocol)
        base._release(self, key, protocol, should_close=should_close)
        if collected:
            hooks.released(key, protocol)

    return _release


def _close(base: Any) -> Any:
    def _close(self: Any, *args: Any, **kwargs: Any) -> Any:
        hooks = vars(self).get(HOOKS)
        if hooks is not None and _getframe(1).f_code is _CONNECTOR_DEL:
            hooks.never_closed()  # nothing is logged in a finalizer
        elif hooks is not None and not self._closed:
            hooks.closing()
        try:
            return bound(base, "_close", self)(*args, **kwargs)
        finally:
            if hooks is not None:
                try:
                    hooks.closed()
                except BaseException:
                    # It may have come before the hook; a second time changes nothing.
                    hooks.closed()
                    raise

    return _close


def _closed(base: Any) -> Any:
    """
    Whether it is closed, which a session asks at the beginning of each request.

    In another loop than its own, the request fails before it asks for a connection.
    """

    def get(self: Any) -> Any:
        if self._loop is not _get_running_loop() and is_watched(self):
            asker = _getframe(1)
            if asker.f_code.co_name == "closed" and _caller(asker) == "_request":
                used_in_other_loop(self._poolscope_hooks.watched)
        return self._closed if base.closed is _STOCK_CLOSED else bound(base, "closed", self)

    return property(get, doc=base.closed.__doc__)


def _resolver(_: Any) -> Any:
    """The resolver; the connector itself gets it with a timer around it."""

    def get(self: Any) -> Any:
        resolver, hooks = vars(self)["_resolver"], vars(self).get(HOOKS)
        if hooks is None or _getframe(1).f_globals.get("__name__") != aiohttp.connector.__name__:
            return resolver
        return WatchedResolver(resolver, hooks)

    def put(self: Any, resolver: Any) -> None:
        vars(self)["_resolver"] = resolver

    def delete(self: Any) -> None:
        del vars(self)["_resolver"]

    return property(get, put, delete)


METHODS: Final = {"connect": _connect, "_release": _release, "_close": _close}
STATE: Final = {"closed": _closed}
PROPERTIES: Final = {**STATE, "_resolver": _resolver}
"""Of a connector that looks up names."""


def _caller(frame: FrameType) -> str:
    """Return the name of the function that has called the one of the frame."""
    return frame.f_back.f_code.co_name if frame.f_back is not None else ""


def _is_collected(frame: FrameType) -> bool:
    """Whether the frame releases a connection because its response, or itself, was collected."""
    caller = frame.f_back.f_code if frame.f_back is not None else None
    return frame.f_code is _CONNECTION_DEL or caller is _RESPONSE_DEL

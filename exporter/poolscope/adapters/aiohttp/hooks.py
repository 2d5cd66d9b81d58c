"""Replaces the methods of an aiohttp connector, and restores them."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any, Final

import aiohttp

from poolscope.adapters.aiohttp.connectors import existing, host_of
from poolscope.adapters.aiohttp.recording import ConnectorRecording
from poolscope.adapters.aiohttp.tracer import Tracer, WatchedResolver
from poolscope.adapters.patches import restore_method, wrap_method
from poolscope.errors import harmless, report
from poolscope.ledger.holds import ALWAYS_HELD
from poolscope.readings.pool_config import PoolConfig
from poolscope.watching.hooks import Hooks
from poolscope.watching.watched_pool import WatchedPool

# Checked with aiohttp 3.9.0, 3.10.11, 3.11.18, 3.12.15, 3.13.5 and 3.14.5:
#   BaseConnector._release(key, protocol, should_close=), _close(), _conns, _acquired, _closed,
#     _force_close, TCPConnector._resolver, Connection.protocol, ResponseHandler.close(),
#     connection_lost(), is_connected(), Connection.__del__() and ClientResponse.__del__(), which
#     call _release(), the latter by Connection.release()
WRAPPED_METHODS: Final = ("connect", "_release", "_close")

_CONNECTION_DEL: Final = aiohttp.connector.Connection.__del__.__code__
_CONNECTOR_DEL: Final = aiohttp.BaseConnector.__del__.__code__
_RESPONSE_DEL: Final = aiohttp.ClientResponse.__del__.__code__

hooks_by_connector: weakref.WeakKeyDictionary[aiohttp.BaseConnector, ConnectorHooks] = (
    weakref.WeakKeyDictionary()
)


class ConnectorHooks(ConnectorRecording, Hooks):
    """The hooks of one connector."""

    def __init__(
        self, connector: aiohttp.BaseConnector, watched: WatchedPool, config: PoolConfig
    ) -> None:
        super().__init__(connector, watched, config)
        watched.add_pool(self.ledger)
        hooks_by_connector[connector] = self
        for name in WRAPPED_METHODS:
            wrap_method(connector, name, getattr(self, f"_wrap_{name.strip('_')}"), self)
        if isinstance(connector, aiohttp.TCPConnector):
            connector._resolver = WatchedResolver(connector._resolver, self)
        for host, protocol, in_use in existing(connector):
            self._add_existing(protocol, host)
            self.ledger.adopted(id(protocol), self.clock(), in_use)

    def unhook(self) -> None:
        connector = self._connector()
        if connector is None:
            return
        for name in WRAPPED_METHODS:
            restore_method(connector, name, self)
        if isinstance(connector, aiohttp.TCPConnector):
            resolver = connector._resolver
            if isinstance(resolver, WatchedResolver) and resolver.hooks is self:
                connector._resolver = resolver.covered
        for _, protocol, _ in existing(connector):
            self._restore_protocol(protocol)
        hooks_by_connector.pop(connector, None)

    def _wrap_connect(
        self, original: Callable[..., Awaitable[Any]]
    ) -> Callable[..., Awaitable[Any]]:
        clock, ledger, hosts = self.clock, self.ledger, self._hosts

        async def connect(self: ConnectorHooks, req: Any, traces: Any, timeout: Any) -> Any:
            attempt = self.asked(req, clock())
            if attempt is None:
                return await original(req, traces, timeout)
            try:
                connection = await original(req, [*traces, attempt], timeout)
            except BaseException as error:
                attempt.failed(error, traces)
                raise
            try:
                protocol = connection.protocol
                key = id(protocol)
                if key in hosts and attempt.queued is None and protocol.is_connected():
                    attempt.who = ledger.begin(key, attempt.started, ALWAYS_HELD, 2, attempt.who)
                    if attempt.who is not None:
                        self.served(protocol, attempt)
                else:
                    self.served(protocol, attempt)
            except Exception as error:
                report("ConnectorHooks.served", error)
            return connection

        return connect

    def _wrap_release(self, original: Callable[..., None]) -> Callable[..., None]:
        def release(
            self: ConnectorHooks, key: Any, protocol: Any, *, should_close: bool = False
        ) -> None:
            if _is_collected(sys._getframe(1)):
                self.dropped(protocol)
            try:
                original(key, protocol, should_close=should_close)
            finally:
                self.released(key, protocol)

        return release

    def _wrap_close(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def close(self: ConnectorHooks, *args: Any, **kwargs: Any) -> Any:
            if sys._getframe(1).f_code is _CONNECTOR_DEL:
                self.watched.evidence.add("never-closed", self.watched.site)
            try:
                return original(*args, **kwargs)
            finally:
                self.closed()

        return close

    @harmless
    def asked(self, req: Any, started: float) -> Tracer:
        key = req.connection_key
        host = host_of(key)
        self._busy.ask(host)
        attempt = Tracer(self, host, started)
        if key.is_ssl and key.ssl is False:
            self.watched.evidence.add_at("tls-not-verified", self.who(attempt)[:2])
        return attempt


def _is_collected(frame: FrameType) -> bool:
    """Whether the frame releases a connection because its response, or itself, was collected."""
    caller = frame.f_back.f_code if frame.f_back is not None else None
    return frame.f_code is _CONNECTION_DEL or caller is _RESPONSE_DEL

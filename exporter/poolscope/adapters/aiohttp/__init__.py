"""
aiohttp: a client session, or its connector.

`connector.connect` is where an attempt begins and ends and `connector._release` is where a
connection comes back, whichever session asked. In between, the tracing signals tell of queueing,
of creation and of the DNS cache: each attempt gets a tracer of ours beside those of the session,
which costs a request no signal outside of getting the connection. What no signal tells, the
objects do: the protocol when a connection is lost, the resolver when a look-up fails.

A connection is identified by its protocol (`ResponseHandler`).
"""

from __future__ import annotations

import math
import sys
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from types import FrameType, SimpleNamespace
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

from poolscope.adapters import versions
from poolscope.adapters.aiohttp.connectors import connector_of, existing, host_of, setup_of
from poolscope.adapters.aiohttp.lost import is_lost
from poolscope.adapters.aiohttp.tracer import Attempt, WatchedResolver
from poolscope.adapters.patches import put_instead, put_over, take_off
from poolscope.callsites.borrower import Who
from poolscope.errors import harmless, report
from poolscope.ledger import cells
from poolscope.ledger.holds import KEPT
from poolscope.readings.hosts import OTHER, BusyHosts, HostReading
from poolscope.readings.limits import Limits
from poolscope.readings.report import Info
from poolscope.readings.setup import Setup
from poolscope.watching.hooks import Hooks
from poolscope.watching.watched_pool import WatchedPool

KIND: Final = "aiohttp"

# Checked with aiohttp 3.9.0, 3.10.11, 3.11.18, 3.12.15, 3.13.5 and 3.14.5:
#   BaseConnector._release(key, protocol, should_close=), _close(), _conns, _acquired, _closed,
#     _force_close, TCPConnector._resolver, Connection.protocol, ResponseHandler.close(),
#     connection_lost(), is_connected(), Connection.__del__() and ClientResponse.__del__(), which
#     call _release(), the latter by Connection.release()
PUT_OVER: Final = ("connect", "_release", "_close")
INSTEAD_OF_PROTOCOL: Final = ("close", "abort", "connection_lost")

_CONNECTION_DIES: Final = aiohttp.connector.Connection.__del__.__code__
_CONNECTOR_DIES: Final = aiohttp.BaseConnector.__del__.__code__
_RESPONSE_DIES: Final = aiohttp.ClientResponse.__del__.__code__

_hooks_by_connector: weakref.WeakKeyDictionary[aiohttp.BaseConnector, ConnectorHooks] = (
    weakref.WeakKeyDictionary()
)


def check_version() -> None:
    versions.require("aiohttp", aiohttp.__version__, "3.9")


def accepts(target: object) -> bool:
    return isinstance(target, (aiohttp.ClientSession, aiohttp.BaseConnector))


def check_open(target: Any) -> None:
    if target.closed:
        what = "session" if isinstance(target, aiohttp.ClientSession) else "connector"
        raise ValueError(f"this aiohttp {what} is closed; watch it before it is")


def find(target: Any) -> WatchedPool | None:
    hooks = _hooks_by_connector.get(connector_of(target))
    return hooks.watched if hooks is not None else None


def default_name(target: Any) -> str:
    """Return `HOST:PORT` of a session with a base URL, or `aiohttp`."""
    base = getattr(target, "_base_url", None)
    return f"{base.host}:{base.port}" if base is not None else KIND


def hook(target: Any, watched: WatchedPool) -> ConnectorHooks:
    return ConnectorHooks(connector_of(target), watched, setup_of(target))


def trace_config(watch: Callable[[aiohttp.ClientSession], object]) -> aiohttp.TraceConfig:
    """Return a TraceConfig that calls `watch` at the first request of each of its sessions."""

    @harmless
    def watch_once(session: aiohttp.ClientSession) -> None:
        connector = session.connector
        if connector is not None and connector not in _hooks_by_connector:
            watch(session)

    async def on_request_start(
        session: aiohttp.ClientSession, context: SimpleNamespace, params: object
    ) -> None:
        watch_once(session)

    config = aiohttp.TraceConfig()
    config.on_request_start.append(on_request_start)
    return config


class ConnectorHooks(Hooks):
    """One connector. Holds no reference to it, so that it goes when the application lets go."""

    def __init__(
        self, connector: aiohttp.BaseConnector, watched: WatchedPool, setup: Setup
    ) -> None:
        self.watched: Final = watched
        self.setup = setup
        self.clock: Final = watched.clock
        self.info = Info(type(connector).__name__, "aiohttp", aiohttp.__version__)
        limit = connector.limit or math.inf
        # It keeps idle whatever was opened: its limit is for those that are out.
        idle_limit = 0 if connector.force_close else math.inf
        limits = Limits(limit, idle_limit, 0)
        self.ledger: Final = watched.new_ledger(limits, self.info, setup)
        # Hosts of the connections, and of the attempts that are opening one or waiting.
        self._hosts: dict[Hashable, str] = {}
        self._opening: dict[int, str] = {}
        self._waiting: dict[int, str] = {}
        self._busy = BusyHosts()
        self._closed = False
        self._connector = weakref.ref(connector, self._on_collected)
        watched.add_pool(self.ledger)
        _hooks_by_connector[connector] = self
        for name in PUT_OVER:
            put_over(connector, name, getattr(self, f"_over_{name.strip('_')}"))
        if isinstance(connector, aiohttp.TCPConnector):
            connector._resolver = WatchedResolver(connector._resolver, self)
        for host, protocol, out in existing(connector):
            self._found(protocol, host)
            self.ledger.adopted(id(protocol), self.clock(), out)

    def unhook(self) -> None:
        connector = self._connector()
        if connector is None:
            return
        for name in PUT_OVER:
            take_off(connector, name, self)
        if isinstance(connector, aiohttp.TCPConnector):
            resolver = connector._resolver
            if isinstance(resolver, WatchedResolver) and resolver.hooks is self:
                connector._resolver = resolver.covered
        for _, protocol, _ in existing(connector):
            self._let_go(protocol)
        _hooks_by_connector.pop(connector, None)

    def hosts(self) -> list[HostReading]:
        """Return the connections by host, those that are asked for most first."""
        hosts = dict(self._hosts)
        opened, held = self.ledger.connections()
        out = Counter(hosts.get(key, OTHER) for key in held)
        idle = Counter(hosts.get(key, OTHER) for key in opened - held)
        opening = Counter(list(self._opening.values()))
        waiting = Counter(list(self._waiting.values()))
        busy = self._busy.shown()
        rest = {*out, *idle, *opening, *waiting}.difference(busy)
        return [
            HostReading(
                host if host in busy else OTHER,
                out[host],
                idle[host],
                opening[host],
                waiting[host],
            )
            for host in (*busy, *rest)
        ]

    @harmless
    def look_for_lost(self) -> None:
        connector = self._connector()
        for protocol in list(connector._acquired) if connector is not None else ():
            if isinstance(protocol, ResponseHandler) and is_lost(protocol):
                self.dropped(protocol)

    # What is put over the connector's methods

    def _over_connect(
        self, original: Callable[..., Awaitable[Any]]
    ) -> Callable[..., Awaitable[Any]]:
        clock, ledger, hosts = self.clock, self.ledger, self._hosts

        async def connect(req: Any, traces: Any, timeout: Any) -> Any:
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
                    attempt.who = ledger.begin(key, attempt.started, KEPT, 2, attempt.who)
                    if attempt.who is not None:
                        self.served(protocol, attempt)
                else:
                    self.served(protocol, attempt)
            except Exception:
                report("ConnectorHooks.served")
            return connection

        return connect

    def _over_release(self, original: Callable[..., None]) -> Callable[..., None]:
        def release(key: Any, protocol: Any, *, should_close: bool = False) -> None:
            if _is_collected(sys._getframe(1)):
                self.dropped(protocol)
            try:
                original(key, protocol, should_close=should_close)
            finally:
                self.released(key, protocol)

        return release

    def _over_close(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def close(*args: Any, **kwargs: Any) -> Any:
            if sys._getframe(1).f_code is _CONNECTOR_DIES:
                self.watched.sightings.note("never-closed", self.watched.site)
            try:
                return original(*args, **kwargs)
            finally:
                self.closed()

        return close

    # What is recorded

    @harmless
    def asked(self, req: Any, started: float) -> Attempt:
        key = req.connection_key
        host = host_of(key)
        self._busy.ask(host)
        attempt = Attempt(self, host, started)
        if key.is_ssl and key.ssl is False:
            self.watched.sightings.note_at("tls-not-verified", self.who(attempt)[:2])
        return attempt

    def who(self, attempt: Attempt) -> Who:
        """Return who asks, which is found out only once."""
        if attempt.who is None:
            attempt.who = self.ledger.ask()
        return attempt.who

    @harmless
    def served(self, protocol: Any, attempt: Attempt) -> None:
        now, key = self.clock(), id(protocol)
        reused = key in self._hosts
        if not reused:
            self._keep(protocol, attempt.host)
            self._opening.pop(attempt.number, None)
            self.ledger.opened(attempt.number, key, now, attempt.open_seconds, True)
        who = self.who(attempt)
        self.ledger.served(key, now, attempt.started, who, KEPT, attempt.queued, reused)
        if not protocol.is_connected():
            # It was lost while a tracer of the session's own took its time.
            self.lost(protocol)

    @harmless
    def finished(self, outcome: int, attempt: Attempt) -> None:
        self.ledger.finished(outcome, attempt.seconds, attempt.queued)
        if outcome == cells.TIMEOUT:
            self.watched.timed_out(self.clock())

    @harmless
    def waiting(self, attempt: Attempt) -> None:
        self.who(attempt)
        attempt.waiting_since = now = self.clock()
        self._waiting[attempt.number] = attempt.host
        self.ledger.waiting(attempt.number, now)

    @harmless
    def stopped_waiting(self, attempt: Attempt) -> None:
        if self._waiting.pop(attempt.number, None) is None:
            return
        now = self.clock()
        attempt.queued = (attempt.queued or 0.0) + now - attempt.waiting_since
        self.ledger.stopped_waiting(attempt.number, now)

    @harmless
    def opening(self, attempt: Attempt) -> None:
        attempt.opening_since = now = self.clock()
        self._opening[attempt.number] = attempt.host
        self.ledger.opening(attempt.number, now)

    @harmless
    def opened(self, attempt: Attempt) -> None:
        """It is open, but only when the attempt ends is it known which it is."""
        attempt.open_seconds = self.clock() - attempt.opening_since

    @harmless
    def gave_up(self, attempt: Attempt) -> None:
        """The attempt has failed, wherever it was."""
        self.who(attempt)
        self.stopped_waiting(attempt)
        now = self.clock()
        attempt.seconds = now - attempt.started
        if self._opening.pop(attempt.number, None) is not None:
            self.ledger.open_failed(attempt.number, now, now - attempt.opening_since)

    @harmless
    def looked_up(self, outcome: int, started: float | None) -> None:
        self.ledger.looked_up(outcome, None if started is None else self.clock() - started)

    @harmless
    def dropped(self, protocol: Any) -> None:
        """Whoever had it has let go of the response, or the connection, before its end."""
        self.ledger.abandoned(id(protocol), self.clock())

    @harmless
    def released(self, key: Any, protocol: Any) -> None:
        if self._closed or not protocol.is_connected():
            self.lost(protocol)
            return
        if self._hosts.get(id(protocol), OTHER) is OTHER:
            self._found(protocol, host_of(key))
        if not self.ledger.end(id(protocol), self.clock()):
            self.ledger.returned(id(protocol), self.clock())

    @harmless
    def lost(self, protocol: Any) -> None:
        self._hosts.pop(id(protocol), None)
        self._let_go(protocol)
        self.ledger.closed(id(protocol), self.clock())

    @harmless
    def closed(self) -> None:
        self._closed = True
        self._hosts.clear()
        self.ledger.emptied(self.clock())
        self.ledger.retired(self.clock())

    @harmless
    def _on_collected(self, _: object) -> None:
        self.watched.pool_gone(self.ledger)

    def _found(self, protocol: Any, host: str) -> None:
        """
        Know a connection that nobody has asked for since the watch began.

        Of one that was out then, the host may be known only when it is returned.
        """
        if host is not OTHER:
            self._busy.ask(host)
        if id(protocol) in self._hosts:
            self._hosts[id(protocol)] = host
        else:
            self._keep(protocol, host)

    def _keep(self, protocol: Any, host: str) -> None:
        """Know the connection's host, and when it is closed or lost, in use or idle."""
        self._hosts[id(protocol)] = host
        for name in INSTEAD_OF_PROTOCOL:
            if hasattr(protocol, name):
                put_instead(protocol, name, ConnectorHooks._end, self)

    def _let_go(self, protocol: Any) -> None:
        for name in INSTEAD_OF_PROTOCOL:
            take_off(protocol, name, self)

    def _end(self, protocol: Any, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        finally:
            self.lost(protocol)  # which takes this off, and ends the cycle


def _is_collected(releasing: FrameType) -> bool:
    """Whether a connection is released only because nobody has its response any more."""
    code = releasing.f_code
    caller = releasing.f_back.f_code if releasing.f_back is not None else None
    return code is _CONNECTION_DIES or caller is _RESPONSE_DIES

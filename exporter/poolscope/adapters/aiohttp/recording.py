"""What happens to the connections of an aiohttp connector, recorded in its ledger."""

from __future__ import annotations

import math
import weakref
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

from poolscope.adapters.aiohttp.attempts import Attempt
from poolscope.adapters.aiohttp.connectors import host_of
from poolscope.adapters.aiohttp.lost import is_lost
from poolscope.adapters.patches import replace_method, restore_method
from poolscope.callsites.borrower import Borrower
from poolscope.errors import harmless
from poolscope.ledger import cells
from poolscope.ledger.holds import ALWAYS_HELD
from poolscope.readings.hosts import OTHER_HOSTS, BusyHosts, HostReading
from poolscope.readings.limits import Limits
from poolscope.readings.pool_config import PoolConfig
from poolscope.readings.report import Info
from poolscope.watching.watched_pool import WatchedPool

REPLACED_PROTOCOL_METHODS: Final = ("close", "abort", "connection_lost")


class ConnectorRecording:
    """
    Records what happens to one connector, whose hooks and tracers call the methods.

    It holds no reference to the connector, so that it goes when the application lets go.
    """

    def __init__(
        self, connector: aiohttp.BaseConnector, watched: WatchedPool, config: PoolConfig
    ) -> None:
        self.watched: Final = watched
        self.config = config
        self.clock: Final = watched.clock
        self.info = Info(type(connector).__name__, "aiohttp", aiohttp.__version__)
        limit = connector.limit or math.inf
        # It keeps idle whatever was opened: its limit is for those that are out.
        idle_limit = 0 if connector.force_close else math.inf
        limits = Limits(limit, idle_limit, 0)
        self.ledger: Final = watched.new_ledger(limits, self.info, config)
        # Hosts of the connections, and of the attempts that are opening one or waiting.
        self._hosts: dict[Hashable, str] = {}
        self._opening: dict[int, str] = {}
        self._waiting: dict[int, str] = {}
        self._busy = BusyHosts()
        self._closed = False
        self._connector = weakref.ref(connector, self._on_collected)

    def hosts(self) -> list[HostReading]:
        """Return the connections by host, those that are asked for most first."""
        hosts = dict(self._hosts)
        opened, held = self.ledger.connections()
        out = Counter(hosts.get(key, OTHER_HOSTS) for key in held)
        idle = Counter(hosts.get(key, OTHER_HOSTS) for key in opened - held)
        opening = Counter(list(self._opening.values()))
        waiting = Counter(list(self._waiting.values()))
        busy = self._busy.shown()
        rest = {*out, *idle, *opening, *waiting}.difference(busy)
        return [
            HostReading(
                host if host in busy else OTHER_HOSTS,
                out[host],
                idle[host],
                opening[host],
                waiting[host],
            )
            for host in (*busy, *rest)
        ]

    @harmless
    def find_abandoned(self) -> None:
        connector = self._connector()
        for protocol in list(connector._acquired) if connector is not None else ():
            if isinstance(protocol, ResponseHandler) and is_lost(protocol):
                self.dropped(protocol)

    def who(self, attempt: Attempt) -> Borrower:
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
        self.ledger.served(key, now, attempt.started, who, ALWAYS_HELD, attempt.queued, reused)
        if not protocol.is_connected():
            # It was lost while a tracer of the session's own took its time.
            self.lost(protocol)

    @harmless
    def finished(self, outcome: int, attempt: Attempt) -> None:
        self.ledger.finished(outcome, attempt.seconds, attempt.queued)
        if outcome == cells.TIMEOUT:
            self.watched.log_timeout(self.clock())

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
        if self._hosts.get(id(protocol), OTHER_HOSTS) is OTHER_HOSTS:
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
        if host is not OTHER_HOSTS:
            self._busy.ask(host)
        if id(protocol) in self._hosts:
            self._hosts[id(protocol)] = host
        else:
            self._keep(protocol, host)

    def _keep(self, protocol: Any, host: str) -> None:
        """Know the connection's host, and when it is closed or lost, in use or idle."""
        self._hosts[id(protocol)] = host
        for name in REPLACED_PROTOCOL_METHODS:
            if hasattr(protocol, name):
                replace_method(protocol, name, ConnectorRecording._end, self)

    def _let_go(self, protocol: Any) -> None:
        for name in REPLACED_PROTOCOL_METHODS:
            restore_method(protocol, name, self)

    def _end(self, protocol: Any, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        finally:
            self.lost(protocol)  # which takes this off, and ends the cycle

"""Records in its ledger what happens to the connections of an aiohttp connector."""

from __future__ import annotations

import functools
import math
import sys
import weakref
from collections.abc import Collection, Hashable
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

from poolscope.adapters.aiohttp.across import RequestAcross
from poolscope.adapters.aiohttp.attempts import Attempt, frame_of_request
from poolscope.adapters.aiohttp.connectors import host_of
from poolscope.adapters.aiohttp.lost import is_dropped, is_lost, is_returning
from poolscope.adapters.aiohttp.missing import attempts_in_flight, keeps_slot, unknown_slots
from poolscope.adapters.aiohttp.protocols import watch_protocol
from poolscope.adapters.classes import unwatch_object
from poolscope.adapters.missing_slots import MissingSlots
from poolscope.callsites.borrower import Borrower
from poolscope.errors import harmless, harmless_once, is_ours, report
from poolscope.ledger import cells
from poolscope.ledger.events import CROWDED
from poolscope.ledger.open_holds import ALWAYS_HELD
from poolscope.readings.limits import Limits
from poolscope.readings.pool_config import PoolConfig
from poolscope.readings.report import Info
from poolscope.watching.pool_log import CUT_OFF
from poolscope.watching.watched_pool import WatchedPool


class ConnectorRecording:
    """
    Records what happens to one connector. The connector's hooks and tracers call the methods.

    It holds no reference to the connector, so that the connector is collected when the application
    drops it.
    """

    def __init__(
        self, connector: aiohttp.BaseConnector, watched: WatchedPool, config: PoolConfig
    ) -> None:
        self.watched: Final = watched
        self.config = config
        self.clock: Final = watched.clock
        self.info = Info(type(connector).__name__, "aiohttp", aiohttp.__version__)
        limit = connector.limit or math.inf
        # A connector keeps any number of idle connections: its limit is for those in use.
        idle_limit = 0 if connector.force_close else math.inf
        limits = Limits(limit, idle_limit, 0)
        self.ledger: Final = watched.new_ledger(limits, self.info, config, http=True)
        # The host of each connection, by the id of its protocol; and of each attempt that is
        # opening one or waiting.
        self.hosts_by_protocol: dict[Hashable, str | None] = {}
        # The requests of callers that hold connections of a database, by the same id.
        self.across: dict[Hashable, RequestAcross] = {}
        self._opening: dict[int, str] = {}
        self._waiting: dict[int, str] = {}
        self._missing_slots: Final = MissingSlots(self.ledger)
        self._closed = False
        self._connector = weakref.ref(connector, self._on_collected)

    @harmless
    def find_abandoned(self) -> None:
        connector = self._connector()
        for protocol in list(connector._acquired) if connector is not None else ():
            if isinstance(protocol, ResponseHandler) and is_lost(protocol):
                self.dropped(protocol)
        self.find_lost_slots()

    @harmless
    def find_lost_slots(self, lost_by: Borrower | None = None) -> None:
        """Find slots that aiohttp has lost; `lost_by`: whose attempt has just lost one."""
        connector = self._connector()
        if connector is not None and not connector.closed:
            self._missing_slots.look(functools.partial(self._count_missing, connector), lost_by)

    def _count_missing(self, connector: Any) -> int:
        """Return how many slots are acquired that nobody has, and no attempt is about to have."""
        acquired = unknown_slots(connector, self.ledger.slots()[0])
        missing = len(acquired) - len(self._opening)
        if missing <= 0:
            return 0
        elsewhere = (
            number not in self._opening and number not in self._waiting
            for number in attempts_in_flight(connector)
        )
        return max(0, missing - sum(elsewhere))

    @harmless
    def failed_with(self, attempt: Attempt, error: BaseException) -> None:
        """The attempt has failed with `error`, and may have lost its slot."""
        connector = self._connector()
        lost = connector is not None and keeps_slot(connector, error, self.ledger.slots()[0])
        self.find_lost_slots(attempt.who if lost else None)

    def find_dropped(self, keys: frozenset[Hashable]) -> Collection[Hashable]:
        connector = self._connector()
        dropped = set()
        for protocol in list(connector._acquired) if connector is not None else ():
            if id(protocol) not in keys:
                continue
            if is_returning(protocol):
                dropped.add(id(protocol))
            elif is_dropped(protocol):
                dropped.add(id(protocol))
                if is_lost(protocol):
                    self.dropped(protocol)
        return dropped

    def who(self, attempt: Attempt, on_purpose: bool = False) -> Borrower:
        """Return who asks, perhaps to hold the connection on purpose; the first call finds it."""
        if attempt.who is None:
            attempt.who = self.ledger.ask(
                on_purpose=on_purpose,
                is_crowded=lambda: self._is_crowded(attempt.host),
                frame=frame_of_request(sys._getframe(1)),
            )
        return attempt.who

    def _is_crowded(self, host: str) -> bool:
        """Whether the host has connections in use, which crowd `limit_per_host` with one more."""
        connector = self._connector()
        limit = connector.limit_per_host if connector is not None else 0
        in_use = self.ledger.holds.in_use.copy()
        to_host = sum(self.hosts_by_protocol.get(key) == host for key in in_use)
        return limit > 0 < to_host and to_host + 1 >= CROWDED * limit

    @harmless
    def served(self, protocol: Any, attempt: Attempt) -> None:
        now, key = self.clock(), id(protocol)
        reused = key in self.hosts_by_protocol and attempt.number not in self._opening
        if not reused:
            self._add_opened(protocol, attempt, now)
        who = self.who(attempt)
        if attempt.across is not None:
            self.across[key] = attempt.across
        self.ledger.served(
            key, now, attempt.started, who, ALWAYS_HELD, attempt.queued, reused, attempt.host
        )
        if attempt.across is not None:
            self.ledger.end_slowly(key)  # so that `released` comes to where the request ends
        if not protocol.is_connected():
            # The connection was lost while a tracer of the session was running.
            self.lost(protocol)

    def not_begun(self, connection: Any, attempt: Attempt, error: BaseException) -> None:
        """
        The hooks have failed, by our fault; raise an exception from outside.

        Then the caller does not get its connection, so it is closed.
        """
        if not is_ours(error):
            if attempt.number in self._opening:
                self._add_opened(connection.protocol, attempt, self.clock())
            self.gave_up(attempt)
            connection.close()
        report("ConnectorHooks.served", error)

    @harmless_once
    def finished(self, outcome: int, attempt: Attempt) -> None:
        self.ledger.finished(outcome, attempt.seconds, attempt.queued, attempt.in_queue)
        if outcome == cells.TIMEOUT and not attempt.in_queue:
            self.watched.log_timeout(self.clock(), True)

    @harmless_once
    def add_note(self, error: TimeoutError) -> None:
        """Have an error of a time limit say who holds the connections; the application gets it."""
        self.watched.add_note(error, self.clock())

    @harmless_once
    def log_gave_up(self, attempt: Attempt, timed_out: bool) -> None:
        """
        Log who holds the connections if the attempt has ended while it waited.

        At once: the outcome may be known only when the attempt is collected, and nothing can be
        logged then.
        """
        if attempt.in_queue:
            self.watched.log_timeout(self.clock(), timed_out)

    @harmless
    def waiting(self, attempt: Attempt) -> None:
        self.who(attempt)
        attempt.waiting_since = now = self.clock()
        self._waiting[attempt.number] = attempt.host
        self.ledger.waiting(attempt.number, now, attempt.host)

    @harmless
    def stopped_waiting(self, attempt: Attempt) -> None:
        if attempt.number not in self._waiting:
            return
        now = self.clock()
        self.ledger.stopped_waiting(attempt.number, now)
        attempt.queued = (attempt.queued or 0.0) + now - attempt.waiting_since
        attempt.is_ordinary = False
        self._waiting.pop(attempt.number, None)

    @harmless
    def opening(self, attempt: Attempt) -> None:
        attempt.opening_since = now = self.clock()
        self._opening[attempt.number] = attempt.host
        self.ledger.opening(attempt.number, now, attempt.host)

    @harmless
    def opened(self, attempt: Attempt) -> None:
        """A connection is open; `served` learns which one when the attempt ends."""
        attempt.open_seconds = self.clock() - attempt.opening_since

    @harmless
    def gave_up(self, attempt: Attempt) -> None:
        """The attempt has failed, while it waited, opened a connection, or did neither."""
        self.who(attempt)
        if attempt.across is not None:
            attempt.across.end()
        attempt.has_failed = True
        if attempt.number in self._waiting:
            attempt.in_queue = True
            self.stopped_waiting(attempt)
        now = self.clock()
        attempt.seconds = now - attempt.started
        if attempt.number in self._opening:
            self.ledger.open_failed(attempt.number, now, now - attempt.opening_since)
            self._opening.pop(attempt.number, None)

    @harmless_once
    def looked_up(self, outcome: int, started: float | None) -> None:
        self.ledger.looked_up(outcome, None if started is None else self.clock() - started)

    @harmless
    def dropped(self, protocol: Any) -> None:
        """The caller has dropped the response, or the connection, before its end."""
        self._across_ended(protocol)
        self.ledger.abandoned(id(protocol), self.clock())

    @harmless
    def released(self, key: Any, protocol: Any) -> None:
        if self._closed or not protocol.is_connected():
            self.lost(protocol)
            return
        if self.hosts_by_protocol.get(id(protocol)) is None:
            self._keep(protocol, host_of(key))
        elif self.ledger.end(id(protocol), self.clock()):
            return
        self._across_ended(protocol)
        self.ledger.returned(id(protocol), self.clock(), host_of(key))

    @harmless
    def upgraded(self, protocol: Any) -> None:
        """The connection has become a websocket, which is held for as long as it is open."""
        self.ledger.purpose_changed(id(protocol), self.clock(), True)

    @harmless
    def lost(self, protocol: Any) -> None:
        self.hosts_by_protocol.pop(id(protocol), None)
        self._across_ended(protocol)
        unwatch_object(protocol)
        self.ledger.closed(id(protocol), self.clock())

    @harmless
    def never_closed(self) -> None:
        """The connector was collected with open connections."""
        self.watched.evidence.add("never-closed", self.watched.site)

    def closing(self) -> None:
        self.watched.log_close(self.ledger, CUT_OFF)

    @harmless
    def closed(self) -> None:
        self._closed = True
        self.hosts_by_protocol.clear()
        self.all_across_ended()
        self.ledger.emptied(self.clock())
        self.ledger.retired(self.clock())

    @harmless
    def _on_collected(self, _: object) -> None:
        self.all_across_ended()
        self.watched.pool_gone(self.ledger)

    @harmless
    def begin_across(self, attempt: Attempt) -> None:
        """The caller may hold connections of a database."""
        attempt.across, attempt.is_ordinary = RequestAcross(), False
        attempt.across.begin(self.who(attempt)[:2])

    def _across_ended(self, protocol: Any) -> None:
        self._end_across(id(protocol))

    def all_across_ended(self) -> None:
        """Nobody will tell when the requests under way end."""
        for key in list(self.across):
            self._end_across(key)

    def _end_across(self, key: Hashable) -> None:
        across = self.across.get(key)
        if across is not None:
            across.end()  # first: if it is interrupted, the hook is called again
            self.across.pop(key, None)

    @harmless
    def _add_opened(self, protocol: Any, attempt: Attempt, now: float) -> None:
        """Add the connection that was opened for an attempt; a second time changes nothing."""
        self.ledger.opened(
            attempt.number, id(protocol), now, attempt.open_seconds, True, attempt.host
        )
        self._keep(protocol, attempt.host)
        self._opening.pop(attempt.number, None)

    def _keep(self, protocol: Any, host: str | None) -> None:
        """
        Remember the host of a connection, and watch for its closing or loss.

        The host of one that was in use when the watch began may be known only when it is returned.
        """
        self.hosts_by_protocol[id(protocol)] = host
        watch_protocol(protocol, self)

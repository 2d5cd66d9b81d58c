"""Records in its ledger what happens to the connections of a SQLAlchemy pool object."""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import exc
from sqlalchemy.pool import NullPool, Pool

from poolscope.adapters.channels import listens, watch_channels
from poolscope.adapters.loops import used_in_other_loop
from poolscope.adapters.missing_slots import MissingSlots
from poolscope.adapters.outcomes import outcome_of
from poolscope.adapters.sqlalchemy import in_flight, records
from poolscope.adapters.sqlalchemy.on_stacks import under_way
from poolscope.adapters.sqlalchemy.pools import (
    checked_out,
    counts_slots,
    driver_connection,
    fate_of_connections,
    is_bound_to_a_loop,
    is_of_other_loop,
    limits_of,
)
from poolscope.adapters.sqlalchemy.queues import NOT_WAITED, WaitTracker, current_caller
from poolscope.callsites.borrower import Borrower, anonymous_borrower
from poolscope.errors import harmless, harmless_once, is_ours, report
from poolscope.ledger import cells
from poolscope.readings.pool_config import PoolConfig
from poolscope.readings.report import Info
from poolscope.watching.watched_pool import WatchedPool

_attempts = itertools.count()


class PoolRecording:
    """
    Records what happens to one pool object. The hooks of the pool call the methods.

    It holds no reference to the pool, so that the pool is collected when the application drops it.
    """

    __slots__ = (
        "_closing",
        "_collected",
        "_got",
        "_missing_slots",
        "_opened",
        "_wait_tracker",
        "clock",
        "closes",
        "config",
        "info",
        "is_async",
        "is_bound_to_a_loop",
        "ledger",
        "of_all_pools",
        "unusual",
        "watched",
    )

    def __init__(self, pool: Pool, watched: WatchedPool, info: Info, config: PoolConfig) -> None:
        self.watched: Final = watched
        self.clock: Final = watched.clock
        self.info: Final = info
        self.config: Final = config
        self.ledger: Final = watched.new_ledger(limits_of(pool), info, config)
        self._wait_tracker: Final = WaitTracker(watched, self.ledger)
        # By caller: an attempt in flight that has waited, or opened a connection.
        self.unusual: Final = self._wait_tracker.ended
        # The records that attempts in flight have opened, and those that they have got.
        self._opened: in_flight.Notes = {}
        self._got: in_flight.Notes = {}
        # By their ids: the records whose connections are about to be closed.
        self._closing: dict[int, weakref.ref[Any]] = {}
        # The ids of the connections that are being closed: their slots may be out meanwhile.
        self.closes: Final[dict[int, None]] = {}
        self._missing_slots: Final = MissingSlots(self.ledger)
        # The listeners of all pools to `checkout`, until the hooks watch that event.
        self.of_all_pools: Sequence[object] = pool.dispatch.checkout.parent_listeners
        # Whether closing a connection may switch to another task.
        self.is_async: Final = pool._dialect.is_async
        # Whether its connections can each be used in one event loop only.
        self.is_bound_to_a_loop = False
        self._collected = weakref.ref(pool, self._on_collected)

    @harmless
    def check_if_due(self, now: float) -> None:
        self.ledger.check_if_due(now)

    def served_unusually(self, proxied: Any, started: float) -> None:
        """An attempt has succeeded. Its caller, or another, has waited or opened a connection."""
        waited, who, record = self._wait_tracker.take(started), None, None
        if waited is not None:
            self.ledger.waited(waited.seconds)
            who = waited.who
        if in_flight.record_of(self._opened, current_caller(), started) is None:
            record = proxied._connection_record
        if record is None:
            who = who or self.ledger.ask()
        else:
            who = self.ledger.begin(id(record), started, record.fairy_ref, 3, who)
        if who is not None:
            self.served(proxied, started, who)
        if record is not None and self.is_bound_to_a_loop and is_of_other_loop(record):
            used_in_other_loop(self.watched)

    def not_begun(self, proxied: Any, started: float, error: BaseException) -> None:
        """
        The fast path has failed: a listener has detached the connection, or by our fault, or an
        exception from outside has come.
        """
        if not is_ours(error):
            self.interrupted(proxied, started)
            raise error
        if proxied._connection_record is None:
            self.served_unusually(proxied, started)
        else:
            report("PoolHooks.begin", error)
            self.served(proxied, started, anonymous_borrower())

    def interrupted(self, proxied: Any, started: float) -> None:
        """An exception from outside has come: the caller does not get its connection."""
        record = proxied._connection_record
        self._end_attempt(started)
        if record is not None:
            # By nobody's fault, so it is not abandoned.
            self.returned(record)
        if not self.is_async:
            proxied.close()

    @harmless
    def _end_attempt(self, started: float) -> None:
        """Forget the attempt of this caller that began at `started`."""
        self._wait_tracker.take(started)
        for notes in (self._opened, self._got):
            in_flight.end_attempt(notes, current_caller(), started)

    @harmless
    def served(self, proxied: Any, started: float, who: Borrower) -> None:
        now, caller = self.clock(), current_caller()
        opened = in_flight.end_attempt(self._opened, caller, started)
        in_flight.end_attempt(self._got, caller, started)
        record = proxied._connection_record
        if record is None:  # a listener has already detached the connection
            self.ledger.finished(cells.OK, now - started, None)
            return
        records.track(record, self)
        self.learn_loop(record)
        reused = opened is None
        self.ledger.served(id(record), now, started, who, record.fairy_ref, None, reused)

    def failed(self, error: BaseException, started: float) -> None:
        try:
            self._failed(error, started)
        finally:
            self._end_attempt(started)

    @harmless_once
    def _failed(self, error: BaseException, started: float) -> None:
        now, caller = self.clock(), current_caller()
        waited = self._wait_tracker.take(started)
        opened = in_flight.record_of(self._opened, caller, started)
        who = waited.who if waited is not None else None
        if who is None:
            who = self.ledger.ask()
        if opened is not None:
            # SQLAlchemy drops a connection that it has opened for an attempt that fails.
            self.ledger.closed(opened, now)
        outcome = outcome_of(error, exc.TimeoutError)
        queued = waited.seconds if waited is not None else None
        gave_up = waited is not None and waited.got_none
        self.ledger.finished(outcome, now - started, queued, gave_up)
        has_got = in_flight.record_of(self._got, caller, started) is not None
        self.find_lost_slots(who if has_got else None)
        if gave_up or outcome == cells.TIMEOUT:
            self.watched.log_timeout(now, outcome == cells.TIMEOUT, error)

    @harmless
    def taken(self, record: Any) -> None:
        self._wait_tracker.got_slot()
        in_flight.note(self._got, current_caller(), id(record), self.clock())
        if record.dbapi_connection is not None:
            records.track(record, self)
            self.ledger.taken(id(record), self.clock())
            if self.is_bound_to_a_loop and is_of_other_loop(record):
                used_in_other_loop(self.watched)

    @harmless
    def returned(self, record: Any) -> None:
        # An attempt gives up the connection that it has opened: others may get it before the
        # attempt has ended.
        for notes in (self._opened, self._got):
            if notes:
                in_flight.give_up(notes, current_caller(), id(record))
        if record.dbapi_connection is None:  # detached, invalidated, or never opened
            self.ledger.closed(id(record), self.clock())
        else:
            records.track(record, self)
            self.ledger.returned(id(record), self.clock())

    @harmless
    def find_lost_slots(self, lost_by: Borrower | None = None) -> None:
        """
        Find slots that SQLAlchemy has lost.

        lost_by: whose attempt has just failed, after it had got a slot.
        """
        pool = self._collected()
        if pool is not None and counts_slots(pool) and not self.ledger.is_retired:
            self._missing_slots.look(functools.partial(self._count_missing, pool), lost_by)

    def _count_missing(self, pool: Any) -> int:
        """Return how many connections the pool counts as out that nobody has or opens."""
        in_use, opening = self.ledger.slots()
        closing = len(self.closes)
        out = checked_out(pool)
        if out <= len(in_use) + opening + closing:
            return 0
        # Others may have taken or returned one meanwhile.
        later, still_opening = self.ledger.slots()
        opening, closing = max(opening, still_opening), max(closing, len(self.closes))
        missing = out - len(in_use | later) - opening - closing
        # A thread that has not run since it got its slot has not lost it.
        return max(0, missing - under_way(pool)) if missing > 0 else 0

    def open(self, create: Callable[[Any], Any], record: Any) -> Any:
        """Return what `create(record)` returns: the connection that it opens."""
        attempt, started = next(_attempts), self.clock()
        try:
            self.opening(attempt, started)
            connection = create(record)
            self.opened(attempt, record, started)
            self.watch_channels(record, connection)
            return connection
        except BaseException:
            try:
                self.open_failed(attempt, started)
            except BaseException:
                # Another exception has come meanwhile; a second time changes nothing.
                self.open_failed(attempt, started)
                raise
            raise

    @harmless
    def opening(self, attempt: int, now: float) -> None:
        self._wait_tracker.got_slot()
        self.ledger.opening(attempt, now)

    @harmless
    def opened(self, attempt: int, record: Any, started: float) -> None:
        now = self.clock()
        try:
            records.track(record, self)
            in_flight.note(self._opened, current_caller(), id(record), now)
            self.unusual.setdefault(current_caller(), NOT_WAITED)
        finally:
            # The stack has room for this, as for `opening`; else that would never end.
            self.ledger.opened(attempt, id(record), now, now - started, True)

    def learn_loop(self, record: Any) -> None:
        """Learn from a connection whether those of the pool belong to an event loop."""
        if self.is_async and not self.is_bound_to_a_loop:
            self.is_bound_to_a_loop = is_bound_to_a_loop(record)

    @harmless
    def watch_channels(self, record: Any, connection: Any) -> None:
        """The record has this connection, which may begin to listen for notifications."""
        pool, changed = self._collected(), functools.partial(self.listening, id(record))
        if pool is not None:
            driver = driver_connection(pool, connection)
            watch_channels(driver, changed)
            if listens(driver):
                self.listening(id(record), True)

    def listening(self, key: int, on_purpose: bool) -> None:
        """A connection begins or ends to listen; meanwhile it is held on purpose."""
        self.ledger.purpose_changed(key, self.clock(), on_purpose)

    @harmless
    def open_failed(self, attempt: int, started: float) -> None:
        now = self.clock()
        self.ledger.open_failed(attempt, now, now - started)

    @harmless
    def collected(self, record: int) -> None:
        """A record was collected with its connection, and perhaps with its pool."""
        if self._collected() is None:
            self.watched.pool_gone(self.ledger)
        self.ledger.closed(record, self.clock())

    @harmless
    def closing(self, record: weakref.ref[Any]) -> None:
        """The record's connection is closed next, unless a listener of the application raises."""
        self._closing[id(record())] = record

    @harmless
    def closed(self, connection: object) -> None:
        for key, reference in list(self._closing.items()):
            record = reference()
            if record is None or record.dbapi_connection is connection:
                if record is not None:
                    self.ledger.closed(key, self.clock())
                self._closing.pop(key, None)

    def disposing(self, pool: Any) -> None:
        # Without a pool, callers need not mind: each closes its own connection.
        if self.watched.closes_in_order or not isinstance(pool, NullPool):
            self.watched.log_close(self.ledger, fate_of_connections(pool))

    @harmless
    def _on_collected(self, _: object) -> None:
        self.watched.pool_gone(self.ledger)

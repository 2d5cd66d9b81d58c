"""A watched pool: what its adapter, its group and its `Watch` share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from sys import is_finalizing
from typing import TYPE_CHECKING, Any, Final

from poolscope.callsites import frames
from poolscope.callsites.traces import add_event
from poolscope.errors import harmless, harmless_once
from poolscope.fleet.folder import Folder
from poolscope.fleet.segment_file import FileSegment
from poolscope.label_values import label_value
from poolscope.ledger.ledger import Ledger
from poolscope.ledger.segment import Segment
from poolscope.process.forks import forks
from poolscope.process.pauses import Pauses
from poolscope.readings import application_names
from poolscope.readings.evidence import Evidence
from poolscope.readings.findings import Finding
from poolscope.readings.holders import Holder
from poolscope.readings.limits import Clock, Limits
from poolscope.readings.pool_config import DEFAULT_CONFIG, PoolConfig
from poolscope.readings.reading import EMPTY_READING, Reading
from poolscope.readings.report import Info
from poolscope.watching.groups import Groups
from poolscope.watching.hooks import Hooks
from poolscope.watching.options import WatchOptions
from poolscope.watching.pool_log import Fate, PoolLog

if TYPE_CHECKING:
    from poolscope.callsites.hands import Hands


class WatchedPool:
    """
    One watched pool, and the pool objects that have replaced it since.

    It holds no reference to the pool.

    address: what the pool connects to, which tells it from others of its name.
    site: the line of the application that called `watch`; None without call sites.
    handle: the `Watch` that the user has; watching the pool again returns the same one.
    since: the clock when the watch began.
    automatic: the options of `autowatch`, unless the application has named the pool itself.
    closes_in_order: whether `Lifespan` is closing it: each connection that is out has its own line.
    application_name: the name of the service, for the names of its connections.
    warned: whether the log has said that it was watched again with other options.
    ledgers: one for each pool object that is alive.
    ended: the sum of the counters of pool objects that have ended.
    """

    __slots__ = (
        "_folder",
        "_groups",
        "_hands",
        "_pauses",
        "_segments",
        "address",
        "application_name",
        "automatic",
        "call_sites",
        "clock",
        "closes_in_order",
        "config",
        "ended",
        "evidence",
        "handle",
        "hooks",
        "kind",
        "leak_after",
        "ledgers",
        "name",
        "pool_log",
        "since",
        "site",
        "warned",
    )

    def __init__(
        self,
        name: str,
        kind: str,
        groups: Groups[WatchedPool],
        clock: Clock,
        leak_after: float | None = None,
        call_sites: bool = True,
        folder: Folder | None = None,
        service: str | None = None,
        address: str = "",
        pauses: Pauses | None = None,
    ) -> None:
        """The innermost line of the application on the stack becomes the `site`."""
        self.name: Final = name
        self.kind: Final = kind
        self.address: Final = address
        self.clock: Final = clock
        self.since: Final = clock()
        self.leak_after: Final = leak_after
        self.call_sites: Final = call_sites
        self.site: Final = frames.here() if call_sites else None
        self.handle: Any = None
        self.automatic: WatchOptions | None = None
        self.closes_in_order = False
        self.warned = False
        self.ledgers: list[Ledger] = []
        self.ended = EMPTY_READING
        self.hooks: Hooks | None = None
        self.pool_log: PoolLog | None = None
        self.evidence = Evidence()
        self.config = DEFAULT_CONFIG
        self._groups = groups
        self._hands: Hands | None = None
        self._folder = folder if folder is not None else Folder(None)
        self.application_name: Final = service
        self._pauses = pauses
        # Those made before the pool was added to its group.
        self._segments: list[FileSegment] | None = []

    # Called by `Watches`

    def begin(self, hook: Callable[[WatchedPool], Hooks]) -> None:
        """
        Hook the pool, and show it in its group. If that fails, nothing is left of it.

        Others see the pool in its group only when all of it is there.
        """
        # What `find_dropped` needs is imported here, as an import may block the event loop.
        import poolscope.callsites.hands  # noqa: F401

        try:
            self.hooks = hook(self)
            self.config = self.hooks.config
            self._groups.add(self)
        except BaseException:
            self._discard()
            raise
        self._segments = None

    def _discard(self) -> None:
        hooks, self.hooks = self.hooks, None
        try:
            if hooks is not None:
                hooks.unhook()
        finally:
            for segment in self._segments or ():
                segment.discard()

    def leave(self) -> None:
        """End this watch, because the pool goes on under another name, or with other options."""
        hooks, self.hooks = self.hooks, None
        if hooks is not None:
            hooks.unhook()
            self._groups.leave(self, self._groups.read(self).is_used)

    @property
    def groups(self) -> Groups[WatchedPool]:
        return self._groups

    # Called by its group

    @property
    def info(self) -> Info | None:
        return Info._make(map(label_value, self.hooks.info)) if self.hooks is not None else None

    @property
    def closed(self) -> bool:
        """Whether the pool, and each that has replaced it, was closed."""
        return bool(self.ledgers) and all(ledger.closed_for_good for ledger in self.ledgers)

    @harmless
    def check_leaks(self) -> None:
        """Find connections that have become overdue or abandoned, and log them."""
        if self._pauses is not None:
            self._pauses.look()
        if self.hooks is not None:
            self.hooks.find_abandoned()
        for ledger in list(self.ledgers):
            ledger.follow_pauses()
            ledger.check_overdue(self.clock())
            if self.pool_log is not None:
                self.pool_log.log_events(ledger)

    @harmless
    def find_dropped(
        self, keys: frozenset[Hashable], still_held: Callable[[], Collection[Hashable]]
    ) -> Collection[Hashable]:
        """
        Return which of these connections of the caller it has dropped (see `Hooks`), or handed on
        to another task or thread.
        """
        if self.hooks is None:
            return frozenset()
        dropped = frozenset(self.hooks.find_dropped(keys) or ())
        if keys <= dropped:
            return dropped
        if self._hands is None:
            # This imports asyncio, which importing poolscope must not.
            from poolscope.callsites.hands import Hands

            self._hands = Hands(self.hooks.library)
        return dropped.union(self._hands.handed_on(keys - dropped, still_held))

    # Called by its `Watch`

    def read(self) -> Reading:
        """Return the sum of all pool objects, with those that have ended."""
        self.check_leaks()
        return self._groups.read(self)

    def holders(self) -> list[Holder]:
        self.check_leaks()
        return self._groups.holders(self)

    def findings(self) -> tuple[Finding, ...]:
        """Return the findings of all pools that have the same name and kind."""
        self.check_leaks()
        return self._groups.findings(self)

    def unwatch(self) -> None:
        hooks, self.hooks = self.hooks, None
        if hooks is not None:
            hooks.unhook()
            self._groups.remove(self)

    # Called by its adapter

    def new_ledger(
        self, limits: Limits, info: Info, config: PoolConfig, http: bool = False
    ) -> Ledger:
        """
        Return a ledger for a pool object: in the shared folder, if there is one.

        http: whether callers take its connections for requests by HTTP, to many hosts; those of all
            other pools should not be held meanwhile.
        """
        facts: dict[str, object] = {}
        if self._folder.shares:
            facts = {
                "pool": self.name,
                "kind": self.kind,
                "address": self.address,
                "info": [label_value(text) for text in info],
                "setup": config._asdict(),
            }
        segments = self._folder.segments(facts, self._not_shared, self._made)
        # In a forked child, a pool that replaces an unused one is not used yet either.
        asleep = bool(self.ledgers) and all(ledger.dormant for ledger in self.ledgers)
        ledger = Ledger(
            limits,
            self.clock,
            self.leak_after,
            Segment if asleep else segments,
            self.check_leaks,
            self.call_sites,
            self.find_dropped,
            self._pauses,
            http,
            self.add_to_trace,
        )
        if asleep:
            ledger.sleep(segments)
        if not http:
            # This imports asyncio, which importing poolscope must not.
            from poolscope.ledger.holding import add_database

            add_database(ledger)
        return ledger

    def _made(self, segment: FileSegment) -> None:
        if self._segments is not None:
            self._segments.append(segment)

    def _not_shared(self) -> None:
        self.evidence.add("not-shared", self.site)

    def name_of_connections(self) -> str | None:
        """Return the application_name of the pool's connections; None if no service is set."""
        if not self.application_name:
            return None
        return application_names.application_name(self.application_name, self.name)

    def add_pool(self, ledger: Ledger) -> None:
        """Add a pool object, whose events are recorded in `ledger`."""
        self._groups.add_pool(self, ledger)

    def pool_gone(self, ledger: Ledger) -> None:
        """The pool object of the ledger was collected. The garbage collector may call this."""
        if ledger.unclosed and not is_finalizing():  # which takes away all that is left
            self.evidence.add("never-closed", self.site)
        ledger.ended(self.clock())
        self._groups.pool_gone(self, ledger)

    def log_timeout(self, now: float, timed_out: bool, error: BaseException | None = None) -> None:
        """
        Log who holds the connections, unless that was logged lately: a caller has given up.

        now: a reading of the clock.
        timed_out: whether a time limit of the pool's library has ended the attempt.
        error: what the library raises then, if it is known here; it gets a note.
        """
        if self.pool_log is not None:
            self.pool_log.log_timeout(list(self.ledgers), now, timed_out)
            if timed_out and error is not None:
                self.add_note(error, now)

    def add_note(self, error: BaseException, now: float) -> None:
        """Have a time-out error say who holds the connections."""
        if self.pool_log is not None:
            self.pool_log.add_note(error, list(self.ledgers), now)

    @harmless_once
    def add_to_trace(self, seconds: float) -> None:
        """Add to the current span, if there is one, that the caller has waited in the queue."""
        if self.pool_log is not None:
            facts = self.pool_log.describe_wait(list(self.ledgers), seconds, self.clock())
            add_event("poolscope.wait", facts)

    @harmless
    def log_close(self, ledger: Ledger, fate: Fate) -> None:
        """The pool object of the ledger is being closed; see `PoolLog.log_close`."""
        if ledger.connections()[1]:
            self.check_leaks()
            if self.pool_log is not None:
                self.pool_log.log_close(ledger, fate, self.closes_in_order)

    def follow_fork(self) -> None:
        """If this process is a forked child, reset the numbers before a pool is replaced."""
        forks().follow()

"""`watch`, the one verb for every kind of pool, and the set of what is watched."""

from __future__ import annotations

import importlib
import os
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Protocol, Self, cast

from prometheus_client import REGISTRY, CollectorRegistry

from poolscope import application_names as applications
from poolscope.callsites import frames as sites
from poolscope.errors import harmless
from poolscope.fleet.folder import Folder
from poolscope.ledger.ledger import Ledger
from poolscope.ledger.state import Clock, Limits
from poolscope.readings.evidence import Sightings
from poolscope.readings.findings import FINE, Finding, Setup
from poolscope.readings.holders import Hold, holds_of, longest_first
from poolscope.readings.reading import NOTHING
from poolscope.readings.report import HostReading, Info
from poolscope.readings.snapshot import Snapshot, snapshot_of
from poolscope.watching.collector import PoolCollector
from poolscope.watching.groups import Groups
from poolscope.watching.pool_log import Alarm

LIBRARIES: Final = ("sqlalchemy", "asyncpg", "aiohttp")

SUPPORTED: Final = (
    "a SQLAlchemy Engine, AsyncEngine or Pool, an asyncpg.Pool, "
    "or an aiohttp ClientSession or connector"
)


class Hooks(ABC):
    """What an adapter has put into one pool, to be taken out again."""

    __slots__ = ()

    info: Info
    setup: Setup

    @abstractmethod
    def unhook(self) -> None:
        """Leave the pool as it was found."""

    def hosts(self) -> Sequence[HostReading]:
        """Return the connections by host, busiest first; empty where there are no hosts."""
        return ()

    def look_for_lost(self) -> None:
        """Tell the ledger what is out and can be returned by nobody, where no event does."""
        return


class Adapter(Protocol):
    """A module that knows one library."""

    KIND: str

    def check_version(self) -> None:
        """Raise RuntimeError if the installed version of the library is not supported."""

    def accepts(self, target: object) -> bool:
        """Whether `target` is a pool of this library, or has one."""

    def check_open(self, target: Any) -> None:
        """Raise ValueError if the pool is closed."""

    def find(self, target: Any) -> Watch | None:
        """Return the watch of the pool, if it is watched."""

    def default_name(self, target: Any) -> str:
        """Return a name for the pool, without any credential."""

    def hook(self, target: Any, watch: Watch) -> Hooks:
        """Put hooks into the pool that report to `watch`."""


class Watch:
    """
    A pool that is watched, as returned by `poolscope.watch`.

    It does not keep the pool alive, and can be asked for a snapshot after the pool is gone. Used
    as a context manager it ends with the block.
    """

    __slots__ = (
        "__weakref__", "_folder", "_groups", "_service", "alarm", "call_sites", "clock", "ended",
        "first_of_name", "hooks", "kind", "leak_after", "ledgers", "name", "setup", "sightings",
        "site",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        kind: str,
        groups: Groups,
        clock: Clock,
        leak_after: float | None = None,
        call_sites: bool = True,
        folder: Folder | None = None,
        service: str | None = None,
    ) -> None:
        """The first line of the application on the stack is the one that watches the pool."""
        self.name: Final = name
        self.kind: Final = kind
        self.clock: Final = clock
        self.leak_after: Final = leak_after
        self.call_sites: Final = call_sites
        self.site: Final = sites.here() if call_sites else None
        # The rest is for adapters and groups.
        self.ledgers: list[Ledger] = []
        self.ended = NOTHING
        self.hooks: Hooks | None = None
        self.first_of_name = False
        self.alarm: Alarm | None = None
        self.sightings = Sightings()
        self.setup = FINE
        self._groups = groups
        self._folder = folder if folder is not None else Folder(None)
        self._service = service

    def __repr__(self) -> str:
        return f"<poolscope.Watch {self.name!r} ({self.kind})>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.unwatch()

    def snapshot(self) -> Snapshot:
        """
        Return one consistent reading of the pool.

        After the pool was closed its gauges are 0 and its counters are as they ended.
        """
        self.look()
        return snapshot_of(self.name, self.kind, self._groups.read(self))

    def holders(self) -> list[Hold]:
        """Return who has a connection of this pool now, and since when; the longest hold first."""
        self.look()
        return longest_first(
            holds_of(self.name, self.kind, self._groups.holders(self), os.getpid())
        )

    def findings(self) -> list[Finding]:
        """
        Return the known mistakes that pools of this name show, the worst first.

        Each has a page in docs/findings.
        """
        self.look()
        return list(self._groups.findings(self))

    def unwatch(self) -> None:
        """
        Take all hooks out of the pool, and its series out of the registry.

        Calling it again does nothing. If other pools share the name, the counters stay, as a
        counter must not fall.
        """
        hooks, self.hooks = self.hooks, None
        if hooks is not None:
            hooks.unhook()
            self._groups.remove(self)

    # For adapters

    @property
    def info(self) -> Info | None:
        return self.hooks.info if self.hooks is not None else None

    def hosts(self) -> Sequence[HostReading]:
        return self.hooks.hosts() if self.hooks is not None else ()

    def application_name(self) -> str | None:
        """Return what this process calls the connections on the server, if it ought to."""
        return applications.application_name(self._service, self.name) if self._service else None

    def timed_out(self, now: float) -> None:
        """An attempt has timed out, at the clock's `now`; the log may say who has what is out."""
        if self.alarm is not None:
            self.alarm.timed_out(list(self.ledgers), now)

    @harmless
    def look(self) -> None:
        """Look for connections that are overdue or lost, and let the log say what is new."""
        if self.hooks is not None:
            self.hooks.look_for_lost()
        for ledger in list(self.ledgers):
            ledger.look(self.clock())
            if self.alarm is not None:
                self.alarm.tell(ledger)

    def new_ledger(self, limits: Limits, info: Info, setup: Setup) -> Ledger:
        """Return a ledger for a pool of the watch, where other processes see it if they may."""
        facts: dict[str, object] = {}
        if self._folder.shares:
            facts = {
                "pool": self.name,
                "kind": self.kind,
                "info": info,
                "setup": setup._asdict(),
            }
        segments = self._folder.segments(facts, self._not_shared)
        return Ledger(limits, self.clock, self.leak_after, segments, self.look, self.call_sites)

    def _not_shared(self) -> None:
        self.sightings.note("not-shared", self.site)

    def follow_fork(self) -> None:
        """Be in the child of a fork, if this is one, before a pool is replaced there."""
        self._groups.follow_fork()

    def add_pool(self, ledger: Ledger) -> None:
        """The watch has a pool object, whose events go to `ledger`."""
        self._groups.add_pool(self, ledger)

    def pool_gone(self, ledger: Ledger) -> None:
        """That pool object was collected; safe to be called by the garbage collector."""
        if ledger.unclosed:
            self.sightings.note("never-closed", self.site)
        ledger.emptied(self.clock())
        self._groups.pool_gone(self, ledger)


class Watches:
    """A set of watches that share a clock; the process's own is behind `poolscope.watch`."""

    def __init__(self, clock: Clock = time.monotonic, folder: Folder | None = None) -> None:
        """`folder` is that of POOLSCOPE_DIR, as it is at the first watch, if it is not given."""
        self._clock = clock
        self._folder = folder
        self._unregistered = Groups()
        # Kept by their watches, and by their registry; a watch may outlive its registry.
        self._all = weakref.WeakSet({self._unregistered})
        self._collectors: weakref.WeakKeyDictionary[CollectorRegistry, PoolCollector] = (
            weakref.WeakKeyDictionary()
        )
        self._follows_forks = False

    def watch(
        self,
        target: object,
        name: str | None = None,
        *,
        leak_after: float | None = 60.0,
        call_sites: bool = True,
        registry: CollectorRegistry | None = REGISTRY,
        application_name: str | None = None,
    ) -> Watch:
        """
        Watch a pool, and return its `Watch`.

        target: a SQLAlchemy `Engine`, `AsyncEngine` or `Pool`, an `asyncpg.Pool` (opened or not
            yet), or an aiohttp `ClientSession` or connector.
        name: the value of the label `pool`. The default is made from what the pool connects to,
            and never holds a credential. Pools of one kind may share a name; they are added up.
        leak_after: seconds after which a connection that is out counts as overdue; None: never.
        call_sites: whether to know which line of the application holds each connection.
        registry: where the metrics appear; None: nowhere, only `snapshot()` has them.
        application_name: the service; connections to PostgreSQL that are opened from now on are
            called `service:pool:pid` there, unless they have a name. The default is that of
            POOLSCOPE_APPLICATION_NAME, or none.

        Watching a pool again under the same name returns the watch that there is.

        Raises TypeError if `target` is no such pool, `name` is not a string or `leak_after` is
        not a number, ValueError if the pool is closed, is watched under another name, `name` is
        empty or `leak_after` is not above 0, and RuntimeError if the installed version of the
        pool's library is not supported.
        """
        adapter = _adapter_for(target)
        _check_name(name)
        _check_leak_after(leak_after)
        adapter.check_version()
        adapter.check_open(target)
        found = adapter.find(target)
        if found is not None:
            if name is None or found.name == name:
                return found
            raise ValueError(
                f"this pool is watched as {found.name!r} already, and cannot be watched as "
                f"{name!r} too; unwatch it first"
            )
        self._follow_forks()
        groups = self._groups_of(registry)
        chosen = adapter.default_name(target) if name is None else name
        if self._folder is None:
            self._folder = Folder.of_environment()
        service = application_name or os.environ.get(applications.VARIABLE)
        watch = Watch(
            chosen, adapter.KIND, groups, self._clock, leak_after, call_sites, self._folder, service
        )
        groups.add(watch)
        try:
            watch.hooks = adapter.hook(target, watch)
            watch.setup = watch.hooks.setup
        except BaseException:
            groups.remove(watch)
            raise
        return watch

    def snapshots(self) -> list[Snapshot]:
        """Return a snapshot of each watch whose pool is alive."""
        return [watch.snapshot() for groups in list(self._all) for watch in groups.watches()]

    def holders(self) -> list[Hold]:
        """Return who has a connection of any pool that is watched; the longest hold first."""
        watches = [watch for groups in list(self._all) for watch in groups.watches()]
        return longest_first(hold for watch in watches for hold in watch.holders())

    def _groups_of(self, registry: CollectorRegistry | None) -> Groups:
        if registry is None:
            return self._unregistered
        collector = self._collectors.get(registry)
        if collector is None:
            collector = PoolCollector(Groups())
            registry.register(collector)
            self._collectors[registry] = collector
            self._all.add(collector.groups)
        return collector.groups

    def _follow_forks(self) -> None:
        if self._follows_forks or not hasattr(os, "register_at_fork"):
            return
        self._follows_forks = True
        method = weakref.WeakMethod(self._forked)
        os.register_at_fork(after_in_child=lambda: (forked := method()) and forked())

    def _forked(self) -> None:
        for groups in list(self._all):
            groups.follow_fork()


def _adapter_for(target: object) -> Adapter:
    """Return the adapter of the library that `target`'s type comes from."""
    for cls in type(target).__mro__:
        library = cls.__module__.partition(".")[0]
        if library in LIBRARIES:
            adapter = cast(Adapter, importlib.import_module(f"poolscope.adapters.{library}"))
            if adapter.accepts(target):
                return adapter
    raise TypeError(f"cannot watch {_type_name(target)}; what can be watched is {SUPPORTED}")


def _type_name(target: object) -> str:
    cls = type(target)
    module = "" if cls.__module__ == "builtins" else f"{cls.__module__}."
    return f"an object of type {module}{cls.__qualname__}"


def _check_name(name: object) -> None:
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be a string, not {_type_name(name)}")
    if name == "":
        raise ValueError("name must not be empty; leave it out for a default")


def _check_leak_after(leak_after: object) -> None:
    if leak_after is None:
        return
    if isinstance(leak_after, bool) or not isinstance(leak_after, (int, float)):
        raise TypeError(f"leak_after must be seconds or None, not {_type_name(leak_after)}")
    if not leak_after > 0:
        raise ValueError(f"leak_after must be above 0 s, not {leak_after}; None turns it off")


default: Final = Watches()

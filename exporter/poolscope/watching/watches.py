"""The set of what is watched: a process has one, and a test one of its own."""

from __future__ import annotations

import importlib
import os
import time
import weakref
from typing import Any, Final, Protocol, cast

from prometheus_client import REGISTRY, CollectorRegistry

from poolscope import application_names
from poolscope.fleet.folder import Folder
from poolscope.readings.findings import SEVERITIES, Finding
from poolscope.readings.holders import Hold, longest_first
from poolscope.readings.limits import Clock
from poolscope.readings.snapshot import Snapshot
from poolscope.watching.collector import PoolCollector
from poolscope.watching.groups import Groups
from poolscope.watching.hooks import Hooks
from poolscope.watching.watch import Watch
from poolscope.watching.watchable import Watchable
from poolscope.watching.watched_pool import WatchedPool


class Adapter(Protocol):
    """A module that knows one library."""

    KIND: str

    def check_version(self) -> None:
        """Raise RuntimeError if the installed version of the library is not supported."""

    def accepts(self, target: object) -> bool:
        """Whether `target` is a pool of this library, or has one."""

    def check_open(self, target: Any) -> None:
        """Raise ValueError if the pool is closed."""

    def find(self, target: Any) -> WatchedPool | None:
        """Return what is known of the pool, if it is watched."""

    def default_name(self, target: Any) -> str:
        """Return a name for the pool, without any credential."""

    def hook(self, target: Any, watched: WatchedPool) -> Hooks:
        """Put hooks into the pool that report to `watched`."""


class Watches:
    """A set of watches that share a clock; the process's own is behind `poolscope.watch`."""

    def __init__(self, clock: Clock = time.monotonic, folder: Folder | None = None) -> None:
        """`folder` is that of POOLSCOPE_DIR, as it is at the first watch, if it is not given."""
        self._clock = clock
        self._folder = folder
        self._unregistered = Groups[WatchedPool]()
        # Kept by their watches, and by their registry; a watch may outlive its registry.
        self._all = weakref.WeakSet({self._unregistered})
        self._collectors: weakref.WeakKeyDictionary[
            CollectorRegistry, PoolCollector[WatchedPool]
        ] = weakref.WeakKeyDictionary()
        self._follows_forks = False

    def watch(
        self,
        target: Watchable,
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
                watch: Watch = found.handle
                return watch
            raise ValueError(
                f"this pool is watched as {found.name!r} already, and cannot be watched as "
                f"{name!r} too; unwatch it first"
            )
        self._follow_forks()
        groups = self._groups_of(registry)
        chosen = adapter.default_name(target) if name is None else name
        if self._folder is None:
            self._folder = Folder.of_environment()
        service = application_name or os.environ.get(application_names.APPLICATION_NAME_VARIABLE)
        watched = WatchedPool(
            chosen, adapter.KIND, groups, self._clock, leak_after, call_sites, self._folder, service
        )
        groups.add(watched)
        try:
            watched.hooks = adapter.hook(target, watched)
            watched.config = watched.hooks.config
        except BaseException:
            groups.remove(watched)
            raise
        return Watch(watched)

    def snapshots(self) -> list[Snapshot]:
        """Return a snapshot of each watch whose pool is alive."""
        return [watch.snapshot() for watch in self._watches()]

    def holders(self) -> list[Hold]:
        """Return who has a connection of any pool that is watched; the longest hold first."""
        return longest_first(hold for watch in self._watches() for hold in watch.holders())

    def findings(self) -> list[Finding]:
        """Return the known mistakes of all pools that are watched, each once, the worst first."""
        found = dict.fromkeys(finding for watch in self._watches() for finding in watch.findings())
        return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))

    def _watches(self) -> list[Watch]:
        return [watched.handle for groups in list(self._all) for watched in groups.members()]

    def _groups_of(self, registry: CollectorRegistry | None) -> Groups[WatchedPool]:
        if registry is None:
            return self._unregistered
        collector = self._collectors.get(registry)
        if collector is None:
            collector = PoolCollector(Groups[WatchedPool]())
            registry.register(collector)
            self._collectors[registry] = collector
            self._all.add(collector.groups)
        return collector.groups

    def _follow_forks(self) -> None:
        if self._follows_forks or not hasattr(os, "register_at_fork"):
            return
        self._follows_forks = True
        found = weakref.WeakMethod(self._forked)

        def forked() -> None:
            method = found()
            if method is not None:
                method()

        os.register_at_fork(after_in_child=forked)

    def _forked(self) -> None:
        for groups in list(self._all):
            groups.follow_fork()


def _adapter_for(target: object) -> Adapter:
    """Return the adapter of the library that `target`'s type comes from."""
    # By name, as adapters stand above this module, and import their libraries.
    targets: dict[str, str] = importlib.import_module("poolscope.adapters.kinds").TARGETS
    for cls in type(target).__mro__:
        library = cls.__module__.partition(".")[0]
        if library in targets:
            adapter = cast(Adapter, importlib.import_module(f"poolscope.adapters.{library}"))
            if adapter.accepts(target):
                return adapter
    *first, last = targets.values()
    supported = f"{', '.join(first)}, or {last}"
    raise TypeError(f"cannot watch {_type_name(target)}; what can be watched is {supported}")


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

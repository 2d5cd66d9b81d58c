"""The set of all watches: a process has one, and a test can have one of its own."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from poolscope.errors import count_error, is_of_signal_handler, logger
from poolscope.fleet.folder import Folder
from poolscope.label_values import label_value
from poolscope.metrics.registries import DEFAULT, Default, Registry
from poolscope.process.forks import forks
from poolscope.process.pauses import Pauses
from poolscope.process.pauses import pauses as pauses_of_process
from poolscope.readings import application_names
from poolscope.readings.findings import SEVERITIES, Finding
from poolscope.readings.holders import Hold, longest_first
from poolscope.readings.limits import Clock
from poolscope.readings.snapshot import Snapshot
from poolscope.watching.adapter import Adapter, adapter_for, type_name
from poolscope.watching.collectors import Collectors
from poolscope.watching.groups import Groups
from poolscope.watching.multiprocess_mode import MultiprocessMode
from poolscope.watching.options import WatchOptions
from poolscope.watching.proxies import behind_proxies
from poolscope.watching.watch import Watch
from poolscope.watching.watchable import Watchable
from poolscope.watching.watched_pool import WatchedPool


class Watches:
    """A set of watches that share a clock; `poolscope.watch` uses that of the process."""

    def __init__(
        self,
        clock: Clock = time.monotonic,
        folder: Folder | None = None,
        pauses: Pauses | None = None,
    ) -> None:
        """
        Without `folder` the first watch takes the folder from POOLSCOPE_DIR.

        pauses: notices when this process did not run. By default that of the process, or none with
            another clock, which says nothing about the process.
        """
        self._clock = clock
        if pauses is None and clock is time.monotonic:
            pauses = pauses_of_process()
        self._pauses = pauses
        self._folder = folder
        self._unregistered = Groups[WatchedPool]()
        # Watches and registries keep the groups alive; a watch may outlive its registry.
        self._all = weakref.WeakSet({self._unregistered})
        self._collectors = Collectors()
        self._multiprocess_mode = MultiprocessMode(folder)

    def watch(
        self,
        target: Watchable,
        name: str | None = None,
        *,
        leak_after: float | None = 60.0,
        call_sites: bool = True,
        registry: Registry | None = DEFAULT,
        application_name: str | None = None,
    ) -> Watch:
        """
        Watch a pool, and return its `Watch`.

        target: a SQLAlchemy `Engine`, `AsyncEngine` or `Pool`, an `asyncpg.Pool` (opened or not
            yet), or an aiohttp `ClientSession` or connector.
        name: the value of the label `pool`, any string; see `poolscope.label_values`. The default
            is SQLAlchemy's own name of the pool (`pool_logging_name`), or is made from what it
            connects to, without credentials. Pools of one kind that share a name are added up.
        leak_after: seconds for which a connection may be held before it is overdue; None: for any
            time.
        call_sites: whether to find out which line of the application holds each connection.
        registry: the registry that gets the metrics, by default `prometheus_client.REGISTRY`; None:
            none, only `snapshot()` returns them.
        application_name: the name of the service. Connections to PostgreSQL that are opened from
            now on get the application_name `service:pool:pid`, unless they have one. The default
            is POOLSCOPE_APPLICATION_NAME; without either they get none.

        Watching a pool again under the same name returns the same watch. It keeps its options; if
        others are given then, the log says so once. What `autowatch` or `poolscope run` watches
        gets the name and the options that are given here.

        If an error of poolscope itself prevents a watch, it is logged and counted, the pool is left
        as it was, and the watch that is returned shows nothing.

        Raises TypeError if `target` is not such a pool, `name` is not a string or `leak_after` is
        not a number; ValueError if the pool is closed or watched under another name, `name` is
        empty or `leak_after` is not above 0; RuntimeError if the installed version of the pool's
        library is not supported.
        """
        _check_leak_after(leak_after)
        target = behind_proxies(target)
        adapter, name, existing = self.check(target, name)
        options = WatchOptions(leak_after, call_sites, application_name)
        if existing is not None and existing.automatic is not None:
            return self._take_over(adapter, target, existing, name, options, registry)
        if existing is not None:
            _warn_of_other_options(
                existing,
                leak_after=leak_after,
                call_sites=call_sites,
                application_name=application_name,
            )
            watch: Watch = existing.handle
            if registry is not None:
                self._collectors.keep(existing.groups, registry)
            return watch
        return self._watch(adapter, target, name, options, registry)

    def watch_made(
        self,
        adapter: Adapter,
        target: Any,
        choose_name: Callable[[str], str | None],
        options: WatchOptions,
    ) -> Watch | None:
        """
        Watch a pool that somebody has made; return None if it is watched already.

        choose_name: returns the name that is wanted for a default name; None: the default name.

        Raises ValueError or RuntimeError like `watch`.
        """
        adapter.check_version()
        adapter.check_open(target)
        existing = adapter.find(target)
        if existing is None:
            address = label_value(adapter.default_name(target))
            name = _checked(choose_name(address))
            registry = self._default_registry()
            return self._watch(adapter, target, name, options, registry, address, options)
        if existing.automatic is not None:
            address = label_value(adapter.name_of_both(target, existing.address))
            if address != existing.address:
                name = _checked(choose_name(address)) or address
                self._replace(adapter, target, existing, name, existing.automatic, address)
        return None

    def _default_registry(self) -> Registry | None:
        """Return the default registry; None if others have the names of its metrics."""
        try:
            self._groups_of(DEFAULT)
        except ValueError:
            return None
        return DEFAULT

    def _take_over(
        self,
        adapter: Adapter,
        target: Any,
        existing: WatchedPool,
        name: str | None,
        options: WatchOptions,
        registry: Registry | None,
    ) -> Watch:
        """Give a pool that `autowatch` watches what the application asks for."""
        automatic = existing.automatic or options
        options = options.over(automatic)
        asked = isinstance(registry, Default)
        groups = existing.groups if asked else self._groups_of(registry)
        is_same = name in (None, existing.name) and options == automatic
        if is_same and groups is existing.groups:
            existing.automatic = automatic if name is None else None
            if registry is not None:
                self._collectors.keep(existing.groups, registry)
            watch: Watch = existing.handle
            return watch
        new = name or existing.name
        address = existing.address
        return self._replace(adapter, target, existing, new, options, address, groups, name is None)

    def _replace(
        self,
        adapter: Adapter,
        target: Any,
        existing: WatchedPool,
        name: str,
        options: WatchOptions,
        address: str,
        groups: Groups[WatchedPool] | None = None,
        automatic: bool = True,
    ) -> Watch:
        """Let a pool go on under another name, or with other options; its `Watch` stays."""
        watch: Watch = existing.handle
        try:
            existing.leave()
            groups = groups or existing.groups
            stays = options if automatic else None
            self._begin(adapter, target, name, groups, options, address, stays, watch)
        except Exception as error:
            if is_of_signal_handler(error):
                raise
            count_error("Watches.watch")
        return watch

    def _watch(
        self,
        adapter: Adapter,
        target: Any,
        name: str | None,
        options: WatchOptions,
        registry: Registry | None,
        address: str | None = None,
        automatic: WatchOptions | None = None,
    ) -> Watch:
        self._follow_forks()
        groups = self._groups_of(registry)
        if registry is not None:
            self._multiprocess_mode.warn_once()
        try:
            return self._begin(adapter, target, name, groups, options, address, automatic)
        except Exception as error:
            if is_of_signal_handler(error):
                raise
            count_error("Watches.watch")
            return _watch_without_pool(name or adapter.KIND, adapter.KIND, self._clock)

    def check(
        self, target: Watchable, name: str | None
    ) -> tuple[Adapter, str | None, WatchedPool | None]:
        """
        Raise what `watch` raises for a pool and its name.

        Return the adapter of the pool, the name as it is shown, and the pool if it is watched.
        """
        adapter, name = adapter_for(target), _checked(name)
        adapter.check_version()
        adapter.check_open(target)
        existing = adapter.find(target)
        if existing is not None and existing.automatic is None:
            _check_same_name(existing, name)
        return adapter, name, existing

    def _follow_forks(self) -> None:
        forks().add(self)
        if self._pauses is not None:
            forks().add(self._pauses)

    def _begin(
        self,
        adapter: Adapter,
        target: Any,
        name: str | None,
        groups: Groups[WatchedPool],
        options: WatchOptions,
        address: str | None = None,
        automatic: WatchOptions | None = None,
        watch: Watch | None = None,
    ) -> Watch:
        """
        Begin a watch.

        address: what the pool connects to, by default its default name.
        automatic: the options of `autowatch`, if that watches it.
        watch: what the application has already, if this takes the place of another watch.
        """
        if address is None:
            address = label_value(adapter.default_name(target))
        pool_name = address if name is None else name
        folder = self._folder = self._folder or Folder.of_environment()
        of_environment = os.environ.get(application_names.APPLICATION_NAME_VARIABLE)
        watched = WatchedPool(
            pool_name,
            adapter.KIND,
            groups,
            self._clock,
            options.leak_after,
            options.call_sites,
            folder,
            options.application_name or of_environment,
            address,
            self._pauses,
        )
        watched.automatic = automatic
        # Before others can see the pool: `snapshots` returns those of its `Watch`.
        watch = watch.of(watched) if watch is not None else Watch(watched)
        watched.begin(partial(adapter.hook, target))
        return watch

    def snapshots(self) -> list[Snapshot]:
        """Return a snapshot of each watch whose pool was not collected."""
        return [watch.snapshot() for watch in self._watches()]

    def holders(self) -> list[Hold]:
        """Return the holders of all pools that are watched; the longest hold comes first."""
        return longest_first(hold for watch in self._watches() for hold in watch.holders())

    def findings(self) -> list[Finding]:
        """Return the known mistakes of all watched pools, each once, the most severe first."""
        findings = (finding for watch in self._watches() for finding in watch.findings())
        return sorted(
            dict.fromkeys(findings), key=lambda finding: SEVERITIES.index(finding.severity)
        )

    def _watches(self) -> list[Watch]:
        return [watched.handle for groups in list(self._all) for watched in groups.members()]

    def _groups_of(self, registry: Registry | None) -> Groups[WatchedPool]:
        if registry is None:
            return self._unregistered
        groups = self._collectors.groups_of(registry)
        self._all.add(groups)
        return groups

    def forked(self) -> None:
        """This process is a forked child: its numbers begin at zero."""
        self._collectors.forked()
        for groups in list(self._all):
            groups.forked()

    def has_forked(self) -> None:
        """This process has a child: pools that it never used count nowhere until they are used."""
        for groups in list(self._all):
            groups.has_forked()


def _watch_without_pool(name: str, kind: str, clock: Clock) -> Watch:
    """Return a watch that shows nothing, in the place of one that could not begin."""
    groups = Groups[WatchedPool]()
    watched = WatchedPool(name, kind, groups, clock, call_sites=False)
    watch = Watch(watched)
    groups.add(watched)
    return watch


DEFAULTS: Final = {"leak_after": 60.0, "call_sites": True, "application_name": None}
"""Of the options of `watch` that a pool keeps."""


def _warn_of_other_options(existing: WatchedPool, **options: object) -> None:
    """Log once for a pool that is watched already which of the options have no effect on it."""
    others = [
        f"{name}={value!r} (it is {getattr(existing, name)!r})"
        for name, value in options.items()
        if value not in (DEFAULTS[name], getattr(existing, name))
    ]
    if others and not existing.warned:
        existing.warned = True
        logger().warning(
            "pool %r (%s) is watched already, so %s has no effect; unwatch it first, or give the "
            "options where it is first watched",
            existing.name,
            existing.kind,
            " and ".join(others),
        )


def _check_same_name(existing: WatchedPool, name: str | None) -> None:
    """Raise ValueError if a watched pool has another name."""
    if name is not None and existing.name != name:
        raise ValueError(
            f"this pool is already watched as {existing.name!r}, and cannot be watched as "
            f"{name!r} too; unwatch it first"
        )


def _checked(name: object) -> str | None:
    """Return the name as it is shown; raise TypeError or ValueError if it is none."""
    if name is None:
        return None
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, not {type_name(name)}")
    shown = label_value(name)
    if not shown:
        raise ValueError("name must not be empty; leave it out for a default")
    return shown


def _check_leak_after(leak_after: object) -> None:
    if leak_after is None:
        return
    if isinstance(leak_after, bool) or not isinstance(leak_after, (int, float)):
        raise TypeError(f"leak_after must be seconds or None, not {type_name(leak_after)}")
    if not leak_after > 0:
        raise ValueError(f"leak_after must be above 0 s, not {leak_after}; None turns it off")


default: Final = Watches()

"""The collectors of a set of watches: one in each registry that gets the metrics."""

from __future__ import annotations

import threading
import weakref
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from poolscope.errors import count_error, is_of_signal_handler
from poolscope.metrics.registries import (
    Default,
    Registry,
    current,
    is_registered,
    register_again,
)
from poolscope.process.forks import forks
from poolscope.watching.collector import PoolCollector
from poolscope.watching.groups import Groups
from poolscope.watching.watched_pool import WatchedPool


class _Registered(NamedTuple):
    """
    A collector that was registered.

    visible: whether the registry can tell that it has the collector. A registry of another class
        may keep something else in its place; that is not registered again.
    """

    collector: PoolCollector[WatchedPool]
    visible: bool


class Collectors:
    """
    Registers a collector in each registry, and again if the registry has lost it.

    Test fixtures and notebooks unregister every collector of a registry, or replace the default
    one. All methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._process_lock = threading.RLock()
        self._registered: weakref.WeakKeyDictionary[CollectorRegistry, _Registered] = (
            weakref.WeakKeyDictionary()
        )
        # It is registered in each registry that is, or was, the default one.
        self._of_default: PoolCollector[WatchedPool] | None = None

    @property
    def _lock(self) -> threading.RLock:
        """The lock of this process: one that a child inherits may stay locked for ever."""
        forks().follow()
        return self._process_lock

    def forked(self) -> None:
        """This process is a forked child."""
        self._process_lock = threading.RLock()

    def groups_of(self, registry: Registry) -> Groups[WatchedPool]:
        """
        Return the groups whose metrics the registry gets.

        Raises what the registry raises when it gets its collector for the first time, such as
        ValueError if another collector has the names of its metrics.
        """
        now = current(registry)
        with self._lock:
            registered = self._registered.get(now)
            if registered is None:
                registered = self._register(now, isinstance(registry, Default))
            else:
                _keep(now, registered)
            if isinstance(registry, Default) and self._of_default is None:
                self._of_default = registered.collector
            return registered.collector.groups

    def _register(self, registry: CollectorRegistry, is_default: bool) -> _Registered:
        collector = self._of_default if is_default else None
        if collector is None:
            collector = PoolCollector(Groups[WatchedPool]())
        registry.register(collector)
        registered = _Registered(collector, is_registered(registry, collector))
        self._registered[registry] = registered
        return registered

    def keep(self, groups: Groups[WatchedPool], registry: Registry) -> None:
        """A pool of these groups is watched again: register their collector wherever it was."""
        with self._lock:
            default = self._of_default
            if isinstance(registry, Default) and default is not None and default.groups is groups:
                self.groups_of(registry)
            for each, registered in list(self._registered.items()):
                if registered.collector.groups is groups:
                    _keep(each, registered)


def _keep(registry: CollectorRegistry, registered: _Registered) -> None:
    """Register a collector again if the registry has lost it; an error is counted, not raised."""
    if not registered.visible or is_registered(registry, registered.collector):
        return
    try:
        register_again(registry, registered.collector)
    except Exception as error:
        if is_of_signal_handler(error):
            raise
        count_error("Collectors")

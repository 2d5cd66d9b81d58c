"""Puts hooks into an aiohttp connector, and takes them out again."""

from __future__ import annotations

import functools
import weakref
from asyncio import current_task
from contextlib import suppress
from itertools import repeat
from operator import call
from typing import Any, Final
from weakref import ref

import aiohttp
from aiohttp.hdrs import SEC_WEBSOCKET_KEY

from poolscope.adapters.aiohttp.classes import METHODS, PROPERTIES, STATE
from poolscope.adapters.aiohttp.connectors import (
    existing,
    has_limit,
    host_of,
    is_unverified,
    verifies_tls,
)
from poolscope.adapters.aiohttp.protocols import is_upgraded
from poolscope.adapters.aiohttp.recording import ConnectorRecording
from poolscope.adapters.aiohttp.tracer import Tracer
from poolscope.adapters.classes import unwatch_object, watch_object
from poolscope.callsites.deadlines import unless_deadline
from poolscope.callsites.libraries import Library
from poolscope.errors import harmless
from poolscope.ledger.holding import databases, job_in_context, job_of_task, none_held
from poolscope.ledger.open_holds import ALWAYS_HELD
from poolscope.readings.pool_config import PoolConfig
from poolscope.watching.hooks import Hooks
from poolscope.watching.watched_pool import WatchedPool

hooks_by_connector: weakref.WeakKeyDictionary[aiohttp.BaseConnector, ConnectorHooks] = (
    weakref.WeakKeyDictionary()
)


# Checked with aiohttp 3.9.0 to 3.14.5: _RequestContextManager._resp, ClientResponse._connection,
#   Connection._protocol, StreamReader._protocol, ClientWebSocketResponse._response
LIBRARY: Final = Library("aiohttp", ("_resp", "_response", "_connection", "_protocol"))


def hooks_for(connector: Any, watched: WatchedPool, config: PoolConfig) -> ConnectorHooks:
    """Put hooks into a connector, and return them."""
    cls = HostLimitedHooks if connector.limit_per_host else ConnectorHooks
    return cls(connector, watched, config)


class ConnectorHooks(ConnectorRecording, Hooks):
    """The hooks of one connector."""

    library = LIBRARY

    def __init__(self, connector: Any, watched: WatchedPool, config: PoolConfig) -> None:
        """If this fails, the connector is left as it was."""
        super().__init__(connector, watched, config)
        self._verifies = verifies_tls(connector)
        self._queues = has_limit(connector)
        # The last one that limits how long a caller waits: most requests have that of the session.
        self._limited: Any = None
        watched.add_pool(self.ledger)
        try:
            hooks_by_connector[connector] = self
            connector._poolscope_hooks = self
            resolves = isinstance(connector, aiohttp.TCPConnector)
            watch_object(connector, METHODS, PROPERTIES if resolves else STATE)
            for host, protocol, in_use in existing(connector):
                self._keep(protocol, host)
                self.ledger.adopted(id(protocol), self.clock(), in_use, ALWAYS_HELD, host)
                if is_upgraded(protocol):
                    self.upgraded(protocol)
            self._missing_slots.begin(functools.partial(self._count_missing, connector))
        except BaseException:
            with suppress(Exception):
                self.unhook()
            raise

    def unhook(self) -> None:
        connector = self._connector()
        if connector is None:
            return
        hooks_by_connector.pop(connector, None)
        unwatch_object(connector)
        self.all_across_ended()
        for _, protocol, _ in existing(connector):
            unwatch_object(protocol)

    @harmless
    def asked(self, req: Any, timeout: Any, started: float) -> Tracer:
        key = req.connection_key
        attempt = Tracer(self, host_of(key), started)
        if SEC_WEBSOCKET_KEY in req.headers:
            self.who(attempt, on_purpose=True)
        if (key.is_ssl or key.proxy) and is_unverified(key, self._verifies):
            self._found("tls-not-verified", attempt)
        if timeout is not self._limited:
            self._check_timeout(timeout, attempt)
        if databases:
            # As `holdings` finds them, in fewer steps.
            task = ref(current_task())
            if not all(map(call, none_held, repeat((task, job_of_task(task), job_in_context())))):
                self.begin_across(attempt)
        return attempt

    def _check_timeout(self, timeout: Any, attempt: Tracer) -> None:
        """Check that a caller does not wait for a slot for ever."""
        if not self._queues or timeout is None or timeout.total or timeout.connect:
            self._limited = timeout
        else:
            place = self.who(attempt)[:2]
            self.watched.evidence.add_at("no-acquire-timeout", place, unless_deadline)

    def _found(self, rule: str, attempt: Tracer) -> None:
        self.watched.evidence.add_at(rule, self.who(attempt)[:2])


class HostLimitedHooks(ConnectorHooks):
    """Of a connector with a limit for each host, which callers may have to wait for."""

    @harmless
    def asked(self, req: Any, timeout: Any, started: float) -> Tracer | None:
        attempt = super().asked(req, timeout, started)
        if attempt is not None:
            self.who(attempt)  # now, while it is known which host is asked for
        return attempt

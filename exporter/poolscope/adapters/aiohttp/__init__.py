"""
aiohttp: a client session, or its connector.

An attempt begins and ends in `connector.connect`, and a connection returns in
`connector._release`, whichever session asked for it. In between, aiohttp's tracing signals report
queueing, the opening of connections and the DNS cache: each attempt gets a tracer of ours beside
those of the session. A request causes no further signals outside of getting its connection. Where
there is no signal, an object is watched: the protocol for a connection that is lost. The resolver
is timed when the connector itself asks it, as no signal reports a look-up that fails.

A connection is identified by its protocol (`ResponseHandler`).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import FrameType, SimpleNamespace
from typing import Any, Final

import aiohttp

from poolscope.adapters import versions
from poolscope.adapters.aiohttp.closing import close_in_loop as close_in_loop
from poolscope.adapters.aiohttp.closing import needs_loop as needs_loop
from poolscope.adapters.aiohttp.connectors import config_of, connector_of
from poolscope.adapters.aiohttp.hooks import ConnectorHooks, hooks_by_connector, hooks_for
from poolscope.errors import harmless
from poolscope.watching.watched_pool import WatchedPool

KIND: Final = "aiohttp"


def check_version() -> None:
    versions.require("aiohttp", aiohttp.__version__, "3.9")


def accepts(target: object) -> bool:
    return isinstance(target, (aiohttp.ClientSession, aiohttp.BaseConnector))


def check_open(target: Any) -> None:
    if target.closed:
        what = "session" if isinstance(target, aiohttp.ClientSession) else "connector"
        raise ValueError(f"this aiohttp {what} is closed; watch it before it is")


def find(target: Any) -> WatchedPool | None:
    connector = connector_of(target)  # a closed session has none
    hooks = hooks_by_connector.get(connector) if connector is not None else None
    return hooks.watched if hooks is not None else None


def default_name(target: Any) -> str:
    """Return `HOST:PORT` of a session with a base URL, or `aiohttp`."""
    base = getattr(target, "_base_url", None)
    return f"{base.host}:{base.port}" if base is not None else KIND


def is_pool(made: Any, maker: FrameType) -> bool:
    return isinstance(made.connector, aiohttp.BaseConnector)


def name_of_both(target: Any, before: str) -> str:
    """A connector that sessions with different base URLs share is for neither of these alone."""
    return before if before == default_name(target) else KIND


def hook(target: Any, watched: WatchedPool) -> ConnectorHooks:
    return hooks_for(connector_of(target), watched, config_of(target))


def trace_config(watch: Callable[[aiohttp.ClientSession], object]) -> aiohttp.TraceConfig:
    """Return a TraceConfig that calls `watch` at the first request of each of its sessions."""

    seen: weakref.WeakSet[aiohttp.BaseConnector] = weakref.WeakSet()

    @harmless
    def watch_once(session: aiohttp.ClientSession) -> None:
        connector = connector_of(session)
        if connector is None or connector in seen:
            return
        hooks = hooks_by_connector.get(connector)
        if hooks is None:
            watch(session)
        elif hooks.watched.automatic is not None:  # what is asked for here counts more, once
            seen.add(connector)
            watch(session)

    async def on_request_start(
        session: aiohttp.ClientSession, context: SimpleNamespace, params: object
    ) -> None:
        watch_once(session)

    config = aiohttp.TraceConfig()
    config.on_request_start.append(on_request_start)
    return config

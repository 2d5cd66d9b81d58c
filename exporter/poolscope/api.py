"""What the package offers by its own name; `poolscope` imports it when it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolscope.applications.instrument import instrument
from poolscope.callsites.operations import operation
from poolscope.callsites.purposes import held_on_purpose
from poolscope.launching.autowatch import autowatch
from poolscope.metrics.http_server import make_asgi_app, start_http_server
from poolscope.metrics.registries import DEFAULT, Registry
from poolscope.metrics.wsgi import make_wsgi_app
from poolscope.readings.findings import Finding
from poolscope.readings.holders import Hold
from poolscope.readings.snapshot import Snapshot
from poolscope.watching.lifespans import Lifespan
from poolscope.watching.watch import Watch
from poolscope.watching.watchable import Watchable
from poolscope.watching.watches import default

if TYPE_CHECKING:
    from aiohttp import TraceConfig

__all__ = [
    "Finding",
    "Hold",
    "Snapshot",
    "Watch",
    "autowatch",
    "findings",
    "held_on_purpose",
    "holders",
    "instrument",
    "lifespan",
    "make_asgi_app",
    "make_wsgi_app",
    "operation",
    "snapshots",
    "start_http_server",
    "trace_config",
    "watch",
]

watch = default.watch
snapshots = default.snapshots
holders = default.holders
findings = default.findings


def lifespan(*pools: Watchable, timeout: float | None = 10.0, **named: Watchable) -> Lifespan:
    """
    Watch pools from the start of a block, and close them at its end, the last one first.

        async with poolscope.lifespan(orders=engine, upstream=session):
            ...

    A pool that is given by name has that name; the others, and what else `watch` can be told, are
    as in `poolscope.watch`, which may have been called before. `async with` closes every kind of
    pool, `with` those of SQLAlchemy without asyncio. The block gets the watches, in this order.

    timeout: how many seconds the connections of an asyncpg pool have to come back, before they are
        cut off; None: any time.

    At the end each connection that is still out has a line in the log, with its holder. What
    closing raises is logged; the first such error is raised after all pools were closed, and those
    of a block that has raised are notes of its exception. A cancellation cuts off what is out.

    Raises TypeError for what is no pool, ValueError as `watch` does; then none is watched.
    """
    return Lifespan(default, pools, named, timeout)


def trace_config(
    name: str | None = None,
    *,
    leak_after: float | None = 60.0,
    call_sites: bool = True,
    registry: Registry | None = DEFAULT,
) -> TraceConfig:
    """
    Return an aiohttp TraceConfig that watches its session from the first request on.

    Use it for a session that is created where you cannot call `poolscope.watch(session)`:
    `ClientSession(trace_configs=[poolscope.trace_config("payments")])`. The options are those of
    `poolscope.watch`. Raises ImportError if aiohttp is not installed.
    """
    from poolscope.adapters import aiohttp

    return aiohttp.trace_config(
        lambda session: watch(
            session, name, leak_after=leak_after, call_sites=call_sites, registry=registry
        )
    )

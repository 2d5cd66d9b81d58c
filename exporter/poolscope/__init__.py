"""
Accurate Prometheus metrics for connection pools of SQLAlchemy, asyncpg and aiohttp.

    import poolscope

    poolscope.watch(engine, name="orders")
    poolscope.start_http_server(port=10464)
"""

from __future__ import annotations

import sys as _sys
from typing import TYPE_CHECKING, Any

from poolscope.process import signals as _signals

_signals.handle_if_exporter()  # before what takes long to import

if TYPE_CHECKING:
    from poolscope.api import Finding as Finding
    from poolscope.api import Hold as Hold
    from poolscope.api import Snapshot as Snapshot
    from poolscope.api import Watch as Watch
    from poolscope.api import autowatch as autowatch
    from poolscope.api import findings as findings
    from poolscope.api import held_on_purpose as held_on_purpose
    from poolscope.api import holders as holders
    from poolscope.api import instrument as instrument
    from poolscope.api import lifespan as lifespan
    from poolscope.api import make_asgi_app as make_asgi_app
    from poolscope.api import make_wsgi_app as make_wsgi_app
    from poolscope.api import operation as operation
    from poolscope.api import snapshots as snapshots
    from poolscope.api import start_http_server as start_http_server
    from poolscope.api import trace_config as trace_config
    from poolscope.api import watch as watch

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

__version__ = "0.1.0"


def _load() -> None:
    from poolscope import api

    globals().update({name: getattr(api, name) for name in __all__})


# Not for type checkers, which would take every name for one that is there.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        _load()
        return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# An application has all of it now, as an import later may block its event loop. The command does
# not need it, and should answer at once.
if not _signals.is_command(_sys.argv, _sys.orig_argv):
    _load()

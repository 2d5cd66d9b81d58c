"""
The `application_name` of connections on the database server: `service:pool:pid`.

A server cuts names off after 63 bytes and replaces everything but printable ASCII. The names made
here are left as they are, so that the exporter can tell the pool from the name on the server.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

APPLICATION_NAME_VARIABLE: Final = "POOLSCOPE_APPLICATION_NAME"

MAX_NAME_BYTES: Final = 63
MAX_POOL_BYTES: Final = 40


class Application(NamedTuple):
    """The parts of the name of a connection; `pool` is as `shown` returns it."""

    service: str
    pool: str
    pid: int


def shown(pool: str) -> str:
    """Return the name of a pool as it appears on a server."""
    return _plain(pool)[:MAX_POOL_BYTES]


def application_name(service: str, pool: str) -> str:
    """Return the name of this process's connections of that pool."""
    suffix = f":{shown(pool)}:{os.getpid()}"
    return _plain(service).replace(":", "_")[: MAX_NAME_BYTES - len(suffix)] + suffix


def without_pid(name: str) -> str:
    """Return `service:pool` for `service:pool:pid`, so that a restart adds no new name."""
    rest, _, pid = name.rpartition(":")
    return rest if rest and pid.isascii() and pid.isdigit() else name


def parse(name: str) -> Application | None:
    """Return the parts of a name; None if `application_name` did not make it."""
    head, _, pid = name.rpartition(":")
    service, colon, pool = head.partition(":")
    if not (service and colon and pool and pid.isascii() and pid.isdigit()):
        return None
    return Application(service, pool, int(pid))


def _plain(text: str) -> str:
    """Return the text with everything but printable ASCII replaced."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)

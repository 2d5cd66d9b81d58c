"""
What connections are called on the database server: `service:pool:pid`.

A server cuts names off after 63 bytes and knows printable ASCII only; both are taken care of here,
so that a name that a server shows is the name of a pool again.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

APPLICATION_NAME_VARIABLE: Final = "POOLSCOPE_APPLICATION_NAME"

MAX_NAME_BYTES: Final = 63
MAX_POOL_BYTES: Final = 40


class Application(NamedTuple):
    """Whose connection it is; `pool` as `shown` has it."""

    service: str
    pool: str
    pid: int


def shown(pool: str) -> str:
    """Return what a server shows of a pool's name."""
    return _plain(pool)[:MAX_POOL_BYTES]


def application_name(service: str, pool: str) -> str:
    """Return what this process calls its connections of that pool."""
    rest = f":{shown(pool)}:{os.getpid()}"
    return _plain(service).replace(":", "_")[: MAX_NAME_BYTES - len(rest)] + rest


def parse(name: str) -> Application | None:
    """Return whose connection has that name; None if it is not one of ours."""
    head, _, pid = name.rpartition(":")
    service, colon, pool = head.partition(":")
    if not (service and colon and pool and pid.isascii() and pid.isdigit()):
        return None
    return Application(service, pool, int(pid))


def _plain(text: str) -> str:
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)

"""A service that only uses its pool: as a callable of WSGI and of ASGI, and as applications."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import sqlalchemy

engine = sqlalchemy.create_engine(
    "sqlite://", poolclass=sqlalchemy.pool.QueuePool, connect_args={"check_same_thread": False}
)


def answer() -> bytes:
    """Use a connection; return the id of this process."""
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("select 1"))
    return str(os.getpid()).encode()


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")])
    return [answer()]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    head = {"status": 200, "headers": [(b"content-type", b"text/plain"), (b"connection", b"close")]}
    await send({"type": "http.response.start", **head})
    await send({"type": "http.response.body", "body": answer()})

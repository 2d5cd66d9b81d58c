"""
A Flask service with a SQLAlchemy session for each request, whose engine is watched.

Run it with `gunicorn flask_service:app --threads 4`, request `/orders`, then look at `/metrics`.
With several workers, set POOLSCOPE_DIR and run `poolscope exporter` beside them instead.
"""

from __future__ import annotations

import os
from typing import Any

import sqlalchemy
from flask import Flask, g
from sqlalchemy.orm import Session

import poolscope

url = os.environ.get("DATABASE_URL", "sqlite:///orders.db")
engine = sqlalchemy.create_engine(url, pool_size=5, max_overflow=5, pool_pre_ping=True)
poolscope.watch(engine, name="orders")

app = poolscope.instrument(Flask(__name__))


def session() -> Session:
    """Return the session of this request; it takes a connection when it is first used."""
    if "session" not in g:
        g.session = Session(engine)
    made: Session = g.session
    return made


@app.teardown_appcontext
def close_session(error: BaseException | None) -> None:
    if "session" in g:
        session().close()


@app.get("/orders")
def orders() -> dict[str, Any]:
    return {"orders": session().scalar(sqlalchemy.text("SELECT 0"))}

"""
A Flask service with a SQLAlchemy session for each request, whose engine is watched.

Run it with `gunicorn flask_service:app --threads 4`, request `/orders/1`, then look at `/metrics`.
At `/holders` it says who holds a connection at this moment, and for which request. With several
workers, set POOLSCOPE_DIR and run `poolscope exporter` beside them instead.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import sqlalchemy
from flask import Flask, g
from sqlalchemy import text
from sqlalchemy.orm import Session

import poolscope

url = os.environ.get("DATABASE_URL", "sqlite:///orders.db")
engine = sqlalchemy.create_engine(url, pool_size=5, max_overflow=5, pool_pre_ping=True)
poolscope.watch(engine, name="orders")

with engine.begin() as connection:
    table = "orders (number INTEGER PRIMARY KEY, amount INTEGER NOT NULL)"
    connection.execute(text(f"CREATE TABLE IF NOT EXISTS {table}"))

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


@app.get("/orders/<int:number>")
def order(number: int) -> dict[str, Any]:
    query = text("SELECT amount FROM orders WHERE number = :number")
    return {"number": number, "amount": session().scalar(query, {"number": number})}


@app.get("/holders")
def holders() -> list[dict[str, Any]]:
    return [asdict(hold) for hold in poolscope.holders()]

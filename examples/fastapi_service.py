"""
A FastAPI service whose database pool is watched.

Run it with `uvicorn fastapi_service:app`, request `/orders`, then look at `/metrics`.
"""

from __future__ import annotations

import sqlalchemy
from fastapi import FastAPI

import poolscope

engine = sqlalchemy.create_engine("sqlite:///orders.db", pool_size=5, max_overflow=5)
poolscope.watch(engine, name="orders")

app = FastAPI()
poolscope.instrument(app)


@app.get("/orders")
def orders() -> int:
    """Return the number of tables, as a stand-in for a real query: 0 in a new database."""
    with engine.connect() as connection:
        return int(connection.scalar(sqlalchemy.text("SELECT count(*) FROM sqlite_schema")) or 0)

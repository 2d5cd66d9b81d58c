"""
A FastAPI service whose database pool is watched, and closed when the service ends.

Run it with `uvicorn fastapi_service:app`, request `/orders/1`, then look at `/metrics`. At
`/holders` it says who holds a connection at this moment, and for which request. With several
workers, set POOLSCOPE_DIR and run `poolscope exporter` beside them instead.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated

import sqlalchemy
from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy import text

import poolscope

url = os.environ.get("DATABASE_URL", "sqlite:///orders.db")
engine = sqlalchemy.create_engine(url, pool_size=5, max_overflow=5, pool_pre_ping=True)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with poolscope.lifespan(orders=engine):
        with engine.begin() as connection:
            table = "orders (number INTEGER PRIMARY KEY, amount INTEGER NOT NULL)"
            connection.execute(text(f"CREATE TABLE IF NOT EXISTS {table}"))
        yield


app = FastAPI(lifespan=lifespan)
poolscope.instrument(app)


def connect() -> Iterator[sqlalchemy.Connection]:
    with engine.connect() as connection:
        yield connection


Connection = Annotated[sqlalchemy.Connection, Depends(connect)]


@app.get("/orders/{number}")
def order(number: int, connection: Connection) -> int | None:
    """Return the amount of an order."""
    query = text("SELECT amount FROM orders WHERE number = :number")
    amount: int | None = connection.scalar(query, {"number": number})
    return amount


@app.get("/exports/{least}")
def export(least: int) -> StreamingResponse:
    """Stream the orders from an amount on; the connection is held until the last line is sent."""

    def lines() -> Iterator[str]:
        yield "number,amount\n"
        with engine.connect() as connection:
            query = text("SELECT number, amount FROM orders WHERE amount >= :least")
            for number, amount in connection.execute(query, {"least": least}):
                yield f"{number},{amount}\n"

    return StreamingResponse(lines(), media_type="text/csv")


@app.post("/orders/{number}/refund", status_code=202)
def refund(number: int, tasks: BackgroundTasks) -> None:
    """Answer at once, and pay back afterwards."""
    tasks.add_task(pay_back, number)


def pay_back(number: int) -> None:
    with engine.begin() as connection:
        change = text("UPDATE orders SET amount = 0 WHERE number = :number")
        connection.execute(change, {"number": number})


@app.get("/holders")
def holders() -> list[poolscope.Hold]:
    return poolscope.holders()

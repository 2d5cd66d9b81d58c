"""
A service whose nightly job keeps most connections of its pool, for the pictures of dashboards.

POOLSCOPE_DEMO_POSTGRES is the DSN of a PostgreSQL, and POOLSCOPE_DIR the folder of an exporter.
"""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import suppress

from sqlalchemy import Engine, create_engine, exc, text

import poolscope
from poolscope.demo.external_postgres import ExternalPostgres

KEPT_AFTER_SECONDS = 90
"""How long the pool is well at first, so that the graphs show when the trouble began."""
CUSTOMERS = 60


@poolscope.operation("settle invoices")
def settle_invoices(engine: Engine) -> None:
    """Take four connections, one after the other, and keep them."""
    kept = []
    time.sleep(KEPT_AFTER_SECONDS)
    for _ in range(4):
        kept.append(engine.connect())
        kept[-1].execute(text("SELECT 1"))
        time.sleep(5)
    threading.Event().wait()


def charge_card(engine: Engine) -> None:
    while True:
        with (
            suppress(exc.TimeoutError),
            poolscope.operation("POST /charges/{card}"),
            engine.connect() as connection,
        ):
            connection.execute(text("SELECT pg_sleep(0.1 + random() * 0.1)"))
        time.sleep(1 + 2 * random.random())  # noqa: S311 - no secret


def main() -> None:
    url = ExternalPostgres(os.environ["POOLSCOPE_DEMO_POSTGRES"]).sqlalchemy_url("psycopg")
    engine = create_engine(url, pool_size=5, max_overflow=1, pool_timeout=2)
    poolscope.watch(engine, name="payments")
    for work in (settle_invoices, *[charge_card] * CUSTOMERS):
        threading.Thread(target=work, args=(engine,), name=work.__name__).start()

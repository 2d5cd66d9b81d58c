"""
A Celery worker whose processes have watched engines.

    mkdir -p queue pools
    export POOLSCOPE_DIR=$PWD/pools
    poolscope exporter --dir pools &
    celery --app celery_worker worker --concurrency 2 &
    python -c 'import celery_worker; celery_worker.place_order.delay(1)'

Then look at http://127.0.0.1:10464/pools, which says for which task a connection is held. The queue
is a folder here, so that no broker is needed; set CELERY_BROKER_URL for another one. Each process
of the worker has numbers of its own from its first use of the pool, and the exporter adds them up.
"""

from __future__ import annotations

import os
from typing import Any

import sqlalchemy
from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown
from sqlalchemy import text

import poolscope

app = poolscope.instrument(Celery("shop"))
app.conf.broker_url = os.environ.get("CELERY_BROKER_URL", "filesystem://")
if app.conf.broker_url == "filesystem://":
    folders = ("data_folder_in", "data_folder_out", "control_folder")
    app.conf.broker_transport_options = dict.fromkeys(folders, "queue")

url = os.environ.get("DATABASE_URL", "sqlite:///orders.db")
engine = sqlalchemy.create_engine(url, pool_size=1, max_overflow=1, pool_pre_ping=True)
poolscope.watch(engine, name="orders")

with engine.begin() as connection:
    table = "orders (number INTEGER PRIMARY KEY, amount INTEGER NOT NULL)"
    connection.execute(text(f"CREATE TABLE IF NOT EXISTS {table}"))


@worker_process_init.connect
def leave_connections_of_the_parent(**_: Any) -> None:
    """A process that was forked opens connections of its own."""
    engine.dispose(close=False)


@worker_process_shutdown.connect
def close_connections(**_: Any) -> None:
    engine.dispose()


@app.task
def place_order(number: int) -> None:
    with engine.begin() as connection:
        order = text("INSERT INTO orders VALUES (:number, 10) ON CONFLICT DO NOTHING")
        connection.execute(order, {"number": number})

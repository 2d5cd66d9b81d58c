"""
A script that knows nothing of poolscope: it places orders from four threads.

    poolscope run --report -- python plain_script.py

prints at its end what its pool did, and that the threads had to wait for it.
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy
from sqlalchemy import text

folder = tempfile.TemporaryDirectory()
url = os.environ.get("DATABASE_URL", f"sqlite:///{folder.name}/orders.db")
engine = sqlalchemy.create_engine(url, pool_size=2, max_overflow=0)

with engine.begin() as connection:
    connection.execute(text("CREATE TABLE orders (number INTEGER PRIMARY KEY, amount INTEGER)"))


def place(number: int) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO orders VALUES (:number, 10)"), {"number": number})


with ThreadPoolExecutor(4) as threads:
    list(threads.map(place, range(200)))
with engine.connect() as connection:
    print(connection.scalar(text("SELECT count(*) FROM orders")), "orders")
engine.dispose()
folder.cleanup()

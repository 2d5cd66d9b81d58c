"""A thousand clients that are silent, or do not read, while the exporter is scraped."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sqlite3
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from scripts.attack.target import Target, target

CLIENTS = 1000
SILENCES = {
    "nothing": b"",
    "half a header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Half: ",
    "an endless body": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n",
    "headers without an end": b"GET / HTTP/1.1\r\n" + b"X: %s\r\n" % (b"x" * 8000) * 100,
}
NO_READING = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3
LONGEST_SECONDS = 1.0
LONGEST_OF_MANY_POOLS = 5.0
MOST_CPU_SECONDS = 1.0
"""
The CPU time that the exporter may use while one scrape waits: what that takes where nothing else
runs. How long it takes here depends on what else does.
"""
MOST_MIB = 300.0
POOLS = 100
SPAWN: Final = multiprocessing.get_context("spawn")


def use_pools(folder: str, control: Connection) -> None:
    """Have pools whose metrics are more than a megabyte, until the parent says something."""
    os.environ["POOLSCOPE_DIR"] = folder
    import sqlalchemy

    import poolscope

    connect: Any = partial(sqlite3.connect, ":memory:")
    pools = [sqlalchemy.QueuePool(connect) for _ in range(POOLS)]
    for number, pool in enumerate(pools):
        poolscope.watch(pool, f"{number}".rjust(100, "x"), registry=None)
        pool.connect().close()
    control.send("they are there")
    control.recv()


def attack(
    exporter: Target, kind: str, data: bytes, addresses: int, longest: float = LONGEST_SECONDS
) -> list[str]:
    with ExitStack() as clients:
        seconds, used, failed = [], [], 0
        began_with = exporter.cpu()
        for number in range(CLIENTS):
            client = clients.enter_context(socket.socket())
            client.bind((f"127.0.0.{number % addresses + 1}", 0))
            client.connect(("127.0.0.1", exporter.port))
            client.setblocking(False)
            client.send(data)  # what there is room for
            if number % 25 == 24:
                before = exporter.cpu()
                status, took = exporter.ask()
                used.append(exporter.cpu() - before)
                failed += status != 200
                seconds.append(took)
        cost = (exporter.cpu() - began_with) / CLIENTS
        held, most = exporter.descriptors(), exporter.memory()
        began = time.monotonic()
        while exporter.descriptors() > 60 and time.monotonic() - began < 90:
            status, took = exporter.ask()
            failed += status != 200
            seconds.append(took)
            most = max(most, exporter.memory())
            time.sleep(0.2)
        closed = time.monotonic() - began
    print(
        f"   {kind}, {addresses} addresses: {held} descriptors with {CLIENTS} clients; all closed "
        f"after {closed:.0f} s; {len(seconds)} scrapes, {failed} failed, "
        f"longest {max(seconds) * 1000:.0f} ms, in which it used at most {max(used) * 1000:.0f} ms "
        f"of CPU time; {cost * 1000:.2f} ms of it for each client; at most {most:.0f} MiB",
        flush=True,
    )
    too_slow = max(seconds) >= longest or max(used) >= MOST_CPU_SECONDS
    if failed or too_slow or most >= MOST_MIB:
        times = f"longest {max(seconds):.2f} s, at most {max(used):.2f} s of CPU time"
        return [f"{kind}: {failed} failed, {times}, {most:.0f} MiB"]
    return []


def attack_without_reading() -> list[str]:
    """Attack an exporter whose answers are large."""
    ours, theirs = SPAWN.Pipe()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "pools"
        worker = SPAWN.Process(target=use_pools, args=(str(folder), theirs), daemon=True)
        worker.start()
        ours.recv()
        with target(folder=folder) as exporter:
            harm = attack(exporter, "no reading", NO_READING, 10, LONGEST_OF_MANY_POOLS)
            harm += end(exporter)
        ours.send("end")
        worker.join()
    return harm


def end(exporter: Target) -> list[str]:
    code, took = exporter.stop()
    print(
        f"   ended with {code} after {took:.2f} s; {exporter.log.count(chr(10))} lines in the log"
    )
    if code or "Traceback" in exporter.log:
        return [f"ended with {code}, or with a traceback in the log"]
    return []


def run() -> list[str]:
    """Return what went wrong."""
    harm = []
    with target() as exporter:
        for addresses in (1, 10):
            for kind, data in SILENCES.items():
                harm += attack(exporter, kind, data, addresses)
        harm += end(exporter)
    return harm + attack_without_reading()

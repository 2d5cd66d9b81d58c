"""A thousand silent clients, of each kind of silence, while the exporter is scraped."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack

from scripts.attack.target import Target, target

CLIENTS = 1000
SILENCES = {
    "nothing": b"",
    "half a header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Half: ",
    "an endless body": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n",
    "no reading": b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3,
}
LONGEST_SECONDS = 1.0


def attack(exporter: Target, kind: str, addresses: int) -> list[str]:
    with ExitStack() as clients:
        seconds, failed = [], 0
        for number in range(CLIENTS):
            client = clients.enter_context(socket.socket())
            client.bind((f"127.0.0.{number % addresses + 1}", 0))
            client.connect(("127.0.0.1", exporter.port))
            client.setblocking(False)
            client.send(SILENCES[kind])
            if number % 25 == 24:
                status, took = exporter.ask()
                failed += status != 200
                seconds.append(took)
        held = exporter.descriptors()
        began = time.monotonic()
        while exporter.descriptors() > 60 and time.monotonic() - began < 90:
            status, took = exporter.ask()
            failed += status != 200
            seconds.append(took)
            time.sleep(0.2)
        closed = time.monotonic() - began
    print(
        f"   {kind}, {addresses} addresses: {held} descriptors with {CLIENTS} clients; all closed "
        f"after {closed:.0f} s; {len(seconds)} scrapes, {failed} failed, "
        f"longest {max(seconds) * 1000:.0f} ms; {exporter.memory():.0f} MiB",
        flush=True,
    )
    slow = max(seconds) >= LONGEST_SECONDS
    return [f"{kind}: {failed} failed, longest {max(seconds):.2f} s"] if failed or slow else []


def run() -> list[str]:
    """Return what went wrong."""
    harm = []
    with target() as exporter:
        for addresses in (1, 10):
            for kind in SILENCES:
                harm += attack(exporter, kind, addresses)
        code, took = exporter.stop()
        lines = exporter.log.count("\n")
        print(f"   ended with {code} after {took:.2f} s; {lines} lines in the log")
        if code or "Traceback" in exporter.log:
            harm.append(f"ended with {code}, or with a traceback in the log")
    return harm

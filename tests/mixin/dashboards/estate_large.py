"""A large estate: twenty services with three pools each, in two hundred processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from mixin.dashboards.estate import Pool
from mixin.dashboards.estate_servers import Bouncer, Server

NAMES: Final = (
    *("accounts", "audit", "billing", "catalog", "checkout", "delivery", "emails", "fraud"),
    *("gateway", "inventory", "invoices", "ledger", "notifications", "orders", "payments"),
    *("pricing", "recommendations", "reports", "search", "shipping"),
)
PROCESSES: Final = 10
"""The processes of each service."""
KINDS: Final = (("main", "sqlalchemy", 15), ("events", "asyncpg", 10), ("partners", "aiohttp", 100))
IN_TROUBLE: Final = {"payments": (0, 0), "orders": (900, 300), "search": (1500, 1380)}
"""Seconds ago at which the pool `main` was full, and was free again; 0 is still so."""

OPERATIONS: Final = {f"GET /cards/{{id}}/{number}": number % 3 for number in range(20)}
"""Of the pool that is full."""


def pools() -> tuple[Pool, ...]:
    return tuple(_pools())


def _pools() -> Iterator[Pool]:
    for number, service in enumerate(NAMES):
        for process in range(PROCESSES):
            for name, kind, limit in KINDS:
                share = (number * 7 + len(name)) % 13 / 20
                pool = Pool(
                    "eu-1",
                    service,
                    name,
                    kind,
                    limit=limit,
                    in_use=round(limit * share),
                    attempts=20 + number,
                    oldest=2,
                    process=f"10.0.{number}.{process}:80",
                    sites={
                        f"{service}.views:show": (round(limit * share), 9000),
                        f"{service}.jobs:sync": (0, 0),
                    },
                    hosts={"api.example:443": 3} if kind == "aiohttp" else {},
                )
                yield _in_trouble(pool) if name == "main" and service in IN_TROUBLE else pool


def _in_trouble(pool: Pool) -> Pool:
    begin, end = IN_TROUBLE[pool.service]
    if begin:
        return replace(pool, burst=(begin, end, 5))
    sites = {"payments.cards:charge": (14, 420.0), "payments.jobs:settle": (1, 9000.0)}
    return replace(
        pool,
        in_use=pool.limit,
        waiting=8,
        gave_up=0.4,
        peak=19,
        oldest=400,
        sites=sites,
        operations=OPERATIONS,
        findings={"nested-acquire": "critical"},
    )


SERVERS: Final[tuple[Server | Bouncer, ...]] = (
    *(
        Server(
            f"pg-{number}.db:5432",
            cluster="eu-1",
            limit=500,
            connections={
                (f"{service}:main", state): 10 + 3 * number + place
                for place, service in enumerate(NAMES[number::5])
                for state in ("active", "idle")
            },
            idle_in_transaction={f"{NAMES[number]}:main": 4.0},
            askers=2,
        )
        for number in range(5)
    ),
    Bouncer(
        "bouncer-a:6432",
        cluster="eu-1",
        limit=1000,
        clients={"active": 640, "waiting": 12},
        servers={"active": 19, "idle": 1},
        oldest_wait=3,
        askers=2,
    ),
)

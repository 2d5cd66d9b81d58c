"""Findings about the configuration of real pools."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
import sqlalchemy
from sqlalchemy import pool as pools_of_sqlalchemy

from poolscope.adapters.aiohttp.connectors import config_of as config_of_session
from poolscope.adapters.sqlalchemy.pools import config_of
from poolscope.readings.findings import PoolEvidence, findings_of
from poolscope.readings.pool_config import PoolConfig
from poolscope.readings.reading import Reading
from poolscope.watching.watches import Watches


def rules_found(config: PoolConfig) -> list[str]:
    """Return the rules that a pool with this configuration breaks before it is used."""
    evidence = PoolEvidence(config, Reading(), {})
    return [finding.rule for finding in findings_of("orders", "asyncpg", [evidence])]


@pytest.mark.parametrize(
    ("options", "rules"),
    [
        ({"pool_pre_ping": True}, []),
        ({"pool_recycle": 600}, []),
        ({}, ["stale-connections"]),
        ({"pool_recycle": 7200}, ["stale-connections"]),
        ({"max_overflow": -1, "pool_pre_ping": True}, ["unlimited"]),
        ({"pool_size": 0, "pool_pre_ping": True}, ["unlimited"]),
        ({"pool_size": 40, "max_overflow": 20, "pool_pre_ping": True}, ["oversized"]),
        ({"poolclass": pools_of_sqlalchemy.NullPool}, ["null-pool"]),
        ({"poolclass": pools_of_sqlalchemy.StaticPool, "pool_pre_ping": True}, []),
    ],
)
def test_rules_read_the_configuration_of_an_engine(
    options: dict[str, Any], rules: list[str], engines: Any
) -> None:
    engine = engines(**options)
    assert rules == rules_found(config_of(engine.pool))


def test_an_engine_of_sqlite_has_no_server() -> None:
    engine = sqlalchemy.create_engine("sqlite:///:memory:", poolclass=pools_of_sqlalchemy.QueuePool)
    assert [] == rules_found(config_of(engine.pool))


@pytest.mark.parametrize(
    ("options", "rules"),
    [
        ({}, []),
        ({"max_inactive_connection_lifetime": 0}, ["stale-connections"]),
        ({"max_size": 60}, ["oversized"]),
    ],
)
async def test_rules_read_the_configuration_of_an_asyncpg_pool(
    options: dict[str, Any], rules: list[str], pools: Any, watches: Watches
) -> None:
    watch = watches.watch(pools(**options), registry=None)
    assert rules == [finding.rule for finding in watch.findings()]


@pytest.mark.parametrize(
    ("connector", "timeout", "rules"),
    [
        ({"limit_per_host": 5}, {"total": 10, "connect": 1}, []),
        ({}, {"total": 10, "connect": 1}, ["no-limit-per-host"]),
        ({"limit_per_host": 5}, {"total": None, "connect": 1}, ["no-total-timeout"]),
        (
            {"limit_per_host": 5},
            {"total": None, "sock_read": 9, "sock_connect": 1},
            ["no-acquire-timeout"],
        ),
        (
            {"limit": 0, "limit_per_host": 5},
            {"total": None, "sock_read": 9, "sock_connect": 1},
            ["no-acquire-timeout", "unlimited"],
        ),
        ({"limit": 100}, {"total": 10, "connect": 1}, ["no-limit-per-host"]),
        ({"limit_per_host": 5}, {"total": 10}, ["no-connect-timeout"]),
        ({"limit_per_host": 5, "limit": 0}, {"total": 10, "connect": 1}, ["unlimited"]),
        (
            {"limit_per_host": 5, "force_close": True},
            {"total": 1, "connect": 1},
            ["no-keepalive"],
        ),
        (
            {"limit_per_host": 5, "use_dns_cache": False},
            {"total": 1, "connect": 1},
            ["no-dns-cache"],
        ),
        ({"limit_per_host": 5, "ssl": False}, {"total": 1, "connect": 1}, []),
    ],
)
async def test_rules_read_the_configuration_of_a_session(
    connector: dict[str, Any], timeout: dict[str, Any], rules: list[str]
) -> None:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(**connector), timeout=aiohttp.ClientTimeout(**timeout)
    ) as session:
        assert rules == rules_found(config_of_session(session))
        # A connector alone does not know the timeouts of its sessions.
        timeouts = {"no-total-timeout", "no-connect-timeout", "no-acquire-timeout"}
        assert [rule for rule in rules if rule not in timeouts] == rules_found(
            config_of_session(session.connector)
        )

"""Known mistakes: each rule by itself, how real pools are set up, and what they do."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import sqlalchemy
from prometheus_client import CollectorRegistry
from sqlalchemy import pool as pools_of_sqlalchemy

from poolscope import Finding, Watch
from poolscope.adapters.aiohttp.connectors import config_of as setup_of_session
from poolscope.adapters.sqlalchemy.pools import config_of
from poolscope.readings.findings import (
    RULES,
    SEVERITIES,
    WATCHED,
    Commitment,
    PoolEvidence,
    findings_of,
)
from poolscope.readings.pool_config import PoolConfig
from poolscope.readings.reading import Reading
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.ports import closed_port
from support.waiting import PATIENCE
from support.web import Server

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres

PAGES = Path(__file__).parents[2] / "docs" / "findings"

DEFAULT_CONFIG = PoolEvidence(PoolConfig(), Reading(), 1, {})


def case(config: PoolConfig | None = None, created: int = 1, **reading: Any) -> PoolEvidence:
    return PoolEvidence(config or PoolConfig(), Reading(**reading), created, {})


def found(*cases: PoolEvidence) -> list[str]:
    return [finding.rule for finding in findings_of("orders", "asyncpg", cases)]


# Of each rule that compares, what is just not found, and what just is.
BOUNDARIES: dict[str, tuple[PoolEvidence, PoolEvidence]] = {
    "pool-per-request": (
        case(created=19, acquired=19),
        case(created=20, acquired=199, reused=199),
    ),
    "few-reused": (case(acquired=100, reused=50), case(acquired=100, reused=49)),
    "too-small": (
        case(watched_seconds=300, saturated_seconds=30, waited=1, instances=1),
        case(watched_seconds=300, saturated_seconds=31, waited=1, instances=1),
    ),
    "too-large": (
        case(watched_seconds=3600, acquired=100, reused=100, limit=10, most_in_use=2),
        case(watched_seconds=3600, acquired=100, reused=100, limit=10, most_in_use=1),
    ),
    "oversized": (
        case(PoolConfig(database=True, limit=50)),
        case(PoolConfig(database=True, limit=51)),
    ),
    "stale-connections": (
        case(PoolConfig(database=True, pings=False, recycle=1800)),
        case(PoolConfig(database=True, pings=False, recycle=1801)),
    ),
    "unlimited": (
        case(PoolConfig(bounded=False, limit=math.inf)),
        case(PoolConfig(limit=math.inf)),
    ),
    "no-total-timeout": (DEFAULT_CONFIG, case(PoolConfig(total_timeout=math.inf))),
    "no-connect-timeout": (DEFAULT_CONFIG, case(PoolConfig(connect_timeout=math.inf))),
    "no-keepalive": (DEFAULT_CONFIG, case(PoolConfig(keeps_alive=False))),
    "no-limit-per-host": (DEFAULT_CONFIG, case(PoolConfig(limited_per_host=False))),
    "no-dns-cache": (DEFAULT_CONFIG, case(PoolConfig(caches_dns=False))),
    "tls-not-verified": (DEFAULT_CONFIG, case(PoolConfig(verifies_tls=False))),
    "overcommitted": (
        DEFAULT_CONFIG._replace(commitments=[Commitment("db:5432", 97, 97.0)]),
        DEFAULT_CONFIG._replace(commitments=[Commitment("db:5432", 97, 98.0)]),
    ),
    "null-pool": (DEFAULT_CONFIG, case(PoolConfig(pooled=False))),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_broken_or_it_is_not(rule: str) -> None:
    seen = PoolEvidence(PoolConfig(), Reading(), 1, {rule: ("shop.py:7 in pay",)})
    fine, broken = BOUNDARIES.get(rule, (DEFAULT_CONFIG, seen))
    assert ([], [rule]) == (found(fine), found(broken))


@pytest.mark.parametrize(
    "fine",
    [
        case(created=20, acquired=200, reused=200),  # shards, each of which is used
        case(acquired=99),
        case(PoolConfig(pooled=False, database=True), acquired=100),
        case(watched_seconds=299, saturated_seconds=299, waited=1, instances=1),
        case(watched_seconds=300, saturated_seconds=60, waited=1, instances=2),
        case(watched_seconds=300, saturated_seconds=300, instances=1),  # full, but nobody waits
        case(watched_seconds=3599, acquired=100, reused=100, limit=10, most_in_use=1),
        case(watched_seconds=3600, acquired=100, reused=100, limit=9, most_in_use=1),
        case(watched_seconds=3600, acquired=100, reused=100, limit=math.inf, most_in_use=1),
        case(PoolConfig(limit=1000)),
        case(PoolConfig(database=True, pings=True)),
    ],
)
def test_what_looks_like_a_mistake_but_is_none(fine: PoolEvidence) -> None:
    assert [] == [rule for rule in found(fine) if rule != "null-pool"]


def test_findings_are_sorted_by_severity_and_each_is_there_once() -> None:
    config = PoolConfig(limit=math.inf, caches_dns=False, verifies_tls=False)
    seen = {WATCHED: ("shop.py:3 in main",), "tls-not-verified": ("shop.py:9 in ask",)}
    worse = PoolEvidence(config, Reading(), 1, seen)
    findings = findings_of("orders", "aiohttp", [worse, worse])
    assert [
        ("tls-not-verified", "critical", ("shop.py:9 in ask",)),
        ("unlimited", "warning", ("shop.py:3 in main",)),
        ("no-dns-cache", "info", ("shop.py:3 in main",)),
    ] == [(finding.rule, finding.severity, finding.sites) for finding in findings]


class TestTheDocumentation:
    def test_each_rule_has_a_page_and_each_page_a_rule(self) -> None:
        assert {*RULES, "README"} == {page.stem for page in PAGES.glob("*")}

    @pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
    def test_a_page_says_what_is_wrong_and_what_to_write(self, rule: Any) -> None:
        text = (PAGES / f"{rule.name}.md").read_text()
        assert text.startswith(f"# {rule.name}\n\nSeverity: {rule.severity}. ")
        headings = [line for line in text.splitlines() if line.startswith("## ")]
        assert [
            "## What is wrong",
            "## What it costs",
            "## What to write instead",
            "## When it is fine",
        ] == headings
        assert "```python" in text

    def test_the_list_has_them_all(self) -> None:
        text = (PAGES / "README.md").read_text()
        for rule in RULES.values():
            assert f"| [{rule.name}]({rule.name}.md) | {rule.severity} |" in text

    def test_severities_are_what_the_rules_have(self) -> None:
        assert set(SEVERITIES) == {rule.severity for rule in RULES.values()}


class TestHowPoolsAreSetUp:
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
    def test_an_engine(self, options: dict[str, Any], rules: list[str], engines: Any) -> None:
        engine = engines(**options)
        assert rules == found(case(config_of(engine.pool)))

    def test_a_file_is_no_server(self) -> None:
        engine = sqlalchemy.create_engine(
            "sqlite:///:memory:", poolclass=pools_of_sqlalchemy.QueuePool
        )
        assert [] == found(case(config_of(engine.pool)))

    @pytest.mark.parametrize(
        ("options", "rules"),
        [
            ({}, []),
            ({"max_inactive_connection_lifetime": 0}, ["stale-connections"]),
            ({"max_size": 60}, ["oversized"]),
        ],
    )
    async def test_an_asyncpg_pool(
        self, options: dict[str, Any], rules: list[str], pools: Any, watches: Watches
    ) -> None:
        watch = watches.watch(pools(**options), registry=None)
        assert rules == [finding.rule for finding in watch.findings()]

    @pytest.mark.parametrize(
        ("connector", "timeout", "rules"),
        [
            ({"limit_per_host": 5}, {"total": 10, "connect": 1}, []),
            ({}, {"total": 10, "connect": 1}, ["no-limit-per-host"]),
            ({"limit_per_host": 5}, {"total": None, "connect": 1}, ["no-total-timeout"]),
            ({"limit_per_host": 5}, {"total": None, "sock_read": 9, "sock_connect": 1}, []),
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
            ({"limit_per_host": 5, "ssl": False}, {"total": 1, "connect": 1}, ["tls-not-verified"]),
        ],
    )
    async def test_a_session(
        self, connector: dict[str, Any], timeout: dict[str, Any], rules: list[str]
    ) -> None:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(**connector), timeout=aiohttp.ClientTimeout(**timeout)
        ) as session:
            assert rules == found(case(setup_of_session(session)))
            # A connector alone does not tell what its sessions do.
            rest = {"no-total-timeout", "no-connect-timeout"}
            assert [rule for rule in rules if rule not in rest] == found(
                case(setup_of_session(session.connector))
            )


def sites(watch: Watch, rule: str) -> list[str]:
    """Return the functions that a rule names."""
    return [
        site.rpartition(".")[2]
        for finding in watch.findings()
        if finding.rule == rule
        for site in finding.sites
    ]


class TestWhatPoolsDo:
    async def test_no_time_limit(self, pools: Any, watches: Watches) -> None:
        pool = await pools()
        watch = watches.watch(pool, registry=None)

        async def patient() -> None:
            async with pool.acquire():
                pass

        async def careful() -> None:
            async with pool.acquire(timeout=PATIENCE):
                pass

        await careful()
        assert [] == sites(watch, "no-acquire-timeout")
        await patient()
        await patient()
        assert ["patient"] == sites(watch, "no-acquire-timeout")

    async def test_a_lost_and_a_nested_one(self, pools: Any, watches: Watches) -> None:
        pool = await pools()
        watch = watches.watch(pool, registry=None)

        async def lose() -> None:
            await pool.acquire(timeout=PATIENCE)

        async def nest() -> None:
            async with pool.acquire(timeout=PATIENCE):
                with pytest.raises(TimeoutError):
                    await pool.acquire(timeout=0.01)

        await asyncio.create_task(lose())
        await asyncio.create_task(nest())
        assert ["lose"] == sites(watch, "abandoned")
        assert ["nest"] == sites(watch, "nested-acquire")

    async def test_a_pool_that_blocks_the_loop(self, engines: Any, watches: Watches) -> None:
        engine = engines(pool_size=1, max_overflow=0, pool_timeout=0.01)
        watch = watches.watch(engine, registry=None)

        def wait() -> None:
            with pytest.raises(sqlalchemy.exc.TimeoutError):
                engine.connect()

        with engine.connect():
            await asyncio.to_thread(wait)
            assert [] == sites(watch, "blocks-event-loop")
            wait()
            assert ["wait"] == sites(watch, "blocks-event-loop")

    async def test_without_call_sites_no_line_blocks_the_loop(
        self, engines: Any, watches: Watches
    ) -> None:
        engine = engines(pool_size=1, max_overflow=0, pool_timeout=0.01)
        watch = watches.watch(engine, call_sites=False, registry=None)
        with engine.connect(), pytest.raises(sqlalchemy.exc.TimeoutError):
            engine.connect()
        found = {finding.rule: finding.sites for finding in watch.findings()}
        assert ((), ()) == (found["blocks-event-loop"], found["nested-acquire"])

    @pytest.mark.usefixtures("collect")
    @pytest.mark.filterwarnings("ignore::ResourceWarning")
    def test_an_engine_that_is_never_disposed_of(
        self, postgres: EmbeddedPostgres, watches: Watches
    ) -> None:
        def use(close: bool) -> Watch:
            engine = sqlalchemy.create_engine(postgres.sqlalchemy_url("psycopg"))
            watch = watches.watch(engine, f"closed: {close}", registry=None)
            engine.connect().close()
            if close:
                engine.dispose()
            return watch

        closed, left = use(True), use(False)
        gc.collect()
        assert [] == sites(closed, "never-closed")
        assert ["use"] == sites(left, "never-closed")

    @pytest.mark.usefixtures("collect")
    @pytest.mark.filterwarnings("ignore::ResourceWarning")
    async def test_a_session_for_each_request(self, server: Server, watches: Watches) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        registry = CollectorRegistry()

        async def ask(close: bool) -> Watch:
            session = aiohttp.ClientSession()
            watch = watches.watch(session, "api", registry=registry)
            async with session.get(f"{server.url}/now/x") as response:
                await response.read()
            if close:
                await session.close()
            return watch

        for _ in range(19):
            watch = await ask(close=True)
        gc.collect()
        assert ([], []) == (sites(watch, "pool-per-request"), sites(watch, "never-closed"))
        await ask(close=False)
        gc.collect()
        assert ["ask"] == sites(watch, "pool-per-request")
        assert ["ask"] == sites(watch, "never-closed")
        # There is no pool just now, but what was found is still to be seen.
        labels = {"pool": "api", "kind": "aiohttp", "severity": "warning"}
        for rule, expected in (("pool-per-request", 1.0), ("unlimited", None)):
            value = registry.get_sample_value("connpool_finding", {**labels, "rule": rule})
            assert expected == value

    async def test_unverified_tls_of_one_request(self, sessions: Any, watches: Watches) -> None:
        session = sessions()
        watch = watches.watch(session, registry=None)

        async def ask(url: str, **options: Any) -> None:
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(url, **options)

        nowhere = f"127.0.0.1:{closed_port()}"
        await ask(f"http://{nowhere}/", ssl=False)
        await ask(f"https://{nowhere}/")
        assert [] == sites(watch, "tls-not-verified")
        await ask(f"https://{nowhere}/", ssl=False)
        assert ["ask"] == sites(watch, "tls-not-verified")

    def test_sizes(self, engines: Any, watches: Watches, clock: FakeClock) -> None:
        engine = engines(pool_size=9, max_overflow=1, pool_pre_ping=True)
        watch = watches.watch(engine, registry=None)
        for _ in range(100):
            engine.connect().close()
        assert [] == watch.findings()
        clock.advance(3600)
        assert ["too-large"] == [finding.rule for finding in watch.findings()]
        with engine.connect(), engine.connect():
            pass
        assert "too-large" not in [finding.rule for finding in watch.findings()]

    def test_findings_go_with_the_watch(self, engines: Any, watches: Watches) -> None:
        engine = engines()
        watch = watches.watch(engine, "orders", registry=None)
        (finding,) = watch.findings()
        assert dataclasses.replace(finding, message="", sites=()) == Finding(
            "orders", "sqlalchemy", "stale-connections", "warning", "", ()
        )
        assert "test_findings.py:" in finding.sites[0]
        watch.unwatch()
        assert ["stale-connections"] == [finding.rule for finding in watch.findings()]
        engine = engines(pool_pre_ping=True)
        assert [] == watches.watch(engine, "orders", registry=None).findings()

"""Findings: each rule by itself, its documentation, and findings about the use of real pools."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import math
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import sqlalchemy
from prometheus_client import CollectorRegistry

from poolscope import Finding, Watch
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
from poolscope.readings.saturation import TooSmall
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.ports import closed_port
from support.waiting import PATIENCE
from support.web import Server

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres

PAGES = Path(__file__).parents[2] / "docs" / "findings"

NO_MISTAKE = PoolEvidence(PoolConfig(), Reading(), {})


def case(config: PoolConfig | None = None, **reading: Any) -> PoolEvidence:
    """Return the evidence of a pool without any recorded site."""
    return PoolEvidence(config or PoolConfig(), Reading(**reading), {})


def rules_found(*cases: PoolEvidence) -> list[str]:
    """Return the rules that the evidence breaks."""
    return [finding.rule for finding in findings_of("orders", "asyncpg", cases)]


# For each rule that compares: what it accepts at the boundary, and what it just finds.
BOUNDARIES: dict[str, tuple[PoolEvidence, PoolEvidence]] = {
    "few-reused": (case(acquired=100, reused=50), case(acquired=100, reused=49)),
    "too-small": (
        case(watched_seconds=300, saturated_seconds=300, waited=1, instances=1),
        NO_MISTAKE._replace(too_small=[TooSmall(0.5)]),
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
    "no-total-timeout": (NO_MISTAKE, case(PoolConfig(total_timeout=math.inf))),
    "no-connect-timeout": (NO_MISTAKE, case(PoolConfig(connect_timeout=math.inf))),
    "no-acquire-timeout": (
        case(PoolConfig(queue_timeout=math.inf), acquired=1, reused=1),
        case(PoolConfig(queue_timeout=math.inf)),
    ),
    "no-keepalive": (NO_MISTAKE, case(PoolConfig(keeps_alive=False))),
    "no-limit-per-host": (NO_MISTAKE, case(PoolConfig(limited_per_host=False))),
    "no-dns-cache": (NO_MISTAKE, case(PoolConfig(caches_dns=False))),
    "overcommitted": (
        NO_MISTAKE._replace(commitments=[Commitment("db:5432", 97, 97.0)]),
        NO_MISTAKE._replace(commitments=[Commitment("db:5432", 97, 98.0)]),
    ),
    "null-pool": (NO_MISTAKE, case(PoolConfig(pooled=False))),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_finds_what_is_beyond_its_boundary_only(rule: str) -> None:
    recorded = PoolEvidence(PoolConfig(), Reading(), {rule: ("shop.py:7 in pay",)})
    fine, broken = BOUNDARIES.get(rule, (NO_MISTAKE, recorded))
    assert ([], [rule]) == (rules_found(fine), rules_found(broken))


@pytest.mark.parametrize(
    "fine",
    [
        case(acquired=99),
        case(PoolConfig(pooled=False, database=True), acquired=100),
        case(watched_seconds=3599, acquired=100, reused=100, limit=10, most_in_use=1),
        case(watched_seconds=3600, acquired=100, reused=100, limit=9, most_in_use=1),
        case(watched_seconds=3600, acquired=100, reused=100, limit=math.inf, most_in_use=1),
        case(PoolConfig(limit=1000)),
        case(PoolConfig(database=True, pings=True)),
    ],
)
def test_correct_pools_that_look_like_a_mistake_have_no_finding(fine: PoolEvidence) -> None:
    assert [] == [rule for rule in rules_found(fine) if rule != "null-pool"]


def test_findings_are_sorted_by_severity_and_never_repeated() -> None:
    config = PoolConfig(limit=math.inf, caches_dns=False)
    sites_by_rule = {WATCHED: ("shop.py:3 in main",), "tls-not-verified": ("shop.py:9 in ask",)}
    evidence = PoolEvidence(config, Reading(), sites_by_rule)
    findings = findings_of("orders", "aiohttp", [evidence, evidence])
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

    def test_the_list_of_findings_has_all_rules(self) -> None:
        text = (PAGES / "README.md").read_text()
        for rule in RULES.values():
            assert f"| [{rule.name}]({rule.name}.md) | {rule.severity} |" in text

    def test_each_severity_is_used(self) -> None:
        assert set(SEVERITIES) == {rule.severity for rule in RULES.values()}


def sites(watch: Watch, rule: str) -> list[str]:
    """Return the functions that a rule names."""
    return [
        site.rpartition(".")[2]
        for finding in watch.findings()
        if finding.rule == rule
        for site in finding.sites
    ]


class TestTheUse:
    async def test_a_caller_without_a_time_limit_is_found(
        self, pools: Any, watches: Watches
    ) -> None:
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

    async def test_a_lost_connection_and_a_nested_acquire_are_found(
        self, pools: Any, watches: Watches
    ) -> None:
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

    async def test_a_pool_that_blocks_the_event_loop_is_found(
        self, engines: Any, watches: Watches
    ) -> None:
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

    async def test_without_call_sites_a_finding_has_no_line(
        self, engines: Any, watches: Watches
    ) -> None:
        engine = engines(pool_size=1, max_overflow=0, pool_timeout=0.01)
        watch = watches.watch(engine, call_sites=False, registry=None)
        with engine.connect(), pytest.raises(sqlalchemy.exc.TimeoutError):
            engine.connect()
        by_rule = {finding.rule: finding.sites for finding in watch.findings()}
        assert ((), ()) == (by_rule["blocks-event-loop"], by_rule["nested-acquire"])

    @pytest.mark.usefixtures("collect")
    @pytest.mark.filterwarnings("ignore::ResourceWarning")
    def test_an_engine_that_is_never_disposed_of_is_found(
        self, postgres: EmbeddedPostgres, watches: Watches
    ) -> None:
        def use(close: bool) -> Watch:
            engine = sqlalchemy.create_engine(postgres.sqlalchemy_url("psycopg"))
            watch = watches.watch(engine, f"closed: {close}", registry=None)
            engine.connect().close()
            if close:
                engine.dispose()
            return watch

        closed, dropped = use(True), use(False)
        gc.collect()
        assert [] == sites(closed, "never-closed")
        assert ["use"] == sites(dropped, "never-closed")

    @pytest.mark.usefixtures("collect")
    @pytest.mark.filterwarnings("ignore::ResourceWarning")
    async def test_a_session_for_each_request_is_found(
        self, server: Server, watches: Watches
    ) -> None:
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
        # No pool exists now, but findings about the use of ended pools stay.
        labels = {"pool": "api", "kind": "aiohttp", "severity": "warning"}
        for rule, expected in (("pool-per-request", 1.0), ("unlimited", None)):
            value = registry.get_sample_value("connpool_finding", {**labels, "rule": rule})
            assert expected == value

    @pytest.mark.parametrize(
        ("connector", "url", "options", "found"),
        [
            ({}, "http://{}/", {"ssl": False}, False),
            ({}, "https://{}/", {}, False),
            ({}, "https://{}/", {"ssl": False}, True),
            ({}, "wss://{}/", {"ssl": False}, True),
            ({"ssl": False}, "http://{}/", {}, False),
            ({"ssl": False}, "ws://{}/", {}, False),
            ({"ssl": False}, "https://{}/", {}, True),
            ({"ssl": False}, "wss://{}/", {}, True),
            ({"ssl": False}, "https://{}/", {"ssl": ssl.create_default_context()}, False),
            ({"ssl": False}, "https://{}/", {"ssl": aiohttp.Fingerprint(bytes(32))}, False),
            ({"ssl": aiohttp.Fingerprint(bytes(32))}, "https://{}/", {}, False),
            ({"ssl": ssl.create_default_context()}, "https://{}/", {}, False),
            ({"ssl": False}, "http://{}/", {"proxy": "http://{}/"}, False),
            ({"ssl": False}, "http://{}/", {"proxy": "https://{}/"}, True),
            ({"ssl": False}, "https://{}/", {"proxy": "http://{}/"}, True),
            ({}, "https://{}/", {"proxy": "https://{}/"}, False),
        ],
    )
    async def test_tls_is_unverified_only_once_it_is_used(
        self,
        sessions: Any,
        watches: Watches,
        connector: dict[str, Any],
        url: str,
        options: dict[str, Any],
        found: bool,
    ) -> None:
        session, nowhere = sessions(**connector), f"127.0.0.1:{closed_port()}"
        watch = watches.watch(session, registry=None)
        assert "tls-not-verified" not in [finding.rule for finding in watch.findings()]

        async def ask() -> None:
            proxy = options.get("proxy", "").format(nowhere)
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(url.format(nowhere), **{**options, "proxy": proxy or None})

        await ask()
        assert (["ask"] if found else []) == sites(watch, "tls-not-verified")

    @pytest.mark.parametrize(
        ("limits", "default", "own", "found"),
        [
            ({"limit": 1}, {"total": None, "sock_connect": 5, "sock_read": 60}, None, True),
            ({"limit": 1}, {"total": None}, None, True),
            ({"limit": 0, "limit_per_host": 1}, {"total": None}, None, True),
            ({"limit": 1}, {"total": None, "connect": 5}, {"total": None}, True),
            ({"limit": 1}, {"total": None}, {"total": 9}, False),
            ({"limit": 1}, {"total": None}, {"connect": 9}, False),
            ({"limit": 1}, {"total": None, "connect": 5}, None, False),
            ({"limit": 1}, {"total": 300}, None, False),
            ({"limit": 0}, {"total": None}, None, False),
        ],
    )
    async def test_a_request_that_waits_for_a_slot_for_ever(
        self,
        watches: Watches,
        server: Server,
        limits: dict[str, Any],
        default: dict[str, Any],
        own: dict[str, Any] | None,
        found: bool,
    ) -> None:
        options: dict[str, Any] = {} if own is None else {"timeout": aiohttp.ClientTimeout(**own)}
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(**limits), timeout=aiohttp.ClientTimeout(**default)
        ) as session:
            watch = watches.watch(session, registry=None)

            async def ask() -> None:
                async with session.get(f"{server.url}/now/x", **options) as response:
                    await response.read()

            # Before the first request there is only what the session says.
            says = not (default.get("total") or default.get("connect")) and limits != {"limit": 0}
            assert says == ("no-acquire-timeout" in [each.rule for each in watch.findings()])
            await ask()
            await ask()
            assert (["ask"] if found else []) == sites(watch, "no-acquire-timeout")

    def test_a_pool_that_is_too_large_is_found_after_an_hour(
        self, engines: Any, watches: Watches, clock: FakeClock
    ) -> None:
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

    def test_findings_about_the_configuration_outlive_the_watch_but_not_the_next_one(
        self, engines: Any, watches: Watches
    ) -> None:
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

"""
`docs/what-people-ask.md` and the articles in `docs/errors/` quote error messages, and say what
poolscope shows of each.

Each case here makes the libraries raise or log such a message, and compares what is shown.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiohttp
import asyncpg
import pytest
import sqlalchemy

from behaviour.programs import mistakes
from behaviour.programs.website import website
from behaviour.programs.world import World
from poolscope.readings.findings import RULES
from support.probing import bouncers

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres

__all__ = ["bouncers"]

DOCS: Final = Path(__file__).parent.parent.parent / "docs"
ARTICLES: Final = {page.stem: page.read_text() for page in (DOCS / "errors").glob("*.md")}
PAGE: Final = "\n".join([(DOCS / "what-people-ask.md").read_text(), *ARTICLES.values()])

ERRORS: Final = (
    OSError, RuntimeError, TimeoutError, aiohttp.ClientError, asyncpg.PostgresError,
    asyncpg.InterfaceError, sqlalchemy.exc.SQLAlchemyError,
)  # fmt: skip


class Case(NamedTuple):
    """
    ask: does the mistake. message: what it raises or logs, and what the page quotes.
    numbers: what the snapshot counts. findings: the rules that find it.
    """

    ask: Callable[[World], Any]
    message: str
    numbers: dict[str, int]
    findings: tuple[str, ...] = ()


FAILED: Final = {"failed": 1, "open_failed": 1, "acquired": 0}

CASES: Final = (
    Case(mistakes.exhausted, "QueuePool limit of size", {"timed_out": 1, "acquired": 1}),
    Case(mistakes.exhausted_asyncpg, "TimeoutError", {"timed_out": 1, "acquired": 1}),
    Case(mistakes.exhausted_aiohttp, "Connection timeout to host", {"timed_out": 1, "acquired": 1}),
    Case(
        mistakes.blocked_loop, "QueuePool limit of size", {"timed_out": 1}, ("blocks-event-loop",)
    ),
    Case(
        mistakes.collected,
        "The garbage collector is trying to clean up non-checked-in connection",
        {"leaks_abandoned": 1, "in_use": 0},
        ("abandoned",),
    ),
    Case(mistakes.unread, "Unclosed response", {"leaks_abandoned": 1}, ("abandoned",)),
    Case(mistakes.unclosed, "Unclosed client session", {"closed": 1}, ("never-closed",)),
    Case(mistakes.unclosed, "Unclosed connector", {"closed": 1}, ("never-closed",)),
    Case(mistakes.refused, "Cannot connect to host", {"open_failed": 1, "failed": 1}),
    Case(
        mistakes.closed_by_the_server_while_idle, "Server disconnected", {"reused": 1, "closed": 1}
    ),
    Case(
        mistakes.no_more_clients, "FATAL: sorry, too many clients already", FAILED, ("oversized",)
    ),
    Case(
        mistakes.reserved_connections,
        "remaining connection slots are reserved for roles with the SUPERUSER attribute",
        FAILED,
        ("oversized",),
    ),
    Case(
        mistakes.ended_while_idle,
        "terminating connection due to administrator command",
        {"invalidated": 1, "reused": 1},
        ("stale-connections",),
    ),
    Case(
        mistakes.ended_in_a_transaction,
        "Can't reconnect until invalid transaction is rolled back",
        {"invalidated": 1, "closed": 1},
    ),
    Case(
        mistakes.ended_in_a_query,
        "connection was closed in the middle of operation",
        {"closed": 1, "in_use": 0},
    ),
    Case(
        mistakes.shared_connection,
        "cannot perform operation: another operation is in progress",
        {"acquired": 1},
    ),
    Case(
        mistakes.shared_session,
        "This session is provisioning a new connection; concurrent operations are not permitted",
        {"acquired": 1},
    ),
    Case(
        mistakes.outside_a_task,
        "Timeout context manager should be used inside a task",
        {"acquired": 0, "failed": 0},
    ),
    Case(
        mistakes.synchronous_call,
        "greenlet_spawn has not been called; can't call await_() here",
        {"failed": 1},
    ),
    Case(mistakes.closed_pool, "pool is closed", {"failed": 1}),
    Case(mistakes.pool_that_is_not_open, "pool is not initialized", {"failed": 1}),
    Case(mistakes.closed_session, "Session is closed", {"acquired": 0, "failed": 0}),
)


@pytest.fixture(scope="module")
def http() -> Iterator[str]:
    with website() as address:
        yield address


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning",  # of what is not closed
    "ignore:The garbage collector is trying:sqlalchemy.exc.SAWarning",
    "ignore:coroutine 'connect' was never awaited:RuntimeWarning",  # of a synchronous call
)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.ask.__name__}: {case.message}")
def test_the_page_says_what_is_shown(
    case: Case, postgres: EmbeddedPostgres, http: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(postgres, http)
    said = []
    try:
        if inspect.iscoroutinefunction(case.ask):
            asyncio.run(case.ask(world))
        else:
            case.ask(world)
    except* ERRORS as group:
        said = [in_words(error) for error in leaves(group)]
    gc.collect()
    said += [record.getMessage() for record in caplog.records]
    assert any(case.message in one_line(text) for text in said), said
    assert case.message in one_line(PAGE)

    (watch,) = world.watched
    shown = watch.snapshot()
    found = tuple(finding.rule for finding in watch.findings())
    assert (case.numbers, case.findings) == (
        {name: getattr(shown, name) for name in case.numbers},
        found,
    )


async def test_a_pgbouncer_that_accepts_no_more(bouncers: Any, postgres: EmbeddedPostgres) -> None:
    message = "no more connections allowed (max_client_conn)"
    assert message in PAGE
    bouncer = bouncers(max_client_conn=2)
    world = World(postgres, "")
    pool = world.watch(asyncpg.create_pool(bouncer.dsn("postgres"), min_size=0, max_size=3))
    async with pool:
        taken = [await pool.acquire(timeout=60) for _ in range(2)]
        with pytest.raises(asyncpg.PostgresError, match=re.escape(message)):
            await pool.acquire(timeout=60)
        shown = world.watched[0].snapshot()
        assert (2, 1, 1) == (shown.acquired, shown.failed, shown.open_failed)
        for connection in taken:
            await pool.release(connection)


def leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error


def in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def one_line(words: str) -> str:
    return " ".join(words.split())


def test_the_page_names_what_exists() -> None:
    metrics = (DOCS / "metrics.md").read_text()
    names = set(re.findall(r"connpool_\w+", PAGE))
    assert names == {name for name in names if f"`{name}`" in metrics}
    rules = set(re.findall(r"findings/([\w-]+)\.md", PAGE))
    assert rules == rules & set(RULES)

"""
A correct program gets no finding, and nothing of it is called nested, overdue or abandoned.

Each row of the table is a program as the documentation of its library or framework has it. It runs
watched, against real servers, under a load that its pool can bear, and is scraped meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
import aiohttp.client
import pytest
import uvloop

from behaviour.programs import (
    aiohttp_session,
    async_sqlalchemy,
    asyncpg_pool,
    further_uses,
    jobs,
    pools_of_sqlalchemy,
    services,
    sync_sqlalchemy,
)
from behaviour.programs.website import website
from behaviour.programs.world import World

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres


class Row(NamedTuple):
    """
    program: runs in a `World`, and closes its pools at its end.
    acquired: how many connections its callers get, over all its pools.
    nested: how many of them while they hold another one, where that does no harm.
    hints: the findings of severity info that the page of each calls fine for such a program.
    wrong: what poolscope says wrongly of the program today.
    """

    program: Callable[[World], Any]
    acquired: int = 60
    nested: int = 0
    hints: Sequence[str] = ()
    wrong: str = ""


OLD_AIOHTTP = aiohttp.__version__.startswith(("3.9.", "3.10."))

DEFAULTS = ["no-limit-per-host"]
if getattr(aiohttp.client.DEFAULT_TIMEOUT, "sock_connect", None) is None:  # before aiohttp 3.10.9
    DEFAULTS.append("no-connect-timeout")

PROGRAMS = (
    Row(sync_sqlalchemy.connection_for_each_request),
    Row(sync_sqlalchemy.transaction_for_each_request),
    Row(sync_sqlalchemy.session_for_each_request),
    Row(sync_sqlalchemy.session_that_commits_often, acquired=50),
    Row(sync_sqlalchemy.scoped_session_of_each_thread),
    Row(sync_sqlalchemy.nested_transactions, acquired=1),
    Row(sync_sqlalchemy.connection_passed_on),
    Row(sync_sqlalchemy.rows_streamed, acquired=5),
    Row(sync_sqlalchemy.connection_of_the_driver),
    Row(sync_sqlalchemy.work_shared_among_threads, acquired=240),
    Row(sync_sqlalchemy.tables_inspected, acquired=7),
    Row(sync_sqlalchemy.connections_dealt_out),
    Row(sync_sqlalchemy.session_handed_to_a_thread),
    Row(pools_of_sqlalchemy.without_a_pool, hints=("null-pool",)),
    Row(
        pools_of_sqlalchemy.two_connections_without_a_pool,
        acquired=10,
        nested=5,
        hints=("null-pool",),
    ),
    Row(pools_of_sqlalchemy.database_in_memory, acquired=41),
    Row(pools_of_sqlalchemy.connection_of_each_thread),
    Row(pools_of_sqlalchemy.events_of_the_pool),
    Row(pools_of_sqlalchemy.connection_detached, acquired=5),
    Row(pools_of_sqlalchemy.server_that_restarts, acquired=180),
    Row(pools_of_sqlalchemy.several_pools, acquired=120),
    Row(
        pools_of_sqlalchemy.tenants,
    ),
    Row(pools_of_sqlalchemy.disposed_when_idle, acquired=25),
    Row(pools_of_sqlalchemy.options_of_an_engine, acquired=120),
    Row(pools_of_sqlalchemy.watched_while_in_use),
    Row(pools_of_sqlalchemy.pool_of_another_driver),
    Row(async_sqlalchemy.connection_for_each_request),
    Row(async_sqlalchemy.session_for_each_request),
    Row(async_sqlalchemy.scoped_session_of_each_request),
    Row(async_sqlalchemy.rows_streamed, acquired=5),
    Row(async_sqlalchemy.synchronous_code_in_a_session, acquired=20),
    Row(async_sqlalchemy.requests_that_clients_give_up, acquired=6),
    Row(async_sqlalchemy.without_a_pool, hints=("null-pool",)),
    Row(async_sqlalchemy.parts_of_a_request_in_tasks, acquired=180),
    Row(async_sqlalchemy.background_task_after_the_answer, acquired=120),
    Row(async_sqlalchemy.generator_of_sessions),
    Row(async_sqlalchemy.listener_in_the_driver, acquired=2),
    Row(asyncpg_pool.one_pool_for_the_service),
    Row(asyncpg_pool.transactions),
    Row(asyncpg_pool.cursors, acquired=5),
    Row(asyncpg_pool.prepared_statements),
    Row(asyncpg_pool.many_rows),
    Row(asyncpg_pool.methods_of_the_pool, acquired=240),
    Row(asyncpg_pool.acquire_within_a_deadline),
    Row(asyncpg_pool.acquire_and_release),
    Row(asyncpg_pool.callbacks_of_the_pool),
    Row(asyncpg_pool.listener, acquired=61),
    Row(asyncpg_pool.requests_that_clients_give_up, acquired=6),
    Row(asyncpg_pool.idle_connections_that_are_closed, acquired=2),
    Row(asyncpg_pool.password_that_changes),
    Row(asyncpg_pool.parts_of_a_request_in_tasks, acquired=180),
    Row(asyncpg_pool.server_that_restarts, acquired=180),
    Row(asyncpg_pool.connections_dealt_out),
    Row(asyncpg_pool.watched_while_in_use),
    Row(asyncpg_pool.errors_kept),
    Row(asyncpg_pool.workers_of_a_queue),
    Row(aiohttp_session.one_session_for_the_service),
    Row(aiohttp_session.session_with_all_defaults, hints=DEFAULTS),
    Row(aiohttp_session.responses_read_without_a_context),
    Row(aiohttp_session.streaming_download, acquired=5),
    Row(aiohttp_session.downloads_that_are_given_up, acquired=6),
    Row(aiohttp_session.uploads),
    Row(aiohttp_session.websocket, acquired=1),
    Row(aiohttp_session.bot, acquired=21),
    Row(aiohttp_session.retries, acquired=120),
    Row(aiohttp_session.errors_raised_for_a_status),
    Row(aiohttp_session.status_alone, acquired=120),
    Row(aiohttp_session.redirects, acquired=120),
    Row(aiohttp_session.cookies, acquired=61),
    Row(aiohttp_session.several_sessions, acquired=120),
    Row(aiohttp_session.traces),
    Row(aiohttp_session.many_requests_at_once, acquired=100),
    Row(aiohttp_session.proxy_of_requests, acquired=120),
    Row(aiohttp_session.session_of_a_job, acquired=20),
    Row(aiohttp_session.plain_http_without_verification),
    Row(aiohttp_session.requests_with_limits_of_their_own),
    Row(aiohttp_session.requests_that_take_too_long, acquired=3),
    Row(aiohttp_session.the_first_answer_counts, acquired=66),
    Row(aiohttp_session.response_passed_to_another_task),
    Row(services.fastapi_with_an_async_session),
    Row(services.fastapi_in_threads),
    Row(services.fastapi_with_a_background_task, acquired=120),
    Row(services.starlette_with_a_lifespan, acquired=120),
    Row(services.starlette_that_streams),
    Row(services.service_of_aiohttp, acquired=120),
    Row(services.flask_with_a_session_of_the_request),
    Row(services.flask_that_streams),
    Row(services.django_with_an_engine),
    Row(services.clients_that_go_away, acquired=10),
    Row(services.health_check, acquired=48),
    Row(jobs.worker_of_a_queue, acquired=120),
    Row(jobs.command_line, acquired=1),
    Row(jobs.fixture_of_a_test_suite, acquired=20),
    Row(
        jobs.job_of_each_hour,
        acquired=24,
    ),
    Row(jobs.coroutines_of_each_run, acquired=5),
    Row(jobs.one_engine_for_several_loops, acquired=5, hints=("null-pool",)),
    Row(further_uses.schema_of_each_tenant),
    Row(further_uses.reads_from_a_replica, acquired=120),
    Row(further_uses.fixture_with_savepoints),
    Row(further_uses.advisory_lock, acquired=66),
    Row(further_uses.rows_copied, acquired=1),
    Row(further_uses.stream_after_the_reads),
    Row(further_uses.event_loop_of_each_test),
    Row(further_uses.threads_that_ask_the_loop),
    Row(further_uses.workers_of_a_stream),
    Row(further_uses.outbox, acquired=180),
)

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
if sys.version_info >= (3, 12):

    def eager_loop() -> asyncio.AbstractEventLoop:
        """Return a loop whose tasks begin at once, in the middle of the one that starts them."""
        loop = asyncio.new_event_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        return loop

    LOOPS["eager"] = eager_loop


@pytest.fixture(scope="module")
def http() -> Iterator[str]:
    with website() as address:
        yield address


def runs() -> Iterator[Any]:
    """Each program, and those of coroutines with each kind of event loop."""
    for row in PROGRAMS:
        module = row.program.__module__.rpartition(".")[2]
        for loop in LOOPS if inspect.iscoroutinefunction(row.program) else [""]:
            name = "-".join([f"{module}.{row.program.__name__}", *([loop] if loop else [])])
            yield pytest.param(row, loop, id=name, marks=marks(row, loop))


def marks(row: Row, loop: str) -> list[pytest.MarkDecorator]:
    if row.wrong:
        return [pytest.mark.xfail(reason=row.wrong, strict=True)]
    if OLD_AIOHTTP and row.program is aiohttp_session.the_first_answer_counts:
        return [pytest.mark.skip("this aiohttp hangs, unwatched as well")]
    if OLD_AIOHTTP and loop == "uvloop" and row.program is aiohttp_session.session_of_a_job:
        # How late depends on the machine.
        late = "this aiohttp returns a connection late, which is logged as out when it is closed"
        return [pytest.mark.xfail(reason=late, strict=False)]
    return []


@pytest.mark.parametrize(("row", "loop"), [*runs()])
def test_a_correct_program_gets_no_finding(
    row: Row, loop: str, postgres: EmbeddedPostgres, http: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "poolscope")
    world = World(postgres, http)
    if loop:
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(row.program(world))
    else:
        row.program(world)
    gc.collect()
    world.scrape()

    expected = {"acquired": row.acquired, "nested": row.nested} | dict.fromkeys(NONE, 0)
    hints = {(rule, "info") for rule in row.hints}
    logged = [record.getMessage() for record in caplog.records if record.name == "poolscope"]
    assert (expected, hints, []) == (seen(world), findings(world), logged)


NONE = (
    *("in_use", "opening", "waiting", "overdue", "abandoned"),
    *("timed_out", "cancelled", "failed", "leaks_overdue", "leaks_abandoned"),
)
"""What there is none of at the end of a correct program."""


def seen(world: World) -> dict[str, float]:
    """Return what the program has done and what is left, over all its pools, which have ended."""
    snapshots = {id(watch): watch.snapshot() for watch in world.watched}.values()
    return {
        name: sum(getattr(snapshot, name) for snapshot in snapshots)
        for name in ("acquired", "nested", *NONE)
    }


def findings(world: World) -> set[tuple[str, str]]:
    return {(found.rule, found.severity) for found in world.findings()}


HELPERS = {services.engine_of}
"""Functions of the programs' modules that look like a program."""


def test_each_program_is_in_the_table() -> None:
    modules = (
        *(sync_sqlalchemy, pools_of_sqlalchemy, async_sqlalchemy),
        *(asyncpg_pool, aiohttp_session, services, jobs, further_uses),
    )
    programs = {
        function
        for module in modules
        for function in vars(module).values()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and ["world"] == list(inspect.signature(function).parameters)
    }
    assert programs - HELPERS == {row.program for row in PROGRAMS}

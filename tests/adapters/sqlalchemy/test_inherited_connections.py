"""Engines in a forked child: what is a mistake with connections of the parent, and what is not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy
from sqlalchemy import event, exc
from sqlalchemy.pool import NullPool, QueuePool, SingletonThreadPool, StaticPool

from poolscope import Watch
from poolscope.watching.watches import Watches

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    # What a child drops without closing it is the parent's.
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
]


def use(engine: sqlalchemy.Engine) -> None:
    engine.connect().close()


def mistakes(watch: Watch) -> list[tuple[str, str]]:
    """Return the function and the message of each line that shares a connection."""
    return [
        (site.rpartition(" ")[2], finding.message)
        for finding in watch.findings()
        if finding.rule == "shared-across-fork"
        for site in finding.sites
    ]


def in_a_child(tell: Callable[[], object]) -> Any:
    """Return the representation of what `tell` returns in a child."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, repr(tell()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return told


@pytest.fixture
def engine(tmp_path: Path) -> Any:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'shop.db'}", poolclass=QueuePool)
    yield engine
    engine.dispose()


def test_a_connection_of_the_parent_that_a_child_uses_is_found_with_both_processes(
    engine: sqlalchemy.Engine, watches: Watches
) -> None:
    watch = watches.watch(engine, registry=None)
    use(engine)

    def tell() -> object:
        use(engine)
        use(engine)
        ((site, message),) = mistakes(watch)
        return site, message.replace(str(os.getpid()), "CHILD")

    message = (
        f"a connection that process {os.getpid()} had opened was used by its forked child CHILD; "
        "each may read the answers that the other waits for"
    )
    assert in_a_child(tell) == repr(("use", message))
    assert [] == mistakes(watch)


def test_a_connection_that_a_child_only_returns_is_found_with_the_line_of_the_parent(
    engine: sqlalchemy.Engine, watches: Watches
) -> None:
    watch = watches.watch(engine, registry=None)

    def hold() -> sqlalchemy.Connection:
        return engine.connect()

    def tell() -> object:
        held.close()
        return [site.rpartition(".")[2] for site, _ in mistakes(watch)]

    held = hold()
    assert in_a_child(tell) == repr(["hold"])
    held.close()


def drop(engine: sqlalchemy.Engine) -> None:
    """What the child of a fork should do first."""
    engine.dispose(close=False)


def refuse(engine: sqlalchemy.Engine) -> None:
    """Let the engine refuse connections of another process, as SQLAlchemy's documentation does."""

    @event.listens_for(engine, "connect")
    def connected(_: object, record: Any) -> None:
        record.info["pid"] = os.getpid()

    @event.listens_for(engine, "checkout")
    def check(_: object, record: Any, proxy: Any) -> None:
        if record.info["pid"] != os.getpid():
            record.dbapi_connection = proxy.dbapi_connection = None
            raise exc.DisconnectionError("it belongs to the parent")


def do_nothing(_: sqlalchemy.Engine) -> None:
    """Neither in the parent nor in the child."""


CORRECT: Final = {
    "it drops what it has inherited": (QueuePool, "", do_nothing, drop),
    "it refuses what it has inherited": (QueuePool, "", refuse, do_nothing),
    "it opens its own": (NullPool, "", do_nothing, do_nothing),
    "a database in memory": (StaticPool, ":memory:", do_nothing, do_nothing),
    "one in memory for each thread": (SingletonThreadPool, ":memory:", do_nothing, do_nothing),
}


@pytest.mark.parametrize("case", CORRECT)
def test_correct_code_in_a_child_has_no_finding(
    watches: Watches, tmp_path: Path, case: str
) -> None:
    poolclass, database, prepare, begin = CORRECT[case]
    url = f"sqlite:///{database or tmp_path / 'shop.db'}"
    engine = sqlalchemy.create_engine(url, poolclass=poolclass)
    prepare(engine)
    watch = watches.watch(engine, registry=None)
    use(engine)

    def tell() -> object:
        begin(engine)
        use(engine)
        return watch.snapshot().acquired, mistakes(watch)

    assert in_a_child(tell) == repr((1, []))
    engine.dispose()


def counted(watch: Watch) -> tuple[float, float]:
    now = watch.snapshot()
    return now.instances, now.limit


def test_a_pool_that_is_only_inherited_counts_from_its_first_use_on(
    engine: sqlalchemy.Engine, watches: Watches
) -> None:
    watch = watches.watch(engine, registry=None)
    own = 1, watch.snapshot().limit

    def tell() -> object:
        before = counted(watch)
        drop(engine)
        dropped = counted(watch)
        use(engine)
        return before, dropped, counted(watch)

    # Until it forks, a process has its pool for itself.
    assert own == counted(watch)
    assert in_a_child(tell) == repr(((0, 0.0), (0, 0.0), own))
    assert (0, 0.0) == counted(watch)
    use(engine)
    assert own == counted(watch)
    # Now it is the parent's own.
    assert in_a_child(tell) == repr(((0, 0.0), (0, 0.0), own))
    assert own == counted(watch)

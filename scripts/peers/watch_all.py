"""
A pytest plugin that watches every pool: from the end of its own `__init__` on, with call sites.

It is loaded beside `record`, which gets the internal errors of poolscope. Of the three libraries
only those that are installed are touched.
"""

from __future__ import annotations

import functools
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import FrameType
from typing import Any, Final

import pytest
from prometheus_client import CollectorRegistry
from scripts.peers import record

import poolscope
from poolscope.errors import internal_errors

# Functions of SQLAlchemy that make a pool which somebody else watches: `create_engine` is replaced
# below, and poolscope itself watches what takes the place of a watched pool.
WATCHED_BY_OTHERS: Final = frozenset({"create_engine", "recreate"})

STARS: Final[dict[Any, str]] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}


_registry: Final = CollectorRegistry()


def watch(target: Any) -> None:
    """Watch a pool, under a name that it shares with all others."""
    poolscope.watch(target, name="peers", registry=_registry)
    record.watched()


def watch_new_objects(base: Any, is_left_out: Callable[[Any, FrameType], bool]) -> None:
    """
    Watch each new object of `base` and its subclasses, as soon as its outermost `__init__` ends.

    is_left_out: whether not to watch an object, by the object and the frame that made it.
    """

    def wrap_init(cls: Any) -> None:
        def finished(made: Any, caller: FrameType) -> None:
            # A subclass that has an `__init__` of its own has not finished yet.
            if type(made).__init__ is wrapper and not is_left_out(made, caller):
                watch(made)

        if "__init__" in vars(cls):
            wrapper = cls.__init__ = followed_by(cls.__init__, finished)

    def init_subclass(cls: type[Any], /, **kwargs: Any) -> None:
        super(base, cls).__init_subclass__(**kwargs)
        wrap_init(cls)

    for cls in _with_subclasses(base):
        wrap_init(cls)
    base.__init_subclass__ = classmethod(init_subclass)


def followed_by(
    original: Callable[..., None], finished: Callable[[Any, FrameType], None]
) -> Callable[..., None]:
    """
    Return an `__init__` that calls `finished` with the object and the frame that makes it.

    SQLAlchemy reads the names of the parameters from the code of an `__init__`, so they are those
    of the original.
    """
    parameters = inspect.signature(original).parameters.values()
    declared: list[str] = []
    passed: list[str] = []
    for parameter in parameters:
        stars = STARS.get(parameter.kind, "")
        default = "" if parameter.default is parameter.empty else f"=defaults[{parameter.name!r}]"
        if parameter.kind is parameter.KEYWORD_ONLY and not any("*" in one for one in declared):
            declared.append("*")
        declared.append(f"{stars}{parameter.name}{default}")
        keyword = f"{parameter.name}=" if parameter.kind is parameter.KEYWORD_ONLY else ""
        passed.append(f"{keyword}{stars}{parameter.name}")
    first = next(iter(parameters)).name
    source = (
        f"def __init__({', '.join(declared)}):\n"
        f"    original({', '.join(passed)})\n"
        f"    finished({first}, caller(1))\n"
    )
    namespace: dict[str, Any] = {
        "original": original,
        "finished": finished,
        "caller": sys._getframe,
        "defaults": {parameter.name: parameter.default for parameter in parameters},
    }
    exec(source, namespace)  # noqa: S102 - the only way to have the same parameters
    wrapper: Callable[..., None] = functools.wraps(original)(namespace["__init__"])
    return wrapper


def _with_subclasses(cls: Any) -> Iterator[Any]:
    yield cls
    for subclass in cls.__subclasses__():
        yield from _with_subclasses(subclass)


def _never(pool: object, caller: FrameType) -> bool:
    return False


def _watch_sqlalchemy() -> None:
    import sqlalchemy
    from sqlalchemy import pool
    from sqlalchemy.engine import create

    def is_left_out(made: object, caller: FrameType) -> bool:
        return caller.f_code.co_name in WATCHED_BY_OTHERS

    watch_new_objects(pool.Pool, is_left_out)
    original = create.create_engine

    @functools.wraps(original)
    def create_engine(*args: Any, **kwargs: Any) -> Any:
        engine = original(*args, **kwargs)
        # Tests also make engines of pools that are mocks, or that they have made, and so watched.
        made = isinstance(engine, sqlalchemy.Engine) and isinstance(engine.pool, pool.Pool)
        if made and kwargs.get("pool") is None:
            watch(engine)
        return engine

    for name, module in list(sys.modules.items()):
        if name.startswith("sqlalchemy") and getattr(module, "create_engine", None) is original:
            module.create_engine = create_engine  # type: ignore[attr-defined] # it has it


def _watch_asyncpg() -> None:
    import asyncpg.pool

    watch_new_objects(asyncpg.pool.Pool, _never)


def _watch_aiohttp() -> None:
    import aiohttp

    watch_new_objects(aiohttp.BaseConnector, _never)


def note_internal_errors() -> None:
    """Note the internal errors of poolscope beside the test that runs."""
    report = internal_errors.report

    def note(place: str) -> None:
        report(place)
        record.internal_error(place, traceback.format_exc())

    internal_errors.report = note  # type: ignore[method-assign] # to note it beside the test


def pytest_configure() -> None:
    note_internal_errors()
    for library, watch_all in {
        "sqlalchemy": _watch_sqlalchemy,
        "asyncpg": _watch_asyncpg,
        "aiohttp": _watch_aiohttp,
    }.items():
        if find_spec(library) is not None:
            watch_all()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Read all pools, as a scrape does; what that raises is an error of the test."""
    acquires_in(_registry)


def acquires_in(registry: CollectorRegistry) -> int:
    """Return how often a connection was acquired, of whatever pool."""
    return sum(
        int(sample.value)
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "connpool_acquires_total" and sample.labels["outcome"] == "ok"
    )


def finish(registry: CollectorRegistry) -> None:
    """Record what was acquired. Raises RuntimeError if an internal error was not noted."""
    record.acquires = acquires_in(registry)
    noted = sum(len(row["internal_errors"]) for row in record.tests.values())
    if noted != internal_errors.count:
        raise RuntimeError(f"{internal_errors.count} internal errors, of which {noted} are noted")


def pytest_sessionfinish() -> None:
    finish(_registry)

"""`poolscope size`."""

from __future__ import annotations

import argparse
import fnmatch
import json
import math
import re
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from poolscope.commands.arguments import (
    MAX_SECONDS,
    POSTGRES_VARIABLE,
    Commands,
    complain,
    count,
    dsn,
    dsns_of_environment,
    http_address,
    number,
)

if TYPE_CHECKING:
    from poolscope.sizing.advice import Server
    from poolscope.sizing.measured import Measured

UNITS: Final = {"us": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
PER: Final = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
SUPERUSERS: Final = 3
"""Connections that PostgreSQL reserves for superusers by default."""


class NoPoolError(Exception):
    """There is nothing to advise. The message is one line that says why, and what would help."""


def run(options: argparse.Namespace) -> int:
    """Print the advice; return the exit code."""
    from poolscope.sizing.http import SourceError

    try:
        _check(options)
        options.postgres = options.postgres or _postgres_of_environment(options)
    except ValueError as error:
        complain("size", f"{error} (see poolscope size --help)")
        return 2
    try:
        pools, server = _measure(options)
    except (SourceError, NoPoolError) as error:
        complain("size", error)
        return 1
    return _print(options, pools, server)


def _print(options: argparse.Namespace, pools: Sequence[Measured], server: Server) -> int:
    from poolscope.sizing import in_words
    from poolscope.sizing.advice import advise
    from poolscope.sizing.sizes import WAIT_P99, Goal

    goal = Goal(options.wait_p99 or WAIT_P99)
    if options.wait_probability is not None:
        goal = Goal(None, options.wait_probability)
    advices = [
        advise(each, goal, server if each.kind != "aiohttp" else None, options.queries)
        for each in pools
    ]
    if options.format == "json":
        text = json.dumps([in_words.as_json(advice) for advice in advices], indent=2)
    else:
        width = shutil.get_terminal_size((100, 24)).columns
        text = "\n\n".join(in_words.text(advice, width) for advice in advices)
    sys.stdout.write(f"{text}\n")
    return int(any(advice.verdict == "unreachable" for advice in advices))


def _measure(options: argparse.Namespace) -> tuple[Sequence[Measured], Server]:
    from poolscope.commands.database_server import connections_of
    from poolscope.sizing import exposition
    from poolscope.sizing.advice import Server
    from poolscope.sizing.prometheus import Prometheus, server_of

    asked, own = None, 0.0
    if options.prometheus:
        source = Prometheus(options.prometheus)
        pools = source.busiest(options.window)
        asked, own = source.server(), source.own_connections()
        where = f"Prometheus has no pool{{}} in the last {options.window:g} s: is its job "
        where += "scraped, and is its family connpool_in_use_seconds_total there?"
    elif options.url:
        readings = exposition.read(options.url, options.seconds)
        pools, last = exposition.measured(readings), readings[-1][1]
        asked, own = exposition.server(last), exposition.own_connections(last)
        where = f"no pool{{}} has been watched for the whole {options.seconds:g} s"
    else:
        pools, where = [_given(options)], ""
    found = [each for each in pools if fnmatch.fnmatchcase(each.pool, options.pool or "*")]
    if not found:
        names = ", ".join(sorted({each.pool for each in pools}))
        raise NoPoolError(
            where.format(f" {options.pool!r}" if options.pool else "")
            + (f"; there are {names}" if names else "")
        )
    if options.postgres:
        accepts, used = connections_of(options.postgres)
        asked = server_of(accepts, used - own)
    return found, _server(options, asked, Server)


def _server(
    options: argparse.Namespace, asked: tuple[int, int] | None, server: type[Server]
) -> Server:
    accepts, others = asked or (None, 0)
    if options.max_connections is not None:
        accepts, others = options.max_connections - options.reserved, 0
    if options.others is not None:
        others = options.others
    return server(accepts, others, options.surge)


def _given(options: argparse.Namespace) -> Measured:
    """Return the numbers that were given, as if they had been measured for an hour."""
    from poolscope.sizing.measured import Durations, Measured

    callers = 3600.0 * options.rate
    limit = options.limit * options.processes if options.limit else math.nan
    return Measured(
        pool=options.pool or "the pool",
        kind=options.kind or "",
        seconds=3600.0,
        in_use_seconds=callers * options.hold,
        attempts=callers,
        acquired=callers,
        waited=0.0,
        gave_up=0.0,
        nested=0.0,
        holds=Durations(),
        waits=Durations(),
        limit=limit,
        instances=options.processes,
        is_given=True,
    )


def _check(options: argparse.Namespace) -> None:
    """Raise ValueError if the options do not say where the numbers come from."""
    from poolscope.sizing.advice import MAX_LOAD

    sources = [
        options.prometheus,
        options.url,
        options.rate is not None or options.hold is not None,
    ]
    if sum(map(bool, sources)) != 1:
        raise ValueError("give one of --prometheus URL, --url URL, or --rate with --hold")
    if (options.rate is None) != (options.hold is None):
        missing = "--hold" if options.hold is None else "--rate"
        raise ValueError(f"{missing} is missing: --rate and --hold go together")
    if options.postgres and options.max_connections is not None:
        raise ValueError("give only one of --postgres and --max-connections")
    if options.rate is not None and not options.rate * options.hold <= MAX_LOAD:
        raise ValueError(
            f"--rate times --hold is {options.rate * options.hold:.6g}: more connections than "
            f"{MAX_LOAD:g} are not computed"
        )
    if options.max_connections is not None and options.max_connections <= options.reserved:
        raise ValueError(
            f"--max-connections {options.max_connections} leaves nothing beside --reserved "
            f"{options.reserved}"
        )


def _postgres_of_environment(options: argparse.Namespace) -> str | None:
    """Return the DSN of the server to ask. Raises ValueError if there are several, or a bad one."""
    if options.max_connections is not None:
        return None
    dsns = dsns_of_environment(POSTGRES_VARIABLE)
    if len(dsns) > 1:
        raise ValueError(
            f"{POSTGRES_VARIABLE} names {len(dsns)} servers: give that of the pools as --postgres"
        )
    return dsns[0] if dsns else None


def duration(text: str) -> float:
    """Return the seconds of `50ms`, `1.5s`, `5m`, `7d` or a plain number."""
    found = re.fullmatch(r"(.*?)\s*(us|ms|s|m|h|d)?", text.strip())
    value = number(found[1]) * UNITS[found[2] or "s"] if found else math.nan
    if not 0 < value <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 50ms, 1.5s, 5m or 7d")
    return value


def rate(text: str) -> float:
    """Return the callers each second of `120/s`, `7200/min` or a plain number."""
    digits, slash, unit = text.strip().partition("/")
    value = number(digits.strip()) / PER.get(unit.strip() if slash else "s", math.nan)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate such as 120/s or 7200/min")
    return value


def share(text: str) -> float:
    """Return the share of `1%` or `0.01`."""
    stripped = text.strip()
    value = number(stripped.removesuffix("%").strip()) / (100 if stripped.endswith("%") else 1)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share such as 1% or 0.01")
    return value


def positive(text: str) -> float:
    value = number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def add(commands: Commands) -> None:
    """Add the command with its options."""
    parser = commands.add_parser(
        "size",
        help="say how large a pool should be, from what was measured",
        description=(
            "Says how large a pool should be in each process, so that callers wait no longer than "
            "you allow. It takes the busiest five minutes that Prometheus has, or measures a "
            "running service, or takes numbers that you give. It says nothing where its model is "
            "not what was measured. Exit code 1: the database has too few connections for the goal."
        ),
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    source = parser.add_argument_group("where the numbers come from, one of these")
    source.add_argument(
        "--prometheus", type=http_address, metavar="URL", help="a Prometheus server"
    )
    source.add_argument(
        "--url", type=http_address, metavar="URL", help="an exporter, or /metrics of a service"
    )
    source.add_argument(
        "--rate", type=rate, metavar="RATE", help="callers each second, such as 120/s"
    )
    source.add_argument(
        "--hold", type=duration, metavar="TIME", help="how long each holds a connection: 50ms"
    )
    _add_details(parser)


def _add_details(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pool", metavar="GLOB", help="the name of the pool (default: all)")
    parser.add_argument(
        "--window",
        type=duration,
        default=604800.0,
        metavar="TIME",
        help="how far back Prometheus looks (7d)",
    )
    parser.add_argument(
        "--for",
        dest="seconds",
        type=duration,
        default=60.0,
        metavar="TIME",
        help="how long --url measures (60s)",
    )
    goal = parser.add_mutually_exclusive_group()
    goal.add_argument(
        "--wait-p99", type=duration, metavar="TIME", help="99 of 100 callers wait no longer (20ms)"
    )
    goal.add_argument(
        "--wait-probability", type=share, metavar="SHARE", help="no more callers wait, as 1%%"
    )
    parser.add_argument(
        "--postgres",
        type=dsn,
        metavar="DSN",
        help="the PostgreSQL server, which is asked how many connections it accepts and has; where "
        f"no pool was measured, all of them are those of others (default: {POSTGRES_VARIABLE})",
    )
    parser.add_argument(
        "--max-connections", type=count(1), metavar="N", help="that the server is set to"
    )
    parser.add_argument(
        "--reserved", type=count(0), default=SUPERUSERS, metavar="N", help="for superusers (3)"
    )
    parser.add_argument(
        "--others", type=count(0), metavar="N", help="connections of other applications"
    )
    parser.add_argument(
        "--surge", type=count(0), default=1, metavar="N", help="more processes in a deployment (1)"
    )
    parser.add_argument(
        "--queries",
        type=positive,
        default=1.0,
        metavar="N",
        help="of a request, for a formula to compare (1)",
    )
    given = parser.add_argument_group("with --rate and --hold")
    given.add_argument("--processes", type=count(1), default=1, metavar="N", help="that share it")
    given.add_argument("--limit", type=count(1), metavar="N", help="of each process now")
    given.add_argument(
        "--kind", choices=("sqlalchemy", "asyncpg", "aiohttp"), help="whose arguments to print"
    )
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="for people or machines (text)"
    )

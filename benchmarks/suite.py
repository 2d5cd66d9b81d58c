"""The benchmarks by name: each has processes measure, and says which bars it is about."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

from benchmarks import environments, startup
from benchmarks.figures import (
    Bar,
    Figure,
    Result,
    Row,
    added,
    added_times,
    best,
    blocks,
    exponent,
    figure,
    figure_of,
    rows,
    times,
)
from poolscope.demo.postgres import embedded_postgres

MILLI: Final = 0.001

PROCESSES: Final = 7
"""Each of them measures everything that is compared."""


class Suite:
    """One run. `quick` takes a minute or two, and has wider spreads."""

    def __init__(self, quick: bool) -> None:
        self.quick = quick
        self._servers = ExitStack()
        self._dsn = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._servers.close()

    def run(self, name: str) -> Iterator[Result]:
        yield from BENCHMARKS[name](self)

    @property
    def dsn(self) -> str:
        """That of a PostgreSQL server, which is started when it is first needed."""
        if not self._dsn:
            self._dsn = self._servers.enter_context(embedded_postgres()).dsn
        return self._dsn

    def seconds(self, long: float) -> float:
        return long / 10 if self.quick else long

    def by_processes(self, module: str, python: Path, seconds: float, **options: Any) -> list[Any]:
        """Have several processes measure, for that long in sum."""
        number = 3 if self.quick else PROCESSES
        each = self.seconds(seconds) / number
        return environments.measured_by(number, module, python, seconds=each, **options)

    # SQLAlchemy

    def sqlalchemy(self) -> Iterator[Result]:
        for how, title in (
            ("one", "SQLAlchemy QueuePool, one caller"),
            ("threads", "SQLAlchemy QueuePool, 8 threads"),
            ("async", "SQLAlchemy async engine"),
        ):
            newest, older = (
                _cpu(self.by_processes("sqlalchemy_cycle", python, 12.0, how=how))
                for python in (environments.HERE, environments.second())
            )
            yield Result(
                f"sqlalchemy-{how}",
                f"{title}: checkout and checkin, us of CPU",
                rows(newest, "us"),
                [
                    _bar(newest, f"{title}: added, of two empty listeners'", "listeners", 2.5),
                    _bar(newest, f"{title}: added, of four prometheus metrics'", "prometheus", 1.0),
                    Bar(
                        f"{title}: added with a mapped file, of that in private memory",
                        figure(newest, added_times("mapped", "poolscope")),
                        1.15,
                    ),
                ],
                [],
            )
            yield Result(
                f"sqlalchemy-{how}-2.0",
                f"{title}, SQLAlchemy 2.0: checkout and checkin, us of CPU",
                rows(older, "us"),
                [_bar(older, f"{title}: added, of OpenTelemetry's", "opentelemetry", 0.1)],
                [],
            )

    # asyncpg and aiohttp

    def asyncpg(self) -> Iterator[Result]:
        for loop in ("asyncio", "uvloop"):
            for query in (False, True):
                what = f"asyncpg, {loop}, {'SELECT 1' if query else 'acquire and release'}"
                python, options = environments.second(), {"dsn": self.dsn, "loop": loop}
                timings = self.by_processes("asyncpg_cycle", python, 12.0, query=query, **options)
                bars = []
                if loop == "uvloop" and not query:
                    bars = [_share(timings, f"{what}: CPU added, of a cycle", "bare", 0.04)]
                name = f"asyncpg-{loop}-{'select' if query else 'acquire'}"
                yield from _both_clocks(name, what, timings, bars)

    def aiohttp(self) -> Iterator[Result]:
        for loop in ("asyncio", "uvloop"):
            what = f"aiohttp, {loop}, request that is kept alive"
            timings = self.by_processes("aiohttp_cycle", environments.second(), 18.0, loop=loop)
            bar = _share(
                timings,
                f"{what}: CPU more than an empty TraceConfig's, of a request",
                "empty TraceConfig",
                0.03,
            )
            yield from _both_clocks(f"aiohttp-{loop}", what, timings, [bar])

    # Contention

    def contention(self) -> Iterator[Result]:
        for kind, title in (("threads", "QueuePool"), ("tasks", "asyncpg, uvloop")):
            found = self.by_processes(
                "contention", environments.HERE, 42.0, kind=kind, dsn=self.dsn
            )
            what = f"Pool of 5 with 200 {kind}, {title}"
            through, p99 = [one["throughput"] for one in found], [one["p99"] for one in found]
            yield Result(
                f"contention-{kind}",
                f"{what}: connections a second, and the 99th percentile of waits in ms",
                [
                    *rows(through, "/s", typical=statistics.median),
                    *rows(p99, "ms", scale=1000.0, typical=statistics.median),
                ],
                [
                    Bar(
                        f"{what}: throughput, of bare",
                        figure(through, lambda part: times(part, "poolscope")),
                        0.97,
                        at_least=True,
                    ),
                    Bar(
                        f"{what}: p99, of bare",
                        figure(p99, lambda part: times(part, "poolscope")),
                        1.05,
                    ),
                ],
                [],
            )

    # Scrapes

    def scrape(self) -> Iterator[Result]:
        found = {
            number: environments.measured(
                "scrape",
                what="time",
                pools=number,
                seconds=self.seconds(18.0),
                rounds=2 if self.quick else 9,
            )
            for number in (1, 100, 1000)
        }
        sizes = [one["samples"] for one in found.values()]
        largest = blocks(found[1000]["timings"]["cpu"])
        bars = [
            Bar(
                "Scrape of 1,000 pools, of prometheus_client's for as many samples",
                figure(largest, lambda part: times(part, "poolscope", "prometheus")),
                1.3,
            ),
            _growth("Scrape: time grows with samples to the power of", sizes, found),
        ]
        yield _scrapes("scrape", "Scrape of one process", "pools", found, bars)

    def blocks(self) -> Iterator[Result]:
        found: dict[str, list[float]] = {}
        for of in ("prometheus", "poolscope", "prometheus ASGI", "poolscope ASGI"):
            found |= environments.measured(
                "scrape",
                what="blocks",
                pools=1000,
                rounds=1 if self.quick else 5,
                scrapes=1 if self.quick else 3,
                of=of,
            )
        what = "Event loop while 1,000 pools are scraped"
        late = {
            of: figure_of([seconds * 1000 for seconds in found[of]])
            for of in ("poolscope", "poolscope ASGI")
        }
        yield Result(
            "blocks",
            f"{what}: ms that it is late at most, in each round",
            rows([found], "ms", "nothing", 1000.0, statistics.median),
            # Of the best round: what else runs on the machine makes any other longer.
            [
                Bar(f"{what}, {of}: blocked", figure._replace(value=figure.low), 10.0, "ms")
                for of, figure in late.items()
            ],
            [],
        )

    def exporter(self) -> Iterator[Result]:
        found = {
            number: environments.measured("exporter", processes=number, seconds=self.seconds(12.0))
            for number in (1, 8, 64)
        }
        bars = [_growth("Exporter: time grows with processes to the power of", list(found), found)]
        title = "Scrape of the exporter, 20 pools each"
        yield _scrapes("exporter", title, "processes", found, bars)

    # Memory and start-up

    def counts(self) -> Iterator[Result]:
        what = "SQLAlchemy QueuePool, checkout and checkin"
        rounds = environments.measured_by(3, "counts", number=100)
        yield Result(
            "counts",
            f"{what}: bytecodes, which are the same in every run",
            rows(rounds, ""),
            [],
            [],
        )

    def memory(self) -> Iterator[Result]:
        number = 100 if self.quick else 1000
        pools = environments.measured("memory", what="pools", number=number)
        private = environments.measured("memory", what="private", number=2 * number)
        without, with_it = (
            environments.measured("memory", what="holds", number=100, watched=watched)["bytes"]
            for watched in (False, True)
        )
        hold = with_it - without
        yield Result(
            "memory",
            "Bytes of a pool of 20 and of a connection that is out, without and with a watch",
            [
                _bytes("pool", pools["bare"], pools["bare"]),
                _bytes("watched pool", pools["bare"] + pools["poolscope"], pools["bare"]),
                _bytes("watched pool, private memory", sum(private.values()), private["bare"]),
                _bytes("connection out", without, without),
                _bytes("connection out, watched", with_it, without),
            ],
            [
                Bar("Memory: a watched pool", figure_of([pools["poolscope"]]), 8192, "B"),
                Bar("Memory: an open hold", figure_of([hold]), 200, "B"),
            ],
            [],
        )

    def startup(self) -> Iterator[Result]:
        found = blocks(startup.measure(10 if self.quick else 50))
        more = figure(found, lambda part: added(part, "poolscope", "prometheus_client"))
        yield Result(
            "startup",
            "A process that imports, ms of CPU",
            rows(found, "ms", "prometheus_client"),
            [Bar("`import poolscope`, more than `import prometheus_client`", more, 25.0, "ms")],
            [],
        )


BENCHMARKS: Final[dict[str, Callable[[Suite], Iterator[Result]]]] = {
    "sqlalchemy": Suite.sqlalchemy,
    "asyncpg": Suite.asyncpg,
    "aiohttp": Suite.aiohttp,
    "contention": Suite.contention,
    "scrape": Suite.scrape,
    "blocks": Suite.blocks,
    "exporter": Suite.exporter,
    "counts": Suite.counts,
    "memory": Suite.memory,
    "startup": Suite.startup,
}


def _bar(rounds: Sequence[Any], what: str, other: str, limit: float) -> Bar:
    return Bar(what, figure(rounds, added_times("poolscope", other)), limit)


def _share(timings: Sequence[Any], what: str, base: str, limit: float) -> Bar:
    """
    Return the CPU time that is added, as a part of how long a cycle lasts without a watch.

    Of the latter the clock on the wall is right, of the best rounds, as whatever else runs on
    the machine makes it longer; of the former that clock would be too coarse.
    """

    def share(timings: Any) -> float:
        return added(timings["cpu"], "poolscope", base) / best(timings["wall"]["bare"])

    return Bar(what, figure(timings, share), limit)


def _both_clocks(name: str, what: str, timings: Sequence[Any], bars: list[Bar]) -> Iterator[Result]:
    yield Result(name, f"{what}: us of CPU", rows(_cpu(timings), "us"), bars, [])
    wall = [one["wall"] for one in timings]
    yield Result(f"{name}-wall", f"{what}: us", rows(wall, "us"), [], [])


def _cpu(timings: Sequence[Any]) -> list[Any]:
    return [one["cpu"] for one in timings]


def _growth(what: str, sizes: list[int], found: dict[int, Any]) -> Bar:
    best = [min(one["timings"]["cpu"]["poolscope"]) for one in found.values()]
    middle = [statistics.median(one["timings"]["cpu"]["poolscope"]) for one in found.values()]
    both = exponent(sizes, best), exponent(sizes, middle)
    return Bar(what, Figure(both[1], min(both), max(both)), 1.1)


def _scrapes(name: str, title: str, of: str, found: dict[int, Any], bars: list[Bar]) -> Result:
    table: list[Row] = []
    for number, one in found.items():
        for row in rows(blocks(one["timings"]["cpu"]), "ms", "prometheus", MILLI):
            variant = f"{number} {of}, {one['samples']} samples, {row.variant}"
            table.append(row._replace(variant=variant))
    sizes = ", ".join(f"{one['bytes']} bytes of {number} {of}" for number, one in found.items())
    middle = [statistics.median(one["timings"]["cpu"]["poolscope"]) for one in found.values()]
    line = statistics.linear_regression(list(found), middle)
    each = f"{line.slope:.0f} us of each of the {of}, by a line through them"
    return Result(name, f"{title}: ms of CPU", table, bars, [sizes, each])


def _bytes(name: str, value: float, base: float) -> Row:
    return Row(name, "B", figure_of([value]), value - base, value / base)

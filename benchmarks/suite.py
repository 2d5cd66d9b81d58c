"""The benchmarks by name. Each runs measuring processes, and has targets."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

from benchmarks import environments, startup, watch_times
from benchmarks.figures import (
    Figure,
    Result,
    Row,
    Target,
    added,
    added_times,
    best,
    blocks,
    exponent,
    figure,
    figure_of,
    rows,
    times,
    times_an_ordinary_use,
)
from poolscope.demo.postgres import embedded_postgres

MILLI: Final = 0.001

PROCESSES: Final = 7
"""How many processes measure one benchmark; each measures all its variants."""


class Suite:
    """One run of the benchmarks; `quick` takes a few minutes, and its figures vary more."""

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
        """The DSN of a PostgreSQL server, which is started on first use."""
        if not self._dsn:
            self._dsn = self._servers.enter_context(embedded_postgres()).dsn
        return self._dsn

    def seconds(self, long: float) -> float:
        return long / 10 if self.quick else long

    def by_processes(self, module: str, python: Path, seconds: float, **options: Any) -> list[Any]:
        """Return the results of several processes, which measure for `seconds` in all."""
        number = 3 if self.quick else PROCESSES
        seconds_each = self.seconds(seconds) / number
        return environments.measure_repeatedly(
            number, module, python, seconds=seconds_each, **options
        )

    # SQLAlchemy

    def sqlalchemy(self) -> Iterator[Result]:
        for how, title in (
            ("one", "SQLAlchemy QueuePool, one caller"),
            ("threads", "SQLAlchemy QueuePool, 8 threads"),
            ("async", "SQLAlchemy async engine"),
        ):
            newest, older = (
                _cpu(self.by_processes("sqlalchemy_cycle", python, 12.0, how=how))
                for python in (environments.THIS_PYTHON, environments.opentelemetry_python())
            )
            yield Result(
                f"sqlalchemy-{how}",
                f"{title}: checkout and checkin, us of CPU",
                rows(newest, "us"),
                [
                    _ratio(
                        newest,
                        f"{title}: added, times that of two empty listeners",
                        "listeners",
                        2.5,
                    ),
                    _ratio(
                        newest,
                        f"{title}: added, times that of four prometheus metrics",
                        "prometheus",
                        1.0,
                    ),
                    Target(
                        f"{title}: added with a mapped file, times that in private memory",
                        figure(newest, added_times("mapped", "poolscope")),
                        1.15,
                    ),
                    *times_an_ordinary_use(newest, title),
                ],
                [],
            )
            yield Result(
                f"sqlalchemy-{how}-2.0",
                f"{title}, SQLAlchemy 2.0: checkout and checkin, us of CPU",
                rows(older, "us"),
                [
                    _ratio(
                        older, f"{title}: added, times that of OpenTelemetry", "opentelemetry", 0.1
                    )
                ],
                [],
            )

    # asyncpg and aiohttp

    def asyncpg(self) -> Iterator[Result]:
        for loop in ("asyncio", "uvloop"):
            for query in (False, True):
                what = f"asyncpg, {loop}, {'SELECT 1' if query else 'acquire and release'}"
                timings = self.by_processes(
                    "asyncpg_cycle",
                    environments.opentelemetry_python(),
                    12.0,
                    dsn=self.dsn,
                    loop=loop,
                    query=query,
                )
                targets = []
                if loop == "uvloop" and not query:
                    targets = [
                        _share(
                            timings,
                            f"{what}: CPU added, share of the wall time of a cycle",
                            "bare",
                            0.04,
                        )
                    ]
                name = f"asyncpg-{loop}-{'select' if query else 'acquire'}"
                yield from _both_clocks(name, what, timings, targets)

    def aiohttp(self) -> Iterator[Result]:
        for loop in ("asyncio", "uvloop"):
            what = f"aiohttp, {loop}, request on a keep-alive connection"
            timings = self.by_processes(
                "aiohttp_cycle", environments.opentelemetry_python(), 18.0, loop=loop
            )
            target = _share(
                timings,
                f"{what}: CPU added to an empty TraceConfig, share of the wall time of a request",
                "empty TraceConfig",
                0.03,
            )
            yield from _both_clocks(f"aiohttp-{loop}", what, timings, [target])

    # Contention

    def contention(self) -> Iterator[Result]:
        for kind, title in (("threads", "QueuePool"), ("tasks", "asyncpg, uvloop")):
            results = self.by_processes(
                "contention", environments.THIS_PYTHON, 42.0, kind=kind, dsn=self.dsn
            )
            what = f"Pool of 5 with 200 {kind}, {title}"
            throughput = [result["throughput"] for result in results]
            p99 = [result["p99"] for result in results]
            yield Result(
                f"contention-{kind}",
                f"{what}: holds per second, and the 99th percentile of acquires in ms (wall time)",
                [
                    *rows(throughput, "/s", typical=statistics.median),
                    *rows(p99, "ms", scale=1000.0, typical=statistics.median),
                ],
                [
                    Target(
                        f"{what}: throughput, times that without a watch",
                        figure(throughput, lambda part: times(part, "poolscope")),
                        0.97,
                        at_least=True,
                    ),
                    Target(
                        f"{what}: p99, times that without a watch",
                        figure(p99, lambda part: times(part, "poolscope")),
                        1.05,
                    ),
                ],
                [],
            )

    # Scrapes

    def scrape(self) -> Iterator[Result]:
        results = {
            number: environments.measure(
                "scrape",
                what="time",
                pools=number,
                seconds=self.seconds(18.0),
                rounds=2 if self.quick else 9,
            )
            for number in (1, 100, 1000)
        }
        sizes = [result["samples"] for result in results.values()]
        largest = blocks(results[1000]["timings"]["cpu"])
        targets = [
            Target(
                "Scrape of 1,000 pools, times that of prometheus_client for as many samples",
                figure(largest, lambda part: times(part, "poolscope", "prometheus")),
                1.3,
            ),
            _growth("Scrape: power of the number of samples that time grows with", sizes, results),
        ]
        yield _scrapes("scrape", "Scrape of one process", "pools", results, targets)

    def blocks(self) -> Iterator[Result]:
        results: dict[str, list[float]] = {}
        for of in ("prometheus", "poolscope", "prometheus ASGI", "poolscope ASGI"):
            results |= environments.measure(
                "scrape",
                what="blocks",
                pools=1000,
                rounds=1 if self.quick else 5,
                scrapes=1 if self.quick else 3,
                of=of,
            )
        what = "Event loop while 1,000 pools are scraped"
        delays = {
            of: figure_of([seconds * 1000 for seconds in results[of]])
            for of in ("poolscope", "poolscope ASGI")
        }
        yield Result(
            "blocks",
            f"{what}: its longest delay in each round, in ms of wall time",
            rows([results], "ms", "nothing", 1000.0, statistics.median),
            # That of the best round: other work on the machine makes the others longer.
            [
                Target(
                    f"{what}, {of}: longest delay", figure._replace(value=figure.low), 10.0, "ms"
                )
                for of, figure in delays.items()
            ],
            [],
        )

    def exporter(self) -> Iterator[Result]:
        results = {
            number: environments.measure("exporter", processes=number, seconds=self.seconds(12.0))
            for number in (1, 8, 64)
        }
        targets = [
            _growth(
                "Exporter: power of the number of processes that time grows with",
                list(results),
                results,
            )
        ]
        title = "Scrape of the exporter, 20 pools per process"
        yield _scrapes("exporter", title, "processes", results, targets)

    # Memory and start-up

    def counts(self) -> Iterator[Result]:
        what = "SQLAlchemy QueuePool, checkout and checkin"
        rounds = environments.measure_repeatedly(3, "counts", number=100)
        yield Result(
            "counts",
            f"{what}: bytecodes of a cycle, the same in every run",
            rows(rounds, ""),
            [],
            [],
        )

    def memory(self) -> Iterator[Result]:
        number = 100 if self.quick else 1000
        pools = environments.measure("memory", what="pools", number=number)
        private = environments.measure("memory", what="private", number=2 * number)
        unwatched, watched = (
            environments.measure("memory", what="holds", number=100, watched=is_watched)["bytes"]
            for is_watched in (False, True)
        )
        hold = watched - unwatched
        yield Result(
            "memory",
            "Bytes of a pool of 20 and of an open hold, without and with a watch",
            [
                _bytes("pool", pools["bare"], pools["bare"]),
                _bytes("watched pool", pools["bare"] + pools["poolscope"], pools["bare"]),
                _bytes("watched pool, private memory", sum(private.values()), private["bare"]),
                _bytes("hold", unwatched, unwatched),
                _bytes("watched hold", watched, unwatched),
            ],
            [
                Target("Memory: a watched pool", figure_of([pools["poolscope"]]), 8192, "B"),
                Target("Memory: an open hold", figure_of([hold]), 200, "B"),
            ],
            [],
        )

    def watch(self) -> Iterator[Result]:
        for kind in ("sqlalchemy", "sqlalchemy-async", "asyncpg", "aiohttp"):
            yield watch_times.result(kind, 20 if self.quick else 200, self.dsn)

    def startup(self) -> Iterator[Result]:
        results = blocks(startup.measure(10 if self.quick else 50))
        more = figure(results, lambda part: added(part, "poolscope", "prometheus_client"))
        launched = figure(results, lambda part: added(part, startup.LAUNCHED, "python"))
        command = figure(
            results, lambda part: best(part["poolscope --version"]) / best(part["python"])
        )
        yield Result(
            "startup",
            "A process that imports, ms of CPU",
            rows(results, "ms", "prometheus_client"),
            [
                Target("`import poolscope`, added to `import prometheus_client`", more, 25.0, "ms"),
                Target("`poolscope run`, added to a program without pools", launched, 5.0, "ms"),
                Target("`poolscope --version`, as a multiple of `python -c pass`", command, 5.0),
            ],
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
    "watch": Suite.watch,
    "startup": Suite.startup,
}


def _ratio(rounds: Sequence[Any], what: str, other: str, limit: float) -> Target:
    return Target(what, figure(rounds, added_times("poolscope", other)), limit)


def _share(timings: Sequence[Any], what: str, base: str, limit: float) -> Target:
    """
    Return the CPU time that is added, as a share of the wall time of a cycle without a watch.

    That wall time is the one of the best rounds, which other work on the machine has not made
    longer. The wall time that is added would vary more than the CPU time.
    """

    def share(timings: Any) -> float:
        return added(timings["cpu"], "poolscope", base) / best(timings["wall"]["bare"])

    return Target(what, figure(timings, share), limit)


def _both_clocks(
    name: str, what: str, timings: Sequence[Any], targets: list[Target]
) -> Iterator[Result]:
    yield Result(name, f"{what}: us of CPU", rows(_cpu(timings), "us"), targets, [])
    wall = [result["wall"] for result in timings]
    yield Result(f"{name}-wall", f"{what}: us of wall time", rows(wall, "us"), [], [])


def _cpu(timings: Sequence[Any]) -> list[Any]:
    return [result["cpu"] for result in timings]


def _growth(what: str, sizes: list[int], results: dict[int, Any]) -> Target:
    lowest = [min(result["timings"]["cpu"]["poolscope"]) for result in results.values()]
    medians = [
        statistics.median(result["timings"]["cpu"]["poolscope"]) for result in results.values()
    ]
    both = exponent(sizes, lowest), exponent(sizes, medians)
    return Target(what, Figure(both[1], min(both), max(both)), 1.1)


def _scrapes(
    name: str, title: str, of: str, results: dict[int, Any], targets: list[Target]
) -> Result:
    table: list[Row] = []
    for number, result in results.items():
        for row in rows(blocks(result["timings"]["cpu"]), "ms", "prometheus", MILLI):
            variant = f"{number} {of}, {result['samples']} samples, {row.variant}"
            table.append(row._replace(variant=variant))
    sizes = ", ".join(
        f"{result['bytes']} bytes for {number} {of}" for number, result in results.items()
    )
    medians = [
        statistics.median(result["timings"]["cpu"]["poolscope"]) for result in results.values()
    ]
    line = statistics.linear_regression(list(results), medians)
    slope = f"{line.slope:.0f} us for each of the {of}, by linear regression"
    return Result(name, f"{title}: ms of CPU", table, targets, [sizes, slope])


def _bytes(name: str, value: float, base: float) -> Row:
    return Row(name, "B", figure_of([value]), value - base, value / base)

"""The command: runs benchmarks, and shows their results as a table and as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import Figure, Result, Target
from benchmarks.plot import plot
from benchmarks.suite import BENCHMARKS, Suite

LIBRARIES: Final = ("SQLAlchemy", "asyncpg", "aiohttp", "prometheus_client", "uvloop")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks; return 0 even if a target is not met, as this is not a test."""
    options = _options(arguments)
    results: list[Result] = []
    with Suite(options.quick) as suite:
        for name in options.names or BENCHMARKS:
            started = time.monotonic()
            for result in suite.run(name):
                results.append(result)
                _show(result)
            sys.stdout.write(f"({name}: {time.monotonic() - started:.0f} s)\n\n")
            sys.stdout.flush()
    _show_targets([target for result in results for target in result.targets])
    if options.json:
        options.json.write_text(json.dumps(_as_json(results, options.quick), indent=1) + "\n")
    if options.plot:
        options.plot.write_text(plot(results))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run.py", description="Measure what poolscope costs, beside alternatives."
    )
    parser.add_argument(
        "--quick", action="store_true", help="take a few minutes; the figures vary more"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the results to this file"
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="write a chart of them to this file (SVG)"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in BENCHMARKS:
            parser.error(f"no benchmark is called {name}; choose from {', '.join(BENCHMARKS)}")
    return options


def _show(result: Result) -> None:
    sys.stdout.write(f"{result.title}\n")
    width = max(len(row.variant) for row in result.rows)
    for row in result.rows:
        sys.stdout.write(
            f"  {row.variant:{width}}  {_number(row.value.value):>9} {row.unit:3} "
            f"({_number(row.value.low)} to {_number(row.value.high)})  "
            f"added {_number(row.added):>8}, {row.times:6.3f} times\n"
        )
    for note in result.notes:
        sys.stdout.write(f"  {note}\n")
    sys.stdout.flush()


def _show_targets(targets: Sequence[Target]) -> None:
    width = max((len(target.what) for target in targets), default=0)
    for target in targets:
        most = "least" if target.at_least else "most"
        verdict = ("met" if target.met else "NOT met") + ("" if target.clear else "?")
        sys.stdout.write(
            f"{verdict:8}  {target.what:{width}}  "
            f"{_with_spread(target.figure)}, at {most} {target.limit:g} {target.unit}\n"
        )
    if not all(target.clear for target in targets):
        sys.stdout.write("?: parts of the run disagree; repeat it, without --quick\n")


def _with_spread(figure: Figure) -> str:
    value, low, high = map(_number, figure)
    return f"{value:>8} ({low} to {high})" if low != high else f"{value:>8}"


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"


def _as_json(results: Sequence[Result], quick: bool) -> dict[str, Any]:
    return {
        "quick": quick,
        "machine": {
            "python": platform.python_version(),
            "system": platform.platform(),
            "cpus": os.cpu_count(),
            "load": os.getloadavg()[0],
            **{library: version(library) for library in LIBRARIES},
        },
        "benchmarks": {
            result.name: {
                "title": result.title,
                "rows": [{**row._asdict(), "value": row.value._asdict()} for row in result.rows],
                "notes": result.notes,
            }
            for result in results
        },
        "bars": [
            {
                **target._asdict(),
                "figure": target.figure._asdict(),
                "met": target.met,
                "clear": target.clear,
            }
            for result in results
            for target in result.targets
        ],
    }

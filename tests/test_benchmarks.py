"""Each benchmark runs and measures something, even for a very short time."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from benchmarks import environments

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres

SHORT = {"seconds": 0.001}
ROOT = Path(__file__).parent.parent


def numbers(result: Any) -> list[float]:
    """Return all numbers in the result of a measurement."""
    if isinstance(result, dict):
        return [number for value in result.values() for number in numbers(value)]
    if isinstance(result, list):
        return [number for value in result for number in numbers(value)]
    return [result]


@pytest.mark.parametrize(
    ("module", "options"),
    [
        *(("sqlalchemy_cycle", {"how": how, **SHORT}) for how in ("one", "threads", "async")),
        ("asyncpg_cycle", {"loop": "uvloop", "query": True, **SHORT}),
        ("aiohttp_cycle", {"loop": "asyncio", **SHORT}),
        *(("contention", {"kind": kind, **SHORT}) for kind in ("threads", "tasks")),
        ("scrape", {"what": "time", "pools": 2, "rounds": 1, **SHORT}),
        ("scrape", {"what": "blocks", "pools": 2, "rounds": 1, "scrapes": 1, "of": "poolscope"}),
        ("exporter", {"processes": 1, **SHORT}),
        ("memory", {"what": "pools", "number": 3}),
        ("memory", {"what": "holds", "number": 3, "watched": True}),
        ("counts", {"number": 3}),
        *(
            ("watching", {"kind": kind, "number": 2, "others": 10})
            for kind in ("sqlalchemy", "sqlalchemy-async", "asyncpg", "aiohttp")
        ),
    ],
)
def test_a_short_measurement_returns_positive_numbers(
    module: str, options: dict[str, Any], postgres: EmbeddedPostgres
) -> None:
    if module in ("asyncpg_cycle", "contention", "watching"):
        options = {**options, "dsn": postgres.dsn}
    measured = numbers(environments.measure(module, **options))
    assert measured
    assert all(0.0 < number < math.inf for number in measured)


@pytest.mark.parametrize(
    ("script", "arguments", "first_words"),
    [
        ("exporter_scrape.py", ["1", "2"], ["All", "1", "2", "All", "1", "2"]),
        ("strange_files.py", ["10"], ["10", "10"]),
    ],
)
def test_a_script_runs_on_a_small_scale(
    script: str, arguments: list[str], first_words: list[str]
) -> None:
    result = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / script, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (0, "") == (result.returncode, result.stderr)
    assert first_words == [line.split()[0] for line in result.stdout.splitlines()]


def test_scrapers_beside_an_application_are_measured() -> None:
    command = [sys.executable, "-m", "benchmarks.scrapers", "--pools", "2", "--seconds", "0.1"]
    for server in ("asgi", "thread"):
        result = subprocess.run(
            [*command, "--server", server, "0", "3"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (0, "") == (result.returncode, result.stderr)
        assert ["0", "3"] == [line.split()[0] for line in result.stdout.splitlines()]

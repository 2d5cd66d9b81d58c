"""Processes that a service starts have numbers of their own, however it starts them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from support.application_servers import (
    GUNICORN,
    ended_processes,
    environment,
    holders,
    pool_of,
    samples_of_the_pool,
    serve,
)
from support.exporters import exporter
from support.shop import JOBS, PROCESSES, SIZE, WARM

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres

__all__ = ["exporter", "serve"]


@pytest.fixture
def parents(folder: Path, postgres: EmbeddedPostgres) -> Iterator[Callable[..., Any]]:
    """Returns a function that runs a program until its children have ended."""
    parents = []

    def make(*arguments: str) -> Any:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env=environment(folder, postgres),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        parents.append(process)
        assert process.stdout is not None
        assert b"done\n" == process.stdout.readline()
        return process

    yield make
    for process in parents:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_a_parent_that_has_used_its_pool_count_from_zero(
    exporter: Any, parents: Any, method: str
) -> None:
    parent = parents("-m", "support.shop", method)
    taken = {"acquired": WARM + 1 + JOBS, "exporter_bad_segments": 0}
    assert {**taken, "in_use": 1, "waiting": 0, "live": 1} == samples_of_the_pool(exporter)
    assert [(parent.pid, "support/shop.py Shop.hold")] == holders(exporter)
    assert PROCESSES == ended_processes(exporter)
    parent.communicate()
    assert 0 == parent.returncode
    assert {**taken, "live": 0} == samples_of_the_pool(exporter)


# Fork hooks run in the order of registration, so this child changes its pool before poolscope's own
# hook has run. It must not write into the segment of its parent.
def test_children_that_dispose_before_poolscope_knows_of_the_fork_write_to_their_own_segment(
    exporter: Any, serve: Any
) -> None:
    server = serve(*GUNICORN, "support.shop:hooked()", "--preload")
    server.use_all()
    limits = [process["limit"] for process in pool_of(exporter)["processes"]]
    assert [SIZE] * 3 == limits  # the master has never used its pool


CHILDREN: Final = """
import subprocess, sys
from support.shop import Shop
shop = Shop()
for _ in range(30):
    shop.use()
    subprocess.run(["true"], check=True, preexec_fn=lambda: None)
print("done", flush=True)
sys.stdin.read()
"""


# A child that only runs another program has not created a pool.
def test_children_that_never_use_the_pool_cause_no_finding(exporter: Any, parents: Any) -> None:
    parents("-c", CHILDREN)
    assert "pool-per-request" not in [finding["rule"] for finding in pool_of(exporter)["findings"]]

"""The demo's service as in production: workers, an exporter, PgBouncer and Prometheus."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from poolscope.demo.postgres import EmbeddedPostgres
from poolscope.demo.service import SIZES
from support.bouncers import Bouncer
from support.exporters import ExporterProcess
from support.prometheus import Job, PrometheusServer, job

WORKERS = 2

# Each worker sends the load that the demo sends to both of its workers.
SIZE = tuple(f"--size={pool}={WORKERS * size}" for pool, size in SIZES.items())

COMMAND = (sys.executable, "-m", "poolscope.demo.worker", "--listen", "127.0.0.1:0")

# Only workers serve their internal errors; the exporter serves the sums of all others.
ONLY_ERRORS = [
    {"source_labels": ["__name__"], "regex": "connpool_internal_errors_total", "action": "keep"},
]

MakePrometheus = Callable[[Sequence[Job]], PrometheusServer]


class DemoWorker:
    """A worker of the demo that sends the load itself, and uses an existing PostgreSQL server."""

    def __init__(self, folder: Path, postgres: EmbeddedPostgres, *options: str) -> None:
        environment = {
            **os.environ,
            "POOLSCOPE_DIR": str(folder),
            "POOLSCOPE_APPLICATION_NAME": "shop",
            "POOLSCOPE_DEMO_POSTGRES": postgres.dsn,
        }
        started = subprocess.Popen(
            [*COMMAND, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )
        self.process: Any = started  # Any: its pipe is not None
        self.metrics = self._address()

    def _address(self) -> str:
        line = self.process.stdout.readline()
        assert line.startswith("serving at port "), "the worker has ended"
        return f"http://127.0.0.1:{line.split()[-1]}"

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate()


@contextmanager
def live_demo(
    folder: Path,
    postgres: EmbeddedPostgres,
    prometheus: MakePrometheus,
    relabelled: Sequence[dict[str, Any]] = (),
    labels: dict[str, str] | None = None,
) -> Iterator[tuple[PrometheusServer, ExporterProcess]]:
    """
    Run everything in `folder`; yield the Prometheus and the exporter.

    relabelled: `relabel_configs` of the targets; `labels` are added to all targets.
    """
    with ExitStack() as stack:
        bouncer = Bouncer(folder, postgres.socket_dir, "trust")
        stack.callback(bouncer.end)
        # A PgBouncer has a pool only after a client has used it.
        client = psycopg.connect(bouncer.dsn("postgres"), autocommit=True)
        stack.callback(client.close)
        client.execute("SELECT 1")
        pools = folder / "pools"
        workers = [DemoWorker(pools, postgres, *SIZE) for _ in range(WORKERS)]
        for worker in workers:
            stack.callback(worker.stop)
        exporter = ExporterProcess(
            pools,
            "--per-process",
            *("--postgres", postgres.dsn, "--pgbouncer", bouncer.dsn("pgbouncer", "console")),
        )
        stack.callback(exporter.kill)
        more = {"relabel_configs": list(relabelled)} if relabelled else {}
        server = prometheus(
            [
                job("exporter", exporter.url, labels=labels, **more),
                job(
                    "workers",
                    *(worker.metrics for worker in workers),
                    labels=labels,
                    metric_relabel_configs=ONLY_ERRORS,
                    **more,
                ),
            ]
        )
        yield server, exporter

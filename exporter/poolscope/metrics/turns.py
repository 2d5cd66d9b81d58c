"""
A server of metrics that the processes of one folder share.

One of them serves the pools of all. When it has ended, another one takes its turn: whoever gets the
lock of the port in the folder. This is a POSIX record lock, which ends with its process, and which
a forked child does not inherit.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from poolscope.errors import internal_errors, logger
from poolscope.fleet.folder import FolderError
from poolscope.metrics.fleet_metrics import FleetMetrics
from poolscope.metrics.registries import Registry
from poolscope.metrics.responses import Metrics
from poolscope.metrics.server import MetricsServer
from poolscope.process.forks import forks
from poolscope.process.pauses import pauses

LOOK_SECONDS: Final = 1.0
"""How often a process that waits for its turn looks whether it has come."""

_turns: Final[dict[tuple[int, Path], int]] = {}
"""
The descriptors of the locks of this process, by its id and the file.

To open such a file again, and close it, would release the lock.
"""


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
        self._file: Final = folder / f"server-{address[1]}.lock"
        self._registry = registry
        self._listen = listen
        self._process = os.getpid()
        self._server: MetricsServer | None = None
        self._metrics: FleetMetrics | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        forks().add(self)

    def start(self) -> threading.Thread:
        """
        Serve, or wait for the turn, on a daemon thread; return it.

        Raises OSError if nobody of the folder serves there, and yet it cannot be served there.
        """
        thread = self._take_turn()
        if thread is None:
            logger().info(
                "metrics at %s:%d: another process of %s serves them, for all; this one does when "
                "that one has ended",
                *self.server_address,
                self._folder,
            )
            thread = threading.Thread(target=self._wait, name="poolscope-turn", daemon=True)
            thread.start()
        return thread

    def shutdown(self) -> None:
        """Stop serving, or waiting, and leave the turn to another process."""
        self._stopping.set()
        with self._lock:
            server, metrics = self._server, self._metrics
            self._server = self._metrics = None
            if server is not None:
                server.shutdown()
            if metrics is not None:
                metrics.close()
            if self._process == os.getpid():
                _leave(self._file)

    def server_close(self) -> None:
        """Do the same as `shutdown`, which nothing need follow."""
        self.shutdown()

    def forked(self) -> None:
        """This process is a child: no thread serves or waits here, and it has no lock."""
        self._lock = threading.Lock()  # the inherited one may be locked
        self._stopping.set()
        self._server = self._metrics = None

    def has_forked(self) -> None:
        """Nothing changes in the parent of a fork."""

    def _wait(self) -> None:
        try:
            while not self._stopping.wait(LOOK_SECONDS):
                # Another program has the port, for example: perhaps not the next time.
                with suppress(OSError):
                    if self._take_turn() is not None:
                        return
        except Exception:
            internal_errors.report("SharedServer")

    def _take_turn(self) -> threading.Thread | None:
        """Serve if it is this process's turn; return the thread. Raises OSError as `start`."""
        with self._lock:
            if self._stopping.is_set() or not _take(self._file):
                return None
            try:
                self._server = MetricsServer(self._listen(*self.server_address), self._served())
                thread = self._server.start()
            except BaseException:
                if self._metrics is not None:
                    self._metrics.close()
                self._server = self._metrics = None
                _leave(self._file)
                raise
        pauses().tick_on(thread)
        return thread

    def _served(self) -> Metrics:
        try:
            self._metrics = FleetMetrics(self._folder, self._registry)
        except FolderError as error:
            logger().warning("the metrics are those of this process alone: %s", error)
            return Metrics(self._registry)
        return self._metrics


def _take(path: Path) -> bool:
    """Lock the file for this process; return False if another process has locked it."""
    key = os.getpid(), path
    if key in _turns:
        raise OSError(errno.EALREADY, "this process serves metrics there already")
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(file)
        return False
    except BaseException:
        os.close(file)
        raise
    _turns[key] = file
    return True


def _leave(path: Path) -> None:
    file = _turns.pop((os.getpid(), path), None)
    if file is not None:
        os.close(file)

"""
A server of its own for the metrics, which costs the application little, whoever connects.

One thread serves all clients, and none waits for another one. The number of clients, and the time
of each, are bounded: descriptors are the application's, which needs them for its database. If there
are as many clients as may be, the one is closed that has been silent for longest, so that silent
clients keep nobody out. If all of them wait for an answer, new ones wait in the system's queue.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Any, Final

from poolscope.errors import internal_errors, logger
from poolscope.metrics import clients
from poolscope.metrics.clients import Client, State
from poolscope.metrics.http_requests import Asked, parse
from poolscope.metrics.rendering import Rendered
from poolscope.metrics.responses import (
    Metrics,
    Request,
    Response,
    busy_response,
    response_of,
    short_response,
    text_response,
)
from poolscope.metrics.sharing import BusyError, Outcome
from poolscope.metrics.unsent import limit_unsent
from poolscope.process.forks import forks
from poolscope.process.pauses import pauses

PATH: Final = "/metrics"

MOST_CLIENTS: Final = 64
"""
How many clients may be connected at once.

Fewer where the process may have few descriptors: they get at most one of `SHARE`.
"""

SHARE: Final = 8

BACKLOG: Final = 1024
"""How many further clients may wait in the system's queue, where they cost no descriptor."""

GRACE_SECONDS: Final = 0.02
"""
A client is not closed for another one as long as it has moved within this time.

This bounds how many clients are accepted in a second, and so the CPU time that they can take from
the application. Where a thousand connect again and again, a new one waits behind them in the queue
for a third of a second; so its request has come when it is accepted.
"""

MOST_BYTES: Final = 64 * 1024 * 1024
"""
How much text may be kept for clients that take it slowly, besides the newest one: many clients of
one rendering share its text.
"""

TICK_SECONDS: Final = 0.5
"""How often the thread wakes up at least."""

LOG_SECONDS: Final = 60.0
"""An error is logged once in this time."""

OUT_OF_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

CLOSED_FIRST: Final = State.ASKING, State.ENDING, State.READING
"""Whom to close first if there are too many clients."""


def most_clients() -> int:
    """Return how many clients may be connected at once, by the limit of descriptors."""
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    except (ImportError, OSError, ValueError):  # not POSIX
        return MOST_CLIENTS
    if limit == resource.RLIM_INFINITY:
        return MOST_CLIENTS
    return max(1, min(MOST_CLIENTS, limit // SHARE))


class MetricsServer:
    """
    Serves the metrics on a listening socket, which it owns, from `start` to `shutdown`.

    server_address, server_port: where it listens. A forked child serves nothing: it has closed
    what it has inherited.
    """

    def __init__(self, listening: socket.socket, metrics: Metrics) -> None:
        listening.setblocking(False)
        limit_unsent(listening)
        self.socket: Final = listening
        self.server_address: Final[Any] = listening.getsockname()
        self.server_port: Final[int] = self.server_address[1]
        self._metrics = metrics
        self._most = most_clients()
        self._clients: dict[socket.socket, Client] = {}
        self._answers: deque[tuple[Client, Request, Outcome[Rendered]]] = deque()
        self._selector = selectors.DefaultSelector()
        self._wakes, self._wake = socket.socketpair()
        self._wakes.setblocking(False)
        self._wake.setblocking(False)
        self._selector.register(self._wakes, selectors.EVENT_READ)
        self._listens = False
        self._deaf_until = 0.0
        self._logged: dict[str, float] = {}
        self._process = os.getpid()
        self._thread = 0
        self._stopping = False
        self._stopped = threading.Event()
        forks().add(self)

    def start(self) -> threading.Thread:
        """Serve on a daemon thread; return it. Raises RuntimeError if it cannot be started."""
        thread = threading.Thread(target=self._serve_all, name="poolscope-http", daemon=True)
        try:
            thread.start()
        except BaseException:
            self._close_all()
            self._stopped.set()
            raise
        return thread

    def _serve_all(self) -> None:
        self._thread = threading.get_ident()
        ticked = time.monotonic()
        try:
            while not self._stopping:
                self._listen(time.monotonic())
                events = self._selector.select(self._patience())
                if (now := time.monotonic()) - ticked >= TICK_SECONDS:
                    pauses().tick()
                    ticked = now
                self._handle(events, now)
                self._close_late(now)
        except Exception:
            # Perhaps somebody else has closed its descriptors, as daemons do when they start.
            internal_errors.report("MetricsServer")
        finally:
            self._close_all()
            self._stopped.set()

    def shutdown(self) -> None:
        """Stop serving: close the socket and all connections, and wait for that."""
        if self._process != os.getpid():
            self._close_all()
            return
        self._stopping = True
        self._wake_up()
        if self._thread != threading.get_ident():
            self._stopped.wait()

    def server_close(self) -> None:
        """Do the same as `shutdown`, which nothing need follow."""
        self.shutdown()

    def forked(self) -> None:
        """This process is a child, in which no thread serves: it keeps no port of its parent."""
        self._close_all()

    def has_forked(self) -> None:
        """Nothing changes in the parent of a fork."""

    def _close_all(self) -> None:
        # The selector first: in a child, to unregister anything would do that in the parent, too.
        with suppress(OSError):  # it may not be inherited
            self._selector.close()
        for client in list(self._clients.values()):
            client.close()
        self._clients.clear()
        for owned in (self.socket, self._wakes, self._wake):
            owned.close()

    def _wake_up(self) -> None:
        with suppress(OSError):  # it is awake already, or closed
            self._wake.send(b"\0")

    def _patience(self) -> float:
        """Return how many seconds to wait for events."""
        if not self._listens:
            return GRACE_SECONDS
        first = min((client.deadline for client in self._clients.values()), default=float("inf"))
        return max(0.0, min(TICK_SECONDS, first - time.monotonic()))

    def _handle(self, events: list[tuple[selectors.SelectorKey, int]], now: float) -> None:
        for key, _ in events:
            if key.fileobj is self._wakes:
                with suppress(BlockingIOError):
                    self._wakes.recv(4096)
            elif isinstance(key.data, Client):
                self._serve(key.data, now)
        while self._answers:
            client, request, outcome = self._answers.popleft()
            if client.state is State.WAITING and client.socket in self._clients:
                self._answer(client, self._made(request, outcome), now)
        # After the others, so that a client whose request has come is not silent.
        if any(key.fileobj is self.socket for key, _ in events):
            self._accept(now)

    def _listen(self, now: float) -> None:
        """Accept clients if there is room for one, and only then."""
        has_room = len(self._clients) < self._most or self._least(now) is not None
        if (has_room and now >= self._deaf_until) == self._listens:
            return
        self._listens = not self._listens
        if self._listens:
            self._selector.register(self.socket, selectors.EVENT_READ)
        else:
            self._selector.unregister(self.socket)

    def _accept(self, now: float) -> None:
        for _ in range(self._most):
            if len(self._clients) >= self._most:
                least = self._least(now)
                if least is None:
                    return
                self._drop(least)
            try:
                connection, _ = self.socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in OUT_OF_RESOURCES:
                    self._give_back(error, now)
                    return
                continue  # the client has gone
            client = self._clients[connection] = Client(connection, now)
            self._selector.register(connection, selectors.EVENT_READ, client)
            self._serve(client, now)  # its request may be there

    def _give_back(self, error: OSError, now: float) -> None:
        """The process has no descriptor left: close all that are silent, and wait a moment."""
        for client in list(self._clients.values()):
            if client.state is State.ASKING:
                self._drop(client)
        self._deaf_until = now + TICK_SECONDS
        self._log("cannot accept a connection for metrics: %s", error.strerror)

    def _least(self, now: float) -> Client | None:
        """Return the client that may be closed for another one; None if none may."""
        for state in CLOSED_FIRST:
            idle = [each for each in self._clients.values() if each.state is state]
            least = min(idle, key=lambda each: each.moved, default=None)
            if least is not None and now - least.moved >= GRACE_SECONDS:
                return least
        return None

    def _serve(self, client: Client, now: float) -> None:
        """Go on with a client that has sent something, or that can take something."""
        try:
            if client.state is State.ASKING:
                self._read(client, now)
            elif client.state is State.READING:
                client.moved = now
                if client.send():
                    client.end()
                    client.go_on(State.ENDING, now)
                    self._selector.modify(client.socket, selectors.EVENT_READ, client)
            elif client.state is State.ENDING and client.has_ended():
                self._drop(client)
        except OSError:
            self._drop(client)
        except Exception:
            internal_errors.report("MetricsServer._serve")
            self._drop(client)

    def _read(self, client: Client, now: float) -> None:
        head = client.receive()
        if head is None:
            return
        if not head:
            self._drop(client)
            return
        if client.is_too_long:
            reason = "Request Header Fields Too Large"
            text = f"at most {clients.MOST_HEADER_BYTES} bytes"
            self._answer(client, text_response(431, reason, text, "GET"), now)
            return
        asked = parse(head)
        response = asked if isinstance(asked, Response) else self._respond(client, asked)
        if response is not None:
            self._answer(client, response, now)
            return
        client.go_on(State.WAITING, now)
        self._selector.unregister(client.socket)

    def _respond(self, client: Client, asked: Asked) -> Response | None:
        """Return the response; None if it is being made, and the client is told of it later."""
        path, request = asked
        if path.removesuffix("/") != PATH:
            text = f"the metrics are at {PATH}"
            return text_response(404, "Not Found", text, request.method)
        short = short_response(request.method)
        if short is not None:
            return short
        shared, key, make, limited = self._metrics.work_for(request)
        tell = partial(self._tell, client, request)
        try:
            shared.submit(client, key, make, tell, limited=limited)
        except BusyError as error:
            return busy_response(error, request)
        except RuntimeError as error:  # no thread can be started
            self._log("cannot serve the metrics: %s", error)
            return text_response(503, "Service Unavailable", "try again", request.method)
        client.leave = partial(shared.leave, client, key)
        return None

    def _tell(self, client: Client, request: Request, outcome: Outcome[Rendered]) -> None:
        """Have the response sent by the thread that serves; any thread may call this."""
        self._answers.append((client, request, outcome))
        self._wake_up()

    def _made(self, request: Request, outcome: Outcome[Rendered]) -> Response:
        try:
            return response_of(outcome.get(), request)
        except Exception as error:
            self._log("cannot serve the metrics: %r", error, exc_info=True)
            text = "a collector has failed; see the log of the service"
            return text_response(500, "Internal Server Error", text, request.method)

    def _answer(self, client: Client, response: Response, now: float) -> None:
        if client.state is State.ASKING:
            self._selector.unregister(client.socket)
        client.answer(response)
        client.go_on(State.READING, now)
        self._drop_slowest(client)
        try:
            self._selector.register(client.socket, selectors.EVENT_WRITE, client)
        except OSError:
            self._drop(client)
            return
        self._serve(client, now)

    def _drop_slowest(self, newest: Client) -> None:
        """Close the clients of old texts, if those that are kept take too much memory."""
        texts = {id(client.parts): client.parts for client in self._clients.values()}
        texts.pop(id(newest.parts), None)
        sizes = {key: sum(map(len, parts)) for key, parts in texts.items()}
        left = sum(sizes.values()) - MOST_BYTES
        for key, size in sizes.items():  # in the order in which the clients came
            if size > 0 and left > 0:
                left -= size
                for client in list(self._clients.values()):
                    if id(client.parts) == key:
                        self._drop(client)

    def _close_late(self, now: float) -> None:
        for client in list(self._clients.values()):
            if now >= client.deadline:
                self._drop(client)

    def _drop(self, client: Client) -> None:
        with suppress(KeyError, ValueError, OSError):  # it waits, and is not registered
            self._selector.unregister(client.socket)
        self._clients.pop(client.socket, None)
        client.close()

    def _log(self, message: str, *args: object, exc_info: bool = False) -> None:
        now = time.monotonic()
        if now - self._logged.get(message, -LOG_SECONDS) >= LOG_SECONDS:
            self._logged[message] = now
            logger().warning(message, *args, exc_info=exc_info)

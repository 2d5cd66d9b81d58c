"""A client of the server of its own: what it has sent, and what is still to be sent to it."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Sequence
from email.utils import formatdate
from enum import Enum
from typing import Final

from poolscope.metrics.http_requests import ENDS
from poolscope.metrics.responses import Response

REQUEST_SECONDS: Final = 10.0
"""A client that has sent no whole request within this time is closed."""

ANSWER_SECONDS: Final = 60.0
"""A client that has not taken the whole answer this long after its request is closed."""

LINGER_SECONDS: Final = 1.0
"""
How long a client may take to close its side after the answer. If the server closed first while
something is unread, as the body of a POST, the client could lose the answer.
"""

MOST_HEADER_BYTES: Final = 16 * 1024
"""The longest request line and headers; a longer one is refused."""

AT_ONCE: Final = 256 * 1024
"""How many bytes are sent to one client before another one's turn, and read from it."""


class State(Enum):
    """What a client does."""

    ASKING = "sends its request"
    WAITING = "waits for the answer"
    READING = "reads the answer"
    ENDING = "has got the answer"


SECONDS: Final = {
    State.ASKING: REQUEST_SECONDS,
    State.WAITING: ANSWER_SECONDS,
    State.READING: ANSWER_SECONDS,
    State.ENDING: LINGER_SECONDS,
}
"""How long a client may do the same; to wait and to read share one time."""


def _nothing() -> None:
    """The client waits for nothing."""


class Client:
    """
    A connection that was accepted.

    leave: called if it goes away before it has its answer.
    parts: the body of the answer, which is shared with other clients. deadline: when it is closed
    if it still does the same. moved: when it has last sent or taken something.
    """

    def __init__(self, connection: socket.socket, now: float) -> None:
        connection.setblocking(False)
        self.socket: Final = connection
        self.parts: Sequence[bytes] = ()
        self.leave: Callable[[], None] = _nothing
        self.moved = now
        self._received = bytearray()
        self._unsent: deque[memoryview] = deque()
        self.state = State.ASKING
        self.deadline = now + SECONDS[State.ASKING]

    def go_on(self, state: State, now: float) -> None:
        """The client does something else from now on."""
        # The time for an answer begins with the request, and includes making it.
        if state is not State.READING or self.state is State.ASKING:
            self.deadline = now + SECONDS[state]
        self.state, self.moved = state, now

    def receive(self) -> bytes | None:
        """
        Read what there is; return the request if it is whole, and empty bytes if it never will be.

        A request that is too long is returned as far as it was received. Raises OSError.
        """
        try:
            data = self.socket.recv(MOST_HEADER_BYTES)
        except (BlockingIOError, InterruptedError):
            return None
        # The end may have begun in what was there before.
        start = max(0, len(self._received) - len(ENDS[0]))
        self._received += data
        if any(self._received.find(end, start) >= 0 for end in ENDS):
            return bytes(self._received)
        if self.is_too_long:
            return bytes(self._received)
        return None if data else b""

    @property
    def is_too_long(self) -> bool:
        """Whether it has sent more than the headers of a request may have."""
        ends = [place for place in map(self._received.find, ENDS) if place >= 0]
        return min(ends, default=len(self._received)) > MOST_HEADER_BYTES

    def answer(self, response: Response) -> None:
        """Have this sent."""
        self.leave = _nothing
        self._received.clear()
        self.parts = response.parts
        headers = [
            ("Server", "poolscope"),
            ("Date", formatdate(usegmt=True)),
            *response.headers,
            ("Connection", "close"),
        ]
        lines = [f"HTTP/1.1 {response.status} {response.reason}"]
        lines += [f"{name}: {value}" for name, value in headers]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        self._unsent.extend(map(memoryview, (head, *response.parts)))

    def send(self) -> bool:
        """Send as much as it takes now; return whether all is sent. Raises OSError."""
        left = AT_ONCE
        while self._unsent and left > 0:
            part = self._unsent[0]
            try:
                sent = self.socket.send(part)
            except (BlockingIOError, InterruptedError):
                break
            left -= sent
            if sent < len(part):
                self._unsent[0] = part[sent:]
            else:
                self._unsent.popleft()
        return not self._unsent

    def end(self) -> None:
        """Tell the client that nothing more comes. Raises OSError."""
        self.parts = ()
        self.socket.shutdown(socket.SHUT_WR)

    def has_ended(self) -> bool:
        """Throw away what it still sends; return whether it has closed its side. Raises OSError."""
        try:
            return not self.socket.recv(AT_ONCE)
        except (BlockingIOError, InterruptedError):
            return False

    def close(self) -> None:
        """Close the connection, whatever it does."""
        self.leave()
        self.parts = ()
        self._unsent.clear()
        self.socket.close()

"""
Which connections stay open: a client that is silent, or that never reads, loses its own.

Nobody can keep others out by keeping connections. At the limit of all connections, one of the
network that has most of them makes room for a new one; at the limit of one network, one of its own:
the one that has waited the longest without a whole request, else the one that has been idle, has
been reading its answer, or has waited for its answer the longest.
"""

from __future__ import annotations

import asyncio
import functools
import math
import resource
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Final

from poolscope.exporter.kept_texts import KeptTexts

MAX_CONNECTIONS: Final = 2500
"""Open connections, those in a TLS handshake too; at most half of the process's descriptors."""

LEAST_CONNECTIONS: Final = 4

SHARE_OF_NETWORK: Final = 2
"""One network has at most this part of them: one half."""

REQUEST_SECONDS: Final = 10.0
"""From a new connection, or the first byte of a later request, to the end of the headers."""

UNREAD_SECONDS: Final = 10.0
"""How long a client may read nothing of an answer."""

ANSWER_SECONDS: Final = 60.0
"""How long a client may take to read a whole answer."""

IDLE_SECONDS: Final = 75.0
"""From an answer to the next request; after an error it is `REQUEST_SECONDS`."""


def connection_limit() -> int:
    """Return how many connections may be open: the files of the folder need descriptors, too."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if descriptors == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(LEAST_CONNECTIONS, min(MAX_CONNECTIONS, descriptors // 2))


class Stage(Enum):
    """
    What a connection is in.

    REQUESTING: it is new, or a part of a request has come.
    IDLE: its last request was answered, and nothing has come since.
    WORKING: its request is being answered.
    SENDING: the answer is being sent.
    """

    REQUESTING = "requesting"
    IDLE = "idle"
    WORKING = "working"
    SENDING = "sending"


STAGES: Final = (Stage.REQUESTING, Stage.IDLE, Stage.SENDING, Stage.WORKING)
"""Those whose connections go first, if some must, are first."""


class Place:
    """
    An open connection.

    since: when its stage began.
    close: closes it at once; set by whoever serves it.
    guessed: whether a wrong password came over it.
    written: returns how many bytes of its answer the transport was given.
    """

    def __init__(self, guard: Guard, network: str) -> None:
        self.network = network
        self.close: Callable[[], object] = _nothing
        self.guessed = False
        self.transport: asyncio.Transport | None = None
        self.written: Callable[[], int] = int
        self.stage = Stage.REQUESTING
        self.since = 0.0
        self.idle_seconds = REQUEST_SECONDS
        self._guard = guard
        self._read = math.inf
        self._read_at = 0.0

    def enter(self, stage: Stage) -> None:
        """Note that a stage begins."""
        self._guard.move(self, stage)
        self._read_at, self._read = self.since, math.inf
        self._guard.texts.end(self)

    def begin_text(self, text: int, size: int) -> None:
        """Note that a large answer is sent; clients that read others slowly may have to go."""
        self._guard.texts.begin(self, text, size, functools.partial(_close, self))

    def received(self) -> None:
        """Note that bytes have come: after an answer, they begin a request."""
        if self.stage is Stage.IDLE:
            self.enter(Stage.REQUESTING)

    def leave(self) -> None:
        """Note that it is closed."""
        self._guard.remove(self)

    def is_late(self, now: float) -> bool:
        """Return whether its client has used up its time."""
        if self.stage is Stage.REQUESTING:
            return now - self.since >= REQUEST_SECONDS
        if self.stage is Stage.WORKING:
            return False  # the client waits for us
        unread = 0 if self.transport is None else self.transport.get_write_buffer_size()
        read = self.written() - unread
        if unread == 0 or read > self._read:
            self._read_at = now
        self._read = read
        if unread:
            return now - self._read_at >= UNREAD_SECONDS or now - self.since >= ANSWER_SECONDS
        return self.stage is Stage.IDLE and now - self.since >= self.idle_seconds


class Guard:
    """
    Keeps the connections of an exporter, and closes those whose time is up.

    limit: the most connections.
    clock: seconds that only increase.
    texts: the large answers that are being sent.
    """

    def __init__(
        self, limit: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = self._full_limit = connection_limit() if limit is None else limit
        self._clock = clock
        self._networks: dict[str, _Network] = {}
        self._count = 0
        self.texts: Final = KeptTexts()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Place]:
        """The places, of all networks."""
        for network in self._networks.values():
            yield from network.places()

    def admit(self, network: str) -> Place:
        """Return a place for a new connection, for which another may have to go."""
        theirs = self._networks.get(network)
        if theirs is not None and len(theirs) >= max(1, self._limit // SHARE_OF_NETWORK):
            _close(theirs.least())
        elif self._count >= self._limit:
            self._make_room()
        place = Place(self, network)
        place.since = self._clock()
        self._networks.setdefault(network, _Network()).stages[Stage.REQUESTING][place] = None
        self._count += 1
        return place

    def _make_room(self) -> None:
        """Close the least of the network that has most connections, or of all that have as many."""
        most = max(map(len, self._networks.values()))
        least = [each.least() for each in self._networks.values() if len(each) == most]
        _close(min(least, key=_worth))

    def shrink(self) -> None:
        """Close a quarter of the connections: the process has no descriptor left for more."""
        self._limit = max(LEAST_CONNECTIONS, self._count * 3 // 4)
        while self._count > self._limit:
            self._make_room()

    def sweep(self) -> int:
        """Close the connections whose time is up, once a second; return how many that were."""
        self._limit = min(self._full_limit, self._limit + max(1, self._limit // 20))
        now = self._clock()
        late = [place for place in self if place.is_late(now)]
        for place in late:
            _close(place)
        return len(late)

    def move(self, place: Place, stage: Stage) -> None:
        """Put a place into a stage, behind those that are in it; one that has left stays out."""
        network = self._networks.get(place.network)
        if network is None or place not in network.stages[place.stage]:
            return
        del network.stages[place.stage][place]
        place.stage, place.since = stage, self._clock()
        network.stages[stage][place] = None

    def remove(self, place: Place) -> None:
        """Give up a place; a second time does nothing."""
        self.texts.end(place)
        network = self._networks.get(place.network)
        if network is None or place not in network.stages[place.stage]:
            return
        del network.stages[place.stage][place]
        self._count -= 1
        if not len(network):
            del self._networks[place.network]


class _Network:
    """The places of one network by stage, each in the order in which they entered it."""

    def __init__(self) -> None:
        self.stages: dict[Stage, OrderedDict[Place, None]] = {
            each: OrderedDict() for each in STAGES
        }

    def __len__(self) -> int:
        return sum(map(len, self.stages.values()))

    def places(self) -> Iterator[Place]:
        for stage in self.stages.values():
            yield from stage

    def least(self) -> Place:
        """Return the one that goes first, if one must."""
        return next(self.places())


def _worth(place: Place) -> tuple[int, float]:
    """Return what is the lowest for the connection that goes first."""
    return STAGES.index(place.stage), place.since


def _close(place: Place) -> None:
    place.close()
    place.leave()


def _nothing() -> None:
    pass

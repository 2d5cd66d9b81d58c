"""Asks servers in the background, so that a server that is down or slow delays no scrape."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from poolscope.exporter import logs

logger = logging.getLogger("poolscope.exporter")

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

PROBE_INTERVAL: Final = 5.0
PROBE_TIMEOUT: Final = 3.0
CLOSE_TIMEOUT: Final = 1.0
"""Seconds to wait for tasks that were cancelled."""

KNOWN_PHRASES: Final = tuple(
    (phrase.lower(), phrase)
    for phrase in (
        "Connection refused",
        "Connection reset by peer",
        "Connection timed out",
        "timeout expired",
        "No route to host",
        "Network is unreachable",
        "No such file or directory",
        "Permission denied",
        "could not translate host name",
        "server closed the connection unexpectedly",
        "password authentication failed",
        "SASL authentication failed",
        "authentication failed",
        "no password supplied",
        "no pg_hba.conf entry",
        "sorry, too many clients already",
        "too many connections",
        "no more connections allowed",
        "remaining connection slots are reserved",
        "the database system is starting up",
        "the database system is shutting down",
        "terminating connection due to administrator command",
        "canceling statement due to statement timeout",
        "not allowed",
        "no such user",
        "no such database",
        "does not exist",
        "server does not support SSL",
        "certificate verify failed",
        "invalid sslmode value",
        "definition of service",
        "SSL error",
    )
)
"""What of the messages of servers and of libpq is shown; nothing else of them is."""


class ProbeError(Exception):
    """
    The server refused to answer.

    The message is the server's or the driver's, and may repeat what the DSN says: only
    `describe_error` makes something of it that may be shown.

    kind: what to say of a message that is not known.
    """

    def __init__(self, message: str, kind: str = "the server refused") -> None:
        super().__init__(message)
        self.kind = kind


class Probe(Protocol[R_co]):
    """
    Asks one server, over a connection that stays open.

    label: the name of the server, `host:port`.
    """

    @property
    def label(self) -> str: ...

    def down_reading(self) -> R_co:
        """Return the reading that says that the server did not answer."""

    async def ask(self) -> R_co:
        """Return the answer. If this raises anything, the connection is already dropped."""

    def terminate(self) -> None:
        """Drop the connection at once, without waiting for the server."""


class Probes(Generic[R]):
    """
    Asks each server at intervals, and keeps the last answer of each.

    labels: the servers, without credentials.
    interval: seconds from one question to the next.
    timeout: seconds to wait for an answer, including the time to connect.
    pause: waits for a number of seconds; tests replace it.
    """

    def __init__(
        self,
        probes: Sequence[Probe[R]],
        interval: float = PROBE_INTERVAL,
        timeout: float = PROBE_TIMEOUT,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Raise ValueError if two probes have the same label."""
        self._probes = {probe.label: probe for probe in probes}
        if len(self._probes) < len(probes):
            labels = [probe.label for probe in probes]
            twice = next(label for label in labels if labels.count(label) > 1)
            raise ValueError(f"{twice} is given twice")
        self.labels: Final = tuple(self._probes)
        self._interval = interval
        self._timeout = timeout
        self._pause = pause
        self._readings = {label: probe.down_reading() for label, probe in self._probes.items()}
        self._failing: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def readings(self) -> tuple[R, ...]:
        """Return the last reading of each server, without waiting."""
        return tuple(self._readings.values())

    def start(self) -> None:
        """Start a task of the running loop for each server."""
        self._tasks = [
            asyncio.create_task(self._ask_repeatedly(probe)) for probe in self._probes.values()
        ]

    async def close(self) -> None:
        """Stop asking, and drop all connections; this takes no longer than `CLOSE_TIMEOUT`."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)
        for probe in self._probes.values():
            probe.terminate()
        # Transports close their sockets in the next iteration of the loop.
        await asyncio.sleep(0)

    async def _ask_repeatedly(self, probe: Probe[R]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._interval
            await self._ask_once(probe)
            await self._pause(max(0.0, due - loop.time()))

    async def _ask_once(self, probe: Probe[R]) -> None:
        try:
            async with asyncio.timeout(self._timeout) as limit:
                reading = await probe.ask()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # A library cancelled something of its own; that must not end this task.
            self._record_failure(probe, "CancelledError")
        except Exception as error:
            late = f"no answer within {self._timeout:g} s"
            self._record_failure(probe, late if limit.expired() else describe_error(error))
        else:
            self._record_answer(probe, reading)

    def _record_failure(self, probe: Probe[R], why: str) -> None:
        self._readings[probe.label] = probe.down_reading()
        if probe.label not in self._failing:
            self._failing.add(probe.label)
            extra = {"event": "server-down", "server": probe.label, "reason": why}
            logger.warning("%s does not answer: %s", probe.label, why, extra={"poolscope": extra})

    def _record_answer(self, probe: Probe[R], reading: R) -> None:
        self._readings[probe.label] = reading
        if probe.label in self._failing:
            self._failing.remove(probe.label)
            extra = {"event": "server-up", "server": probe.label}
            logger.info("%s answers again", probe.label, extra={"poolscope": extra})


def describe_error(error: Exception) -> str:
    """
    Return in one line why there was no answer, in words that are known to have no secret in them.

    What a server, libpq or asyncio says may repeat parts of the DSN: hosts, options, a password.
    """
    if not isinstance(error, ProbeError):
        return logs.describe(error)
    said = " ".join(str(error).split()).lower()
    for phrase, shown in KNOWN_PHRASES:
        if phrase in said:
            return shown
    return error.kind

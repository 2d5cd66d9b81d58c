"""
The order in which passwords are checked: one at a time, and fair to whoever does not guess.

Guesses that arrive faster than they can be checked must not keep out a right password, wherever it
comes from. So the queue is bounded, and takes turns between three rules; each names the check that
is next:

- of networks that gave a right password before, the one that was served the longest ago;
- of all networks, the one that was served the longest ago; before them those that never were, the
  last to come first;
- the check that has waited the longest.

The first two take the newest check of their network, and first one of a connection over which no
wrong password has come. A client that waits for its answer before it guesses again has one check
for each connection there, so a right password that has just come is next within a few turns, even
from the network of those who guess. The third lets nothing that is
queued wait for more than three times the length of the queue.

When the queue is full, the newest check of the network that has most of them makes room. Its
password is remembered (not by its text), and goes before all of those the next time: a scraper
sends the same password again, and one who guesses does not.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle
from threading import Thread
from typing import Final

MAX_CHECKS: Final = 2000
"""Checks that may be queued."""

MAX_CHECKS_OF_NETWORK: Final = 1000
"""Checks that may be queued for one network."""

MAX_NETWORKS: Final = 10_000
"""Networks whose last turn is remembered, and again of those that gave a right password."""

REMEMBERED_BITS: Final = 1 << 23
REMEMBERED_KEYS: Final = 200_000
"""Of checks that were turned away; at least so many of the last ones are known."""


class BusyError(Exception):
    """The queue is full, or closed."""


class Check:
    """
    A password to check. Its outcome is what `work` returns, or BusyError if it was turned away.

    key: the same for equal names and passwords; it does not reveal them.
    network: where it comes from.
    guessed: whether a wrong password came over the same connection before.
    """

    def __init__(self, key: bytes, network: str, work: Callable[[], bool], guessed: bool) -> None:
        self.key = key
        self.network = network
        self.work = work
        self.guessed = guessed
        self.was_turned_away = False
        self.outcome: asyncio.Future[bool] = asyncio.get_running_loop().create_future()


class PasswordQueue:
    """Runs checks in a thread, one at a time."""

    def __init__(self) -> None:
        # Both in the order in which they came.
        self._waiting: OrderedDict[bytes, Check] = OrderedDict()
        self._by_network: dict[str, OrderedDict[bytes, Check]] = {}
        self._running: Check | None = None
        self._served: OrderedDict[str, None] = OrderedDict()
        self._trusted: OrderedDict[str, None] = OrderedDict()
        self._turned_away = _Remembered()
        self._turns = cycle((self._next_of_trusted, self._next_of_networks, self._next_of_all))
        self._closed = False
        self._thread: Thread | None = None

    def find(self, key: bytes) -> Check | None:
        """Return the check with this key that is queued or runs."""
        if self._running is not None and self._running.key == key:
            return self._running
        return self._waiting.get(key)

    def add(
        self, key: bytes, network: str, work: Callable[[], bool], guessed: bool = False
    ) -> Check:
        """Queue a check; raises BusyError if the queue is closed."""
        if self._closed:
            raise BusyError
        check = Check(key, network, work, guessed)
        check.was_turned_away = key in self._turned_away
        self._waiting[key] = check
        self._by_network.setdefault(network, OrderedDict())[key] = check
        if len(self._by_network[network]) > MAX_CHECKS_OF_NETWORK:
            self._turn_away(network)
        elif len(self._waiting) > MAX_CHECKS:
            self._turn_away(max(self._by_network, key=lambda each: len(self._by_network[each])))
        if self._running is None:
            self._run_next()
        return check

    def trust(self, network: str) -> None:
        """Note that a right password came from this network."""
        _remember(self._trusted, network)

    def close(self) -> None:
        """Turn away whatever is queued or runs, and all that comes; the process is to end."""
        self._closed = True
        if self._thread is not None:
            atexit.register(_end_without, self._thread)
        for check in (*self._waiting.values(), self._running):
            if check is not None and not check.outcome.done():
                check.outcome.set_exception(BusyError())
                check.outcome.exception()  # nobody may be waiting for it any more
        self._waiting.clear()
        self._by_network.clear()

    def _turn_away(self, network: str) -> None:
        newest_first = list(reversed(self._by_network[network].values()))
        # The one that has just come stays, so that nobody is kept out by what came before.
        others = newest_first[1:] or newest_first
        check = next((each for each in others if not each.was_turned_away), others[0])
        self._remove(check)
        self._turned_away.add(check.key)
        check.outcome.set_exception(BusyError())
        check.outcome.exception()

    def _remove(self, check: Check) -> None:
        del self._waiting[check.key]
        of_network = self._by_network[check.network]
        del of_network[check.key]
        if not of_network:
            del self._by_network[check.network]

    def _next_of_trusted(self) -> Check | None:
        return self._newest_of(
            self._longest_ago({each for each in self._by_network if each in self._trusted})
        )

    def _next_of_networks(self) -> Check | None:
        return self._newest_of(self._longest_ago(set(self._by_network)))

    def _next_of_all(self) -> Check | None:
        return next(iter(self._waiting.values()), None)

    def _longest_ago(self, networks: set[str]) -> str | None:
        """Return the network served the longest ago; of those never served, the last to come."""
        for network in reversed(self._by_network):
            if network in networks and network not in self._served:
                return network
        return next((network for network in self._served if network in networks), None)

    def _newest_of(self, network: str | None) -> Check | None:
        if network is None:
            return None
        newest_first = reversed(self._by_network[network].values())
        return min(newest_first, key=_rank)  # the first one of the lowest rank

    def _run_next(self) -> None:
        if not self._waiting:
            self._running = None
            return
        check = None
        while check is None:
            check = next(self._turns)()
        self._remove(check)
        _remember(self._served, check.network)
        self._running = check
        # A thread that does not keep the process alive: a check cannot be interrupted.
        args = check, asyncio.get_running_loop()
        self._thread = Thread(target=self._run, args=args, name="password", daemon=True)
        self._thread.start()

    def _run(self, check: Check, loop: asyncio.AbstractEventLoop) -> None:
        try:
            matches = check.work()
        except BaseException:
            matches = False
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._finish, check, matches)

    def _finish(self, check: Check, matches: bool) -> None:
        if not check.outcome.done():
            check.outcome.set_result(matches)
        self._run_next()


def _rank(check: Check) -> int:
    """Return 0 for what goes first of all checks of a network."""
    if check.was_turned_away:
        return 0
    return 2 if check.guessed else 1


def _end_without(thread: Thread) -> None:
    """End the process here if a check still runs: at the end of Python, bcrypt would abort it."""
    if thread.is_alive():
        logging.shutdown()
        os._exit(0)


class _Remembered:
    """
    The last keys that were added, in two fixed amounts of memory.

    Of other keys, fewer than one in twenty is taken for one of them.
    """

    def __init__(self) -> None:
        self._before = self._now = bytearray(REMEMBERED_BITS // 8)
        self._count = 0

    def add(self, key: bytes) -> None:
        if self._count % REMEMBERED_KEYS == 0:
            self._before, self._now = self._now, bytearray(REMEMBERED_BITS // 8)
        self._count += 1
        byte, bit = _place(key)
        self._now[byte] |= bit

    def __contains__(self, key: bytes) -> bool:
        byte, bit = _place(key)
        return bool((self._before[byte] | self._now[byte]) & bit)


def _place(key: bytes) -> tuple[int, int]:
    number = int.from_bytes(key[:8], "big") % REMEMBERED_BITS
    return number // 8, 1 << number % 8


def _remember(networks: OrderedDict[str, None], network: str) -> None:
    """Put a network at the end; the first goes if there are too many."""
    networks[network] = None
    networks.move_to_end(network)
    if len(networks) > MAX_NETWORKS:
        networks.popitem(last=False)

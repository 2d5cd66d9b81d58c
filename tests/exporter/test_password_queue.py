"""Passwords are checked one at a time, and nobody who guesses keeps out who knows one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from hashlib import sha256

import pytest

from poolscope.exporter import password_queue
from poolscope.exporter.networks import network_of
from poolscope.exporter.password_queue import BusyError, Check, PasswordQueue
from support.waiting import PATIENCE, eventually

MOST_TURNS = 3
"""Checks that may run before that of a right password that has just come."""


class Guessers:
    """
    A queue, and checks whose work waits until `turn` is called.

    ran: the keys of the checks that have begun.
    """

    def __init__(self) -> None:
        self.queue = PasswordQueue()
        self.ran: list[bytes] = []
        self._turns = threading.Semaphore(0)
        self._guesses = 0

    def add(self, network: str, key: bytes | None = None) -> Check:
        """Queue a check: a new guess, unless there is a key."""
        self._guesses += 1
        key = key or sha256(b"%d" % self._guesses).digest()

        def work() -> bool:
            self.ran.append(key)
            return self._turns.acquire(timeout=PATIENCE) and key.startswith(b"right")

        return self.queue.add(key, network, work)

    async def turn(self) -> None:
        """End the check that runs, and wait for the next one to begin."""
        before = len(self.ran)
        self._turns.release()
        await eventually(before + 1, lambda: len(self.ran))

    async def turns_until(self, check: Check) -> int:
        """Return how many other checks begin before this one."""
        before = len(self.ran)
        while check.key not in self.ran:
            await self.turn()
        return len(self.ran) - before - 1

    def end(self) -> None:
        self.queue.close()
        self._turns.release(100_000)


@pytest.fixture
async def guessers() -> AsyncIterator[Guessers]:
    guessers = Guessers()
    yield guessers
    guessers.end()


class TestTheNextCheck:
    @pytest.mark.parametrize("guesses", [1, 100, 400])
    @pytest.mark.parametrize("network", ["guesser", "prometheus"])
    async def test_is_soon_that_of_who_has_just_come(
        self, guessers: Guessers, guesses: int, network: str
    ) -> None:
        for _ in range(guesses):
            guessers.add("guesser")
        for attempt in range(30):
            right = guessers.add(network, b"right %d" % attempt)
            assert await guessers.turns_until(right) <= MOST_TURNS
            assert not right.outcome.done()
            for _ in range(4):  # guessers who wait for their answers guess again
                guessers.add("guesser")

    @pytest.mark.parametrize("networks", [2, 20, 200])
    async def test_is_fair_between_networks(self, guessers: Guessers, networks: int) -> None:
        for number in range(networks * 4):
            guessers.add(f"guesser {number % networks}")
        for _ in range(networks):
            await guessers.turn()
        right = guessers.add("prometheus", b"right")
        assert await guessers.turns_until(right) <= MOST_TURNS
        shared = guessers.add("guesser 1", b"right, from where somebody guesses")
        assert await guessers.turns_until(shared) <= 2 * networks + MOST_TURNS

    async def test_is_of_a_network_that_gave_a_right_password_before(
        self, guessers: Guessers
    ) -> None:
        guessers.queue.trust("prometheus")
        for number in range(300):
            guessers.add(f"guesser {number}")
        right = guessers.add("prometheus", b"right")
        assert await guessers.turns_until(right) <= MOST_TURNS

    async def test_is_at_last_the_oldest_one_whatever_comes(self, guessers: Guessers) -> None:
        guessers.queue.trust("trusted")
        for number in range(20):
            guessers.add(f"{number}")
        old = guessers.add("0", b"right")
        for number in range(3 * 22):
            guessers.add("trusted")
            guessers.add(f"fresh {number}")
            await guessers.turn()
        assert old.key in guessers.ran


class TestAFullQueue:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(password_queue, "MAX_CHECKS_OF_NETWORK", 10)
        monkeypatch.setattr(password_queue, "MAX_CHECKS", 25)

    async def test_is_bounded_for_each_network_and_in_all(self, guessers: Guessers) -> None:
        checks = [guessers.add("guesser") for _ in range(1000)]
        turned_away = [each for each in checks if each.outcome.done()]
        assert 1000 - 10 - 1 == len(turned_away)
        with pytest.raises(BusyError):
            await turned_away[0].outcome
        assert not checks[-1].outcome.done()
        others = [guessers.add(f"other {number}") for number in range(1000)]
        assert len([each for each in checks + others if not each.outcome.done()]) <= 26

    async def test_turns_away_nothing_of_a_network_that_has_less(self, guessers: Guessers) -> None:
        right = guessers.add("prometheus", b"right")
        for number in range(1000):
            guessers.add(f"guesser {number % 3}")
        await guessers.turns_until(right)
        assert not right.outcome.done()

    async def test_lets_in_who_comes_again_from_the_network_of_those_who_guess(
        self, guessers: Guessers
    ) -> None:
        for attempt in range(30):
            right = guessers.add("guesser", b"right %d" % attempt)
            for _ in range(100):
                guessers.add("guesser")
            again = guessers.queue.find(right.key) or guessers.add("guesser", right.key)
            for _ in range(100):
                guessers.add("guesser")
            # It was turned away, or is queued before the newest ones.
            most = MOST_TURNS if again.was_turned_away else 3 * 11
            assert await guessers.turns_until(again) <= most
            assert not again.outcome.done()


class TestClose:
    async def test_answers_all_at_once_while_a_check_runs(self, guessers: Guessers) -> None:
        checks = [guessers.add("guesser") for _ in range(3)]
        guessers.queue.close()
        for check in checks:
            with pytest.raises(BusyError):
                await check.outcome
        with pytest.raises(BusyError):
            guessers.add("guesser")

    async def test_nothing_keeps_the_process_alive(self, guessers: Guessers) -> None:
        guessers.add("guesser")
        (thread,) = [each for each in threading.enumerate() if each.name == "password"]
        assert thread.daemon


async def test_an_outcome_is_what_the_work_returns_or_false_if_it_fails() -> None:
    queue = PasswordQueue()
    outcomes = [
        queue.add(b"1", "a", lambda: True).outcome,
        queue.add(b"2", "a", lambda: bool(1 / 0)).outcome,
        queue.add(b"3", "a", lambda: False).outcome,
    ]
    assert [True, False, False] == await asyncio.gather(*outcomes)


@pytest.mark.parametrize(
    ("peername", "network"),
    [
        (("127.0.0.1", 4711), "127.0.0.1"),
        (("::ffff:10.0.0.1", 4711, 0, 0), "10.0.0.1"),
        (("2001:db8:1:2:3:4:5:6", 4711, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 4711, 0, 2), "fe80::/64"),
        ("", "unix"),
        (None, "unix"),
        (b"", "unix"),
    ],
)
def test_clients_are_counted_by_their_network(peername: object, network: str) -> None:
    assert network == network_of(peername)

"""Pauses of a process: told apart from a process that sleeps, is busy, or is not looked at."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from poolscope.process.pauses import BEATS, BURST, MISSED, MOST_CPU, Pause, Pauses
from poolscope.testing import FakeClock


class Process:
    """A process with clocks of its own: it runs, sleeps, computes, or is stopped."""

    def __init__(self) -> None:
        self.clock, self.cpu = FakeClock(), FakeClock(0.0)
        self.pauses = Pauses(self.clock, self.cpu)

    def passes(self, seconds: float, cpu: float = 0.0) -> None:
        self.clock.advance(seconds)
        self.cpu.advance(cpu)

    def is_scraped(self, times: int = BEATS + 1, every: float = 15.0, pools: int = 3) -> None:
        for _ in range(times):
            self.passes(every, 0.001)
            for _ in range(pools):
                self.pauses.look()

    def has_a_server(self) -> threading.Thread:
        """Begin to serve the metrics from a thread, which this test's thread stands for."""
        thread = threading.current_thread()
        self.pauses.tick_on(thread)
        self.ticks()
        return thread

    def ticks(self, times: int = BEATS + 1) -> None:
        for _ in range(times):
            self.passes(0.5, 0.0001)
            self.pauses.tick()


@pytest.fixture
def process() -> Process:
    return Process()


def test_a_process_whose_server_thread_did_not_wake_up_was_stopped(process: Process) -> None:
    process.has_a_server()
    stopped_at = process.clock()
    process.passes(20.0)
    process.pauses.tick()
    process.ticks()
    assert (Pause(stopped_at, stopped_at + 20.0),) == process.pauses.known


def test_a_hold_that_ends_before_the_server_thread_wakes_up_finds_the_pause(
    process: Process,
) -> None:
    process.has_a_server()
    stopped_at = process.clock()
    process.passes(20.0)
    process.pauses.look_back()
    process.pauses.tick()
    assert (Pause(stopped_at, stopped_at + 20.0),) == process.pauses.known


def test_a_thread_that_reads_the_numbers_itself_finds_the_pause_by_the_server_thread(
    process: Process,
) -> None:
    process.has_a_server()
    process.pauses.look()
    process.passes(20.0)
    process.pauses.look_back()
    assert 1 == len(process.pauses.known)


def test_a_process_that_misses_its_scrapes_was_stopped(process: Process) -> None:
    process.is_scraped()
    stopped_at = process.clock()
    process.passes(MISSED * 15.0)
    process.pauses.look()
    assert (Pause(stopped_at, process.clock()),) == process.pauses.known


def test_the_second_pause_is_noticed_as_the_first(process: Process) -> None:
    process.has_a_server()
    for _ in range(2):
        process.passes(20.0)
        process.ticks(2 * BEATS)
    assert [20.5, 20.5] == [pause.end - pause.start for pause in process.pauses.known]


# What is no pause


def test_a_process_that_nobody_reads_regularly_sleeps(process: Process) -> None:
    process.passes(600.0)
    process.pauses.look()
    process.is_scraped(times=BEATS - 1)
    process.passes(600.0)
    process.pauses.look()
    assert () == process.pauses.known


def test_a_process_that_is_looked_at_in_time_sleeps(process: Process) -> None:
    process.is_scraped()
    process.passes(MISSED * 15.0 - 0.1)
    process.pauses.look()
    process.is_scraped(100)
    assert () == process.pauses.known


def test_a_process_whose_server_thread_wakes_up_sleeps_although_scrapes_are_missed(
    process: Process,
) -> None:
    process.has_a_server()
    process.is_scraped(0)
    for _ in range(BEATS + 1):
        process.ticks(30)
        process.pauses.look()
    process.ticks(1200)
    process.pauses.look()
    assert () == process.pauses.known


def test_a_process_that_computes_is_busy(process: Process) -> None:
    process.has_a_server()
    process.passes(20.0, cpu=BURST + 20.0 * MOST_CPU + 0.01)
    process.pauses.tick()
    assert () == process.pauses.known


def test_what_a_process_does_before_and_after_it_is_stopped_is_no_matter(process: Process) -> None:
    process.has_a_server()
    process.passes(20.0, cpu=BURST)
    process.pauses.tick()
    assert 1 == len(process.pauses.known)


def test_a_scraper_that_ends_is_missed_once_only(process: Process) -> None:
    """Or a leaked connection would never become overdue in a process that sleeps."""
    process.is_scraped()
    for _ in range(5):
        process.passes(600.0)
        process.pauses.look()
    assert 1 == len(process.pauses.known)


def test_a_server_thread_that_has_ended_is_not_missed(process: Process) -> None:
    class Ended(threading.Thread):
        def is_alive(self) -> bool:
            return False

    process.has_a_server()
    process.pauses.tick_on(Ended())
    process.ticks()
    process.passes(20.0)
    process.pauses.look()
    assert () == process.pauses.known


def test_a_forked_child_misses_nothing_of_its_parent(process: Process) -> None:
    process.is_scraped()
    process.pauses.forked()
    process.passes(600.0)
    process.pauses.look()
    assert () == process.pauses.known


@pytest.mark.parametrize("asks_itself", [True, False])
def test_a_thread_that_waits_for_its_own_query_does_not_look_meanwhile(
    process: Process, asks_itself: bool
) -> None:
    """A synchronous worker that serves its own metrics, and has a connection for long."""
    process.is_scraped()
    process.passes(100.0)
    if asks_itself:
        process.pauses.look_back()
    else:
        other: Any = threading.Thread(target=process.pauses.look_back)
        other.start()
        other.join()
    assert (0 if asks_itself else 1) == len(process.pauses.known)

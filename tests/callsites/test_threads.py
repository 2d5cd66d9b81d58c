"""Threads that Python did not start: they get a name, and `threading` does not get to know them."""

from __future__ import annotations

import _thread
import ctypes
import threading
from collections.abc import Callable
from typing import Any

import pytest

from poolscope.callsites.owners import new_job
from poolscope.watching.watches import Watches

Start = Callable[[Callable[[], None]], None]


def in_a_low_level_thread(work: Callable[[], None]) -> None:
    ended = threading.Event()

    def run() -> None:
        work()
        ended.set()

    _thread.start_new_thread(run, ())
    ended.wait()


def in_a_thread_of_c(work: Callable[[], None]) -> None:
    """As the threads of Qt, of a C library with callbacks, or of a server that embeds Python."""
    libc = ctypes.CDLL(None)

    run = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(lambda _: work())
    thread = ctypes.c_ulong()
    assert 0 == libc.pthread_create(ctypes.byref(thread), None, run, None)
    assert 0 == libc.pthread_join(thread, None)


def in_a_thread_of_python(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


WAYS = [in_a_low_level_thread, in_a_thread_of_c, in_a_thread_of_python]


@pytest.mark.parametrize("call_sites", [True, False])
@pytest.mark.parametrize("start", WAYS)
def test_no_dead_thread_stays(
    sqlite: Any, watches: Watches, start: Start, call_sites: bool
) -> None:
    engine = sqlite()
    watch = watches.watch(engine, registry=None, call_sites=call_sites)
    held: list[Any] = []
    seen: list[int] = []

    def use() -> None:
        engine.connect().close()
        held.append(engine.connect())
        seen.append(len(watch.holders()))

    before = threading.enumerate()
    for _ in range(3):
        start(use)
        held.pop().close()
    assert before == threading.enumerate()
    assert [1, 1, 1] == seen
    assert 6 == watch.snapshot().acquired


@pytest.mark.parametrize("start", WAYS[:2])
def test_an_unknown_thread_has_the_number_that_the_system_gives_it(start: Start) -> None:
    seen: list[Any] = []
    start(lambda: seen.extend([new_job().name, threading.get_native_id()]))
    name, number = seen
    assert f"thread {number}" == name


def test_a_thread_of_python_has_its_own_name() -> None:
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.append(new_job().name), name="nightly")
    thread.start()
    thread.join()
    assert ["nightly"] == seen


def test_an_owner_has_the_name_that_its_thread_has_now_or_had(
    sqlite: Any, watches: Watches
) -> None:
    engine = sqlite()
    watch = watches.watch(engine, registry=None)
    held: list[Any] = []
    steps = [threading.Event(), threading.Event()]

    def use() -> None:
        held.append(engine.connect())
        steps[0].set()
        steps[1].wait()

    def owners() -> list[str | None]:
        return [hold.owner for hold in watch.holders()]

    thread = threading.Thread(target=use, name="worker")
    thread.start()
    steps[0].wait()
    thread.name = "nightly report"
    assert ["nightly report"] == owners()
    steps[1].set()
    thread.join()
    del thread
    assert ["worker"] == owners()
    held.pop().close()

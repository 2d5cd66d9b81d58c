"""Reading the stacks of all threads stops no thread, whatever the garbage collector does."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from poolscope.callsites.threads import frames_of_threads
from support.waiting import PATIENCE

# Each collection lets another thread run: in a callback of a weak reference, as the standard
# library has many.
PROGRAM = """
import gc, sys, threading, weakref
from poolscope.callsites.whereabouts import Whereabouts

class Cycle:
    def __init__(self):
        self.self = self

def yield_to_others(reference):
    for number in range(200):
        str(number)

def work():
    for _ in range(300):
        references = [weakref.ref(Cycle(), yield_to_others) for _ in range(10)]
        Whereabouts()
        started = threading.Thread(target=int)
        started.start()
        started.join()

sys.setswitchinterval(1e-6)
gc.set_threshold(1, 1, 1)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("done")
"""


def test_many_threads_look_for_each_other_while_garbage_is_collected() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert ("done\n", "") == (done.stdout, done.stderr)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_as_it_was(enabled: bool) -> None:
    if not enabled:
        gc.disable()
    try:
        assert frames_of_threads()
        assert enabled == gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("look", "times"),
    [("look_for_slots", 1500), ("look_for_lines", 1500), ("look_at_variables", 300)],
)
def test_threads_that_call_and_return_while_others_look_at_them_are_unharmed(
    look: str, times: int
) -> None:
    """In CPython 3.11, a collection within a look could crash the process."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("looking_at_threads.py")), look, str(times)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert ("done\n", "") == (done.stdout, done.stderr)

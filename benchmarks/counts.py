"""
How many bytecodes a cycle executes: unlike times, the same in every run, so a test can check it.

C code is not counted: reading a clock, taking a lock and looking up a key are one bytecode each.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.harness import WARM_UP, run_measurement
from benchmarks.sqlalchemy_cycle import make_variants, run_in_one_thread


class Counter:
    """A trace function that counts the bytecodes of functions whose file path contains `within`."""

    def __init__(self, within: str = "") -> None:
        self.count = 0
        self._within = within
        # Python 3.12 traces bytecodes only if a frame asks for them before `settrace`.
        sys._getframe().f_trace_opcodes = True

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        if self._within not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._add

    def _add(self, frame: FrameType, event: str, argument: object) -> Any:
        self.count += event == "opcode"
        return self._add


def count_bytecodes(run: Callable[[int], object], number: int, within: str = "") -> float:
    """Return how many bytecodes a cycle executes, on average over `number` cycles."""
    run(WARM_UP)
    counter = Counter(within)
    sys.settrace(counter)
    try:
        run(number)
    finally:
        sys.settrace(None)
    return counter.count / number


def measure(number: int) -> dict[str, list[float]]:
    """Return how many bytecodes a cycle of each variant executes."""
    with tempfile.TemporaryDirectory() as parent:
        return {
            variant.name: [count_bytecodes(variant.run, number)]
            for variant in make_variants("one", Path(parent) / "pools", run_in_one_thread)
        }


if __name__ == "__main__":
    run_measurement(measure)

"""
How many bytecodes a cycle executes: repeatable where times are not, so that a test can hold it.

What C code does in between is not seen: a clock, a lock, a look-up each are one bytecode.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.harness import WARM_UP, work
from benchmarks.sqlalchemy_cycle import of_one, variants


class Counter:
    """While it is the tracer, counts the bytecodes of functions whose file's path has a word."""

    def __init__(self, within: str = "") -> None:
        self.count = 0
        self._within = within
        # Python 3.12 tells of bytecodes only if some frame has asked for them before `settrace`.
        sys._getframe().f_trace_opcodes = True

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        if self._within not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._add

    def _add(self, frame: FrameType, event: str, argument: object) -> Any:
        self.count += event == "opcode"
        return self._add


def counted(run: Callable[[int], object], number: int, within: str = "") -> float:
    """Return how many bytecodes each of that many cycles has, on average."""
    run(WARM_UP)
    counter = Counter(within)
    sys.settrace(counter)
    try:
        run(number)
    finally:
        sys.settrace(None)
    return counter.count / number


def measure(number: int) -> dict[str, list[float]]:
    """Return the bytecodes of a cycle of each variant."""
    with tempfile.TemporaryDirectory() as parent:
        return {
            variant.name: [counted(variant.run, number)]
            for variant in variants("one", Path(parent) / "pools", of_one)
        }


if __name__ == "__main__":
    work(measure)

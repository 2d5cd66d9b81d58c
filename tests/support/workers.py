"""Processes with a pool that do what they are told; see `worker`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORKER = Path(__file__).parent / "worker.py"


class Worker:
    """One process, whose pool can be seen in `folder`; `within` is what runs it."""

    def __init__(self, folder: Path, name: str = "orders", within: Sequence[str] = ()) -> None:
        started = subprocess.Popen(
            [*within, sys.executable, str(WORKER), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "POOLSCOPE_DIR": str(folder)},
            text=True,
        )
        self.process: Any = started  # whose pipes are there
        self._answer()

    def _answer(self) -> str:
        answer: str = self.process.stdout.readline()
        assert answer, "the worker has ended"
        return answer

    @property
    def pid(self) -> int:
        pid: int = self.process.pid
        return pid

    def tell(self, *words: str) -> int:
        """Let it do these things, and return the id of the process that has done them."""
        for word in words:
            self.process.stdin.write(f"{word}\n")
            self.process.stdin.flush()
            pid = int(self._answer())
        return pid

    def end(self) -> None:
        """Let it come to its end by itself."""
        self.process.communicate()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

"""Starts processes with a pool, and sends them commands; see `worker` and `web_worker`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORKER = Path(__file__).parent / "worker.py"
WEB_WORKER = Path(__file__).parent / "web_worker.py"


class Worker:
    """
    One process, which shares its pool in `folder`.

    within: a command that runs it.
    leak_after: seconds after which a hold of the pool is overdue.
    program: what it runs.
    """

    def __init__(
        self,
        folder: Path,
        name: str = "orders",
        within: Sequence[str] = (),
        leak_after: float = 60.0,
        program: Path = WORKER,
    ) -> None:
        started = subprocess.Popen(
            [*within, sys.executable, str(program), name, str(leak_after)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "POOLSCOPE_DIR": str(folder)},
            text=True,
        )
        self.process: Any = started  # Any: the types of its pipes are optional
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
        """Run these commands in it; return the id of the process that has run the last one."""
        for word in words:
            self.process.stdin.write(f"{word}\n")
            self.process.stdin.flush()
            pid = int(self._answer())
        return pid

    def end(self) -> None:
        """Close its input, and wait until it has ended by itself."""
        self.process.communicate()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

"""What was logged: by poolscope in this process, or by another process while it runs."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from support.waiting import PATIENCE


def messages_of_poolscope(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what poolscope has logged in this test; asyncio may log that the machine is slow."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("poolscope")]


class LoggingProcess:
    """
    Runs a command, and keeps everything that it writes, errors included, until `kill`.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        self._lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._follower = threading.Thread(target=self._follow, daemon=True)
        self._follower.start()

    def _follow(self) -> None:
        output = self._process.stdout
        assert output is not None
        for line in output:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def log(self) -> str:
        with self._changed:
            return "".join(self._lines)

    def wait_for(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """Wait for a match in its output and return it; fail if the process ends without one."""

        def match() -> re.Match[str] | None:
            return pattern.search("".join(self._lines))

        with self._changed:
            self._changed.wait_for(lambda: match() or self._ended, PATIENCE)
            matched = match()
        assert matched is not None, self.log
        return matched

    def kill(self) -> None:
        """Kill the process, if it has not ended."""
        self._process.kill()
        self._process.wait()
        self._follower.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


def without_places(said: Any) -> Any:
    """Return a line or facts of poolscope without where the holders of connections are now."""
    if isinstance(said, str):
        return re.sub(r", now at [^,;)]+ in [^,;)]+", "", said)
    if isinstance(said, dict):
        return {key: without_places(value) for key, value in said.items() if key != "now_at"}
    return list(map(without_places, said)) if isinstance(said, list) else said

"""A process whose log is followed while it is written."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Sequence

from support.waiting import PATIENCE


class LoggingProcess:
    """
    Runs a command, and knows what it has said.

    Ended with `kill`; what it says until then is kept, its errors included.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        self._lines: list[str] = []
        self._ended = False
        self._news = threading.Condition()
        self._follower = threading.Thread(target=self._follow, daemon=True)
        self._follower.start()

    def _follow(self) -> None:
        output = self._process.stdout
        assert output is not None
        for line in output:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def log(self) -> str:
        with self._news:
            return "".join(self._lines)

    def wait_for(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """Return the first match in its log, as soon as there is one; fail if it ends without."""

        def said() -> re.Match[str] | None:
            return pattern.search("".join(self._lines))

        with self._news:
            self._news.wait_for(lambda: said() or self._ended, PATIENCE)
            found = said()
        assert found is not None, self.log
        return found

    def kill(self) -> None:
        """End it, if it has not ended."""
        self._process.kill()
        self._process.wait()
        self._follower.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

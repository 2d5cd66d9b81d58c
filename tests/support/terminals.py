"""A real terminal, of tmux, in which a command runs."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from support.tools import required
from support.waiting import PATIENCE


class Terminal:
    """
    A terminal with a server of its own, in which a command runs.

    variables: what its environment has besides that of the tests.
    """

    def __init__(
        self,
        tmux: str,
        socket: Path,
        width: int,
        height: int,
        *command: str,
        variables: Mapping[str, str],
    ) -> None:
        self._tmux = [tmux, "-S", str(socket), "-f", "/dev/null"]
        size = ("-x", str(width), "-y", str(height))
        line = f"{shlex.join(command)}; echo ended with $?; exec cat"
        usual = {"LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
        environment = {**os.environ, **usual, **variables}
        subprocess.run(
            [*self._tmux, "-u", "new-session", "-d", *size, line], env=environment, check=True
        )

    def resize(self, width: int, height: int) -> None:
        size = ("-x", str(width), "-y", str(height))
        subprocess.run([*self._tmux, "resize-window", *size], check=True)

    def screen(self) -> str:
        shown = subprocess.run(
            [*self._tmux, "capture-pane", "-p"], capture_output=True, text=True, check=True
        )
        return shown.stdout

    def press(self, *keys: str) -> None:
        subprocess.run([*self._tmux, "send-keys", *keys], check=True)

    def wait_for(self, *texts: str) -> str:
        """Wait until the screen has all of the texts; return it."""
        deadline = time.monotonic() + PATIENCE
        while not all(text in (screen := self.screen()) for text in texts):
            assert time.monotonic() < deadline, f"{texts} never on this screen:\n{screen}"
        return screen

    def kill(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True)


@pytest.fixture
def terminal(short_path: Path) -> Iterator[Callable[..., Terminal]]:
    tmux = required("tmux", "tmux")
    started: list[Terminal] = []

    def start(width: int, height: int, *command: str, **variables: str) -> Terminal:
        socket = short_path / f"tmux{len(started)}"
        started.append(Terminal(tmux, socket, width, height, *command, variables=variables))
        return started[-1]

    yield start
    for each in started:
        each.kill()

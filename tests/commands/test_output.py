"""Commands whose output is closed, full, or knows few characters."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

PROGRAM: Final = (sys.executable, "-m", "poolscope")
SIZE: Final = (*PROGRAM, "size", "--rate", "120/s", "--hold", "50ms")


def run(*command: str, stdout: Any = subprocess.PIPE, **variables: str) -> tuple[int, str, str]:
    environment: Mapping[str, str] = {**os.environ, **variables}
    ended = subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment, check=False
    )
    return ended.returncode, ended.stdout or "", ended.stderr


@pytest.mark.parametrize("options", [(), ("--format", "json")])
def test_a_reader_that_is_gone(options: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert (1, "", "") == run(*SIZE, *options, stdout=writing)
    finally:
        os.close(writing)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_that_is_full() -> None:
    with Path("/dev/full").open("w") as full:
        said = "poolscope size: cannot print: No space left on device\n"
        assert (1, "", said) == run(*SIZE, stdout=full)


def test_no_output_at_all() -> None:
    words = " ".join(SIZE)
    assert (0, "", "") == run("sh", "-c", f"{words} >&-")
    assert (2, "", "") == run("sh", "-c", f"{words} --bad >&- 2>&-")


def test_a_terminal_that_knows_no_unicode() -> None:
    code, printed, said = run(*SIZE, "--pool", "caf\xe9", PYTHONIOENCODING="ascii")
    assert (0, "caf\\xe9: 13 connections", "") == (code, printed.splitlines()[0], said)


def test_ctrl_c_ends_it_without_a_traceback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = [*PROGRAM, "size", "--url", url]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        with process, silent.accept()[0] as asked:
            asked.recv(1)  # it waits for the answer
            said = None
            while said is None:
                process.send_signal(signal.SIGINT)
                # Again if the first one came just before it waited: Python then goes on to wait.
                with suppress(subprocess.TimeoutExpired):
                    _, said = process.communicate(timeout=10)
    assert (130, "") == (process.returncode, said)

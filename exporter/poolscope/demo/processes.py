"""The processes that the demo starts: the exporter and the workers."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

from poolscope.demo import DemoError, keeper
from poolscope.demo.postgres import temporary_folder

STOP_SECONDS: Final = 10.0
"""How long a process may take to end before it is killed."""

LONGEST_LINE: Final = 1 << 20
"""Of the output of a process, in bytes."""

PREFIX: Final = "poolscope exporter: "
"""Of the line in which the exporter says why it cannot start."""

READY: Final = "serving"
"""A word of the first line that a process prints once it serves."""


@contextmanager
def kept_folder() -> Iterator[tuple[Path, int]]:
    """
    Yield a folder for the files of the demo, and the process group for its processes.

    Both are gone at the end; if this process is killed, its keeper sees to that.
    """
    with temporary_folder() as folder:
        process = subprocess.Popen(  # noqa: S603 - a script of this package
            [sys.executable, "-I", keeper.__file__, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        try:
            yield folder, process.pid
        finally:
            # If it ended first, its keeper would find the folder and stop what is in it.
            shutil.rmtree(folder, ignore_errors=True)
            process.communicate()


class Child:
    """A process that serves."""

    def __init__(self, name: str, process: Process, said: Callable[[str], object]) -> None:
        self.name = name
        self.process = process
        self._said = said
        self._last_line = ""
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read())

    async def ready(self) -> str:
        """Wait until it serves; return the line that says so. Raises DemoError if it ends."""
        line = await self._ready
        if not line:
            await self.process.wait()
            raise DemoError(self._last_line.removeprefix(PREFIX) or self._how_it_ended())
        return line

    def check(self) -> None:
        """Raise DemoError if it has ended."""
        if self.process.returncode is not None:
            why = f": {self._last_line}" if self.process.returncode > 0 and self._last_line else ""
            raise DemoError(f"{self._how_it_ended()}{why}")

    def _how_it_ended(self) -> str:
        code = self.process.returncode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        return f"{self.name} (process {self.process.pid}) {how}"

    async def _read(self) -> None:
        assert self.process.stdout is not None  # noqa: S101 - it is a pipe
        async for raw in self.process.stdout:
            line = raw.decode(errors="replace").rstrip()
            if self._ready.done():
                self._said(line)
            elif READY in line.split():
                self._ready.set_result(line)
                continue
            self._last_line = line or self._last_line
        if not self._ready.done():
            self._ready.set_result("")

    def end(self) -> None:
        """Tell it to end."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        with suppress(ProcessLookupError):
            self.process.terminate()

    async def stop(self) -> None:
        """Let it end, and kill it if that takes too long."""
        self.end()
        try:
            await asyncio.wait_for(self.process.wait(), STOP_SECONDS)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        await self._reading


@asynccontextmanager
async def child(
    name: str,
    arguments: Sequence[str],
    group: int,
    environment: Mapping[str, str],
    said: Callable[[str], object],
    pass_fds: Sequence[int] = (),
) -> AsyncIterator[Child]:
    """
    Run `python -m ARGUMENTS`, in a process group; stop it at the end.

    environment: variables besides those of this process.
    said: called with each line that it prints once it serves.
    """
    # A process group of its own: Ctrl-C in a terminal must reach the demo alone.
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        stdin=PIPE if pass_fds else DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        limit=LONGEST_LINE,
        env={**os.environ, **environment},
        pass_fds=pass_fds,
        process_group=group,
    )
    started = Child(name, process, said)
    try:
        yield started
    finally:
        await started.stop()

"""
The process beside a command that `poolscope run` runs: its exporter, and the report at its end.

It is no child of the command, which might wait for its children, and it ends when the command does.
`launching.beside` has what it says, and is told.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from poolscope.exporter import logs
from poolscope.fleet.fleet import Fleet, FleetView
from poolscope.fleet.folder import FolderError
from poolscope.launching.beside import ABANDONED, STARTED
from poolscope.launching.report import Run

if TYPE_CHECKING:
    from poolscope.exporter.application import Exporter

LOOK_EVERY: Final = 5.0
"""Seconds between two readings of the folder, so that nothing of a process is lost that ends."""

WATCH_EVERY: Final = 0.2
"""Seconds between two looks at the command, where the system cannot tell of its end."""


class Task(NamedTuple):
    """
    What the companion is to do.

    pid: the process of the command.
    folder: where its processes share their pools.
    address: where to serve; None: nowhere.
    report: whether to print the report at the end.
    private: a folder that is removed at the end; "" if there is none.
    socket: where processes ask for the report; "" if there is none.
    """

    pid: int
    folder: str
    address: str | None
    report: bool
    private: str
    socket: str


class CannotStartError(Exception):
    """The message is one line that says why."""


class Companion:
    """Does a task, until the command has ended."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._run = Run()
        self._fleet = Fleet(Path(task.folder), ended=self._run.ended)
        self._exporter: Exporter | None = None
        self._reading = asyncio.Lock()
        self._has_reported = False
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Do the task. Raises CannotStartError."""
        task, loop = self._task, asyncio.get_running_loop()
        watching = asyncio.create_task(self._watch_command())
        background: list[asyncio.Task[Any]] = [watching]
        try:
            if task.address is not None:
                background.append(await self._serve(task.address))
            else:
                background.append(asyncio.create_task(self._look_repeatedly()))
            if task.socket:
                # Its path may be too long. Then the report comes when the command has ended.
                with suppress(OSError):
                    await asyncio.start_unix_server(self._answer, task.socket)
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
                loop.add_signal_handler(number, id, self)  # it ends with the command
            loop.add_signal_handler(signal.SIGUSR1, self._report_soon)
            if task.report:
                _print(f"kill -USR1 {os.getpid()} prints the report at once")
            _say(STARTED)
            if await asyncio.to_thread(_is_abandoned):
                self._has_reported = True
            else:
                await self._ended.wait()
            if task.report and not self._has_reported:
                await self.report()
        finally:
            for each in background:
                each.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            self._fleet.close()

    async def _serve(self, address: str) -> asyncio.Task[None]:
        """Serve as the exporter does; return once it does."""
        try:
            from poolscope.exporter import main
            from poolscope.exporter.addresses import parse_address
            from poolscope.exporter.application import Exporter
            from poolscope.exporter.probes import Probes
        except ImportError as error:
            what = f"{error.name} is missing; pip install 'poolscope[exporter]'"
            raise CannotStartError(what) from error
        options = main.Options(Path(self._task.folder), (parse_address(address),))
        started: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def say(options: main.Options, urls: Any) -> None:
            started.set_result(" ".join(urls))

        self._exporter = Exporter(self._fleet, Probes([]), Probes([]), per_process=False)
        serving = asyncio.create_task(main.serve(options, self._exporter, (), asyncio.Event(), say))
        both: list[asyncio.Future[Any]] = [serving, started]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            raise CannotStartError(str(serving.exception()))
        url = started.result()
        _print(f"metrics at {url}/metrics, live page at {url}/pools")
        return serving

    async def _look_repeatedly(self) -> None:
        while True:
            with suppress(OSError, FolderError):
                await self._look()
            await asyncio.sleep(LOOK_EVERY)

    async def _look(self) -> FleetView:
        if self._exporter is not None:
            return (await self._exporter.refresh())[0]
        async with self._reading:
            return await asyncio.to_thread(self._fleet.scan)

    async def _watch_command(self) -> None:
        """Notice the end of the command."""
        pid, loop = self._task.pid, asyncio.get_running_loop()
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            self._ended.set()
            return
        except (AttributeError, OSError):  # before Linux 5.3
            while _exists(pid):  # noqa: ASYNC110 - nothing tells of its end
                await asyncio.sleep(WATCH_EVERY)
            self._ended.set()
            return
        loop.add_reader(descriptor, self._ended.set)
        try:
            await self._ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    def _report_soon(self) -> None:
        self._reporting = asyncio.ensure_future(self.report())

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The command is about to end, and waits for the report."""
        try:
            await self.report()
            self._has_reported = True
        finally:
            writer.close()

    async def report(self) -> None:
        """Print the report."""
        try:
            text = self._run.text(await self._look())
        except (OSError, FolderError) as error:
            text = f"poolscope: the report cannot be made: {error}\n"
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _print(text: str) -> None:
    print(f"poolscope run: {text}", file=sys.stderr, flush=True)  # noqa: T201 - it is a command


def _say(text: str) -> None:
    """Tell `poolscope run`, which reads one line and then goes away."""
    with suppress(OSError, ValueError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _is_abandoned() -> bool:
    """Return whether the command could not be executed; wait until that is known."""
    select.select([0], [], [])
    return os.read(0, len(ABANDONED)) == ABANDONED


def main() -> int:
    """Do the task that is the only argument."""
    if os.fork():
        os._exit(0)  # so that this is no child of the command
    os.setsid()  # Ctrl-C is for the command
    task = Task(**json.loads(sys.argv[1]))
    logs.configure_logging("warning", "text")
    try:
        asyncio.run(_run(task))
    except (CannotStartError, FolderError) as error:
        _say(str(error))
        return 1
    finally:
        if task.private:
            shutil.rmtree(task.private, ignore_errors=True)
    return 0


async def _run(task: Task) -> None:
    await Companion(task).run()


if __name__ == "__main__":
    sys.exit(main())

"""`poolscope run`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from poolscope.commands.arguments import Commands, complain
from poolscope.exporter.addresses import parse_address
from poolscope.fleet.folder import DIR_VARIABLE, FolderError, check
from poolscope.launching import configuration, interpreters
from poolscope.launching.beside import ABANDONED, STARTED
from poolscope.launching.configuration import REPORT_VARIABLE, SERVE_VARIABLE, RunOptions
from poolscope.launching.interpreters import RefusedError
from poolscope.launching.names import named

SITE: Final = str(Path(interpreters.__file__).parent / "site")
"""The folder with the `sitecustomize` that watches."""

RUN_VARIABLE: Final = "POOLSCOPE_RUN"
"""Tells the first process where to ask for the report; see `sitecustomize`."""

DESCRIPTION: Final = (
    "Runs a command with every connection pool watched that its Python processes make, and without "
    "a change of their code. The command keeps its process id, its input and output, its signals "
    "and its exit code. Each option may stand in an environment variable instead, such as "
    "POOLSCOPE_LEAK_AFTER, or in poolscope.toml or [tool.poolscope] of pyproject.toml in the "
    "working folder, such as leak-after."
)


def run(options: argparse.Namespace) -> int:
    """Become the command; return an exit code only if that is not possible."""
    command = options.words[1:] if options.words[:1] == ["--"] else options.words
    if not command:
        return _fail("name the command to run, such as: poolscope run -- python app.py")
    flags = RunOptions(
        tuple(options.names or ()), options.leak_after, options.call_sites,
        options.application_name, options.dir, options.serve, options.report,
    )  # fmt: skip
    try:
        chosen = configuration.of_everything(flags)
        address = None if chosen.serve is None else serve_address(chosen.serve)
    except ValueError as error:
        return _fail(error)
    environment = dict(os.environ)
    try:
        program = interpreters.find_program(command, environment)
        interpreters.check(command, program, environment)
    except RefusedError as error:
        return _fail(error, error.code)
    try:
        with Preparation(chosen, address, environment) as prepared:
            return _execute(program, command, prepared)
    except (FolderError, RefusedError) as error:
        return _fail(error, getattr(error, "code", 1))


def _execute(program: str, command: Sequence[str], environment: Mapping[str, str]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(program, list(command), dict(environment))  # noqa: S606 - that is the command
    except OSError as error:
        raise interpreters.refused(program, error) from error


def _fail(error: Exception | str, code: int = 2) -> int:
    complain("run", error)
    return code


def serve_address(text: str) -> str:
    """Return HOST:PORT of an address that may lack the host. Raises ValueError."""
    full = f"127.0.0.1:{text}" if text.isascii() and text.isdigit() else text
    parse_address(full)
    return full


class Preparation:
    """
    What the command needs: its environment, which entering returns, a folder, and a companion.

    Leaving it undoes that; after the command was executed, nothing here is left.

    Raises FolderError or RefusedError.
    """

    def __init__(
        self, options: RunOptions, address: str | None, environment: MutableMapping[str, str]
    ) -> None:
        self._options = options
        self._address = address
        self._environment = environment
        self._private = ""
        self._companion: subprocess.Popen[str] | None = None

    def __enter__(self) -> Mapping[str, str]:
        options, environment = self._options, self._environment
        try:
            if self._address is not None or options.report:
                self._start_companion(dict(environment))
            elif options.folder is not None:
                check(Path(options.folder).absolute())
        except BaseException:
            self.__exit__()
            raise
        environment.update(options.variables())
        for variable in (SERVE_VARIABLE, REPORT_VARIABLE):
            environment.pop(variable, None)  # one companion is enough
        if options.folder is not None:
            environment[DIR_VARIABLE] = str(Path(options.folder).absolute())
        elif self._private:
            environment[DIR_VARIABLE] = self._shared
        if options.report:
            environment[RUN_VARIABLE] = f"{os.getpid()}:{self._socket}"
        before = environment.get("PYTHONPATH")
        # One that is empty is the working folder.
        others = before.split(os.pathsep) if before else []
        paths = [SITE, *(path for path in others if path != SITE)]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        return environment

    def __exit__(self, *_: object) -> None:
        if self._companion is not None and self._companion.stdin is not None:
            with suppress(OSError):
                self._companion.stdin.write(ABANDONED.decode())
                self._companion.stdin.close()

    @property
    def _shared(self) -> str:
        return str(Path(self._private) / "pools")

    @property
    def _socket(self) -> str:
        return str(Path(self._private) / "report.sock")

    def _start_companion(self, environment: Mapping[str, str]) -> None:
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        parent = runtime if runtime and os.access(runtime, os.W_OK) else None
        self._private = tempfile.mkdtemp(prefix="poolscope-run-", dir=parent)
        folder = self._options.folder
        task = {
            "pid": os.getpid(),
            "folder": str(Path(folder).absolute()) if folder is not None else self._shared,
            "address": self._address,
            "report": bool(self._options.report),
            "private": self._private,
            "socket": self._socket if self._options.report else "",
        }
        # -P: the working folder may have files with the names of Python's modules.
        arguments = [sys.executable, "-P", "-m", "poolscope.exporter.companion", json.dumps(task)]
        self._companion = subprocess.Popen(  # noqa: S603 - it is ours
            arguments,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stdout = self._companion.stdout
        said = stdout.readline().strip() if stdout is not None else ""
        self._companion.wait()
        if said != STARTED:
            raise RefusedError(said or "the exporter beside the command could not start", 1)
        if folder is None:
            _say(f"the pools are shared in {self._shared}; --dir names another folder")


def _say(text: str) -> None:
    print(f"poolscope run: {text}", file=sys.stderr, flush=True)  # noqa: T201 - it is a command


def _argument(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return the parser of an argument, whose errors argparse shows."""

    def parsed(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def add(commands: Commands) -> None:
    """Add the command with its options."""
    parser = commands.add_parser(
        "run",
        help="run a Python program with every pool watched that it makes",
        description=DESCRIPTION,
        usage="poolscope run [options] [--] CMD ...",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    for flag, settings in OPTIONS:
        parser.add_argument(flag, **settings)
    parser.add_argument(
        "words", metavar="CMD", nargs=argparse.REMAINDER, help="the command, with its arguments"
    )


OPTIONS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    (
        "--name",
        {
            "dest": "names",
            "type": _argument(named),
            "action": "append",
            "metavar": "PATTERN=NAME",
            "help": "the name for pools whose default name the pattern matches, such as "
            "'orders@*=orders'; may be given several times, and the first that matches counts",
        },
    ),
    (
        "--leak-after",
        {
            "type": _argument(configuration.leak_after),
            "metavar": "S",
            "help": "seconds for which a connection may be held before it is overdue, or off "
            "(default: 60)",
        },
    ),
    (
        "--no-call-sites",
        {
            "dest": "call_sites",
            "action": "store_false",
            "default": None,
            "help": "do not find out which lines hold connections",
        },
    ),
    (
        "--application-name",
        {
            "type": _argument(configuration.filled),
            "metavar": "NAME",
            "help": "the name of the service on the PostgreSQL server",
        },
    ),
    (
        "--dir",
        {
            "type": _argument(configuration.filled),
            "metavar": "DIR",
            "help": "the folder that the processes share their pools in (default: that of "
            f"{DIR_VARIABLE}; a new one where --serve or --report needs it)",
        },
    ),
    (
        "--serve",
        {
            "type": _argument(serve_address),
            "metavar": "[HOST:]PORT",
            "help": "serve the metrics and the live page of all its processes there, until the "
            "command ends",
        },
    ),
    (
        "--report",
        {
            "action": "store_true",
            "default": None,
            "help": "print a table of the pools, and what was found, on stderr at the end",
        },
    ),
)

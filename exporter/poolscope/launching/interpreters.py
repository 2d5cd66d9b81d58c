"""
Which Python a command runs, and whether that can watch: before the command runs, it is refused if
its pools would silently not be watched.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import poolscope

OLDEST: Final = (3, 11)

_PYTHON: Final = re.compile(r"(python|pypy)[\d.]*[a-z]?(\.exe)?")
_UWSGI: Final = re.compile(r"(py)?uwsgi([-_].*)?")
_VERSION: Final = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)

_TRAMPOLINE: Final = re.compile(r"'''exec' \"?([^\"]+?)\"? (.*?)\"\$0\"")
"""The second line of a command that pip has installed for a Python whose path is long."""

_QUESTION: Final = """
import json, sys
from importlib.util import find_spec
spec = find_spec("poolscope")
print(json.dumps([list(sys.version_info[:2]), spec and spec.origin]))
"""

_PATIENCE: Final = 20.0
"""Seconds that an interpreter may take to say what it has."""


class RefusedError(Exception):
    """
    The command cannot be run, or not be watched. The message is one line that says why.

    code: the exit code, as a shell has it: 127 for what is not found, 126 for what is no program.
    """

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code: Final = code


class Interpreter(NamedTuple):
    """The Python that a command runs, with the arguments that it gets before the program's."""

    path: str
    arguments: tuple[str, ...]


def find_program(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return the path of the command's program. Raises RefusedError."""
    name = command[0]
    path = shutil.which(name, path=environment.get("PATH", os.defpath))
    if path is not None:
        return path
    file = Path(name)
    if not file.exists() or (os.sep not in name and file.suffix != ".py"):
        raise RefusedError(f"{name}: not found", 127)
    if file.is_dir():
        raise RefusedError(f"{name} is a folder, not a program", 126)
    advice = ""
    if file.suffix == ".py":
        advice = f"; did you mean: poolscope run -- python {' '.join(command)}"
    raise RefusedError(f"{name} is not executable{advice}", 126)


def check(command: Sequence[str], program: str, environment: Mapping[str, str]) -> None:
    """Raise RefusedError if the command runs a Python that would not watch."""
    if _UWSGI.fullmatch(Path(program).name):
        arguments = " ".join(command[1:])
        raise RefusedError(
            "uWSGI has its own Python, which poolscope run does not reach; run instead: "
            f"{command[0]} --import=poolscope.auto --enable-threads {arguments}".rstrip()
        )
    interpreter = interpreter_of(command, program, environment)
    if interpreter is None:
        return
    option = ignoring_option(interpreter.arguments)
    if option is not None:
        raise RefusedError(
            f"{Path(interpreter.path).name} {option} ignores PYTHONPATH, by which poolscope run "
            f"reaches it; leave {option} out, or put `import poolscope.auto` into the program"
        )
    if not _is_ours(interpreter.path):
        _check_installed(Path(program).name, interpreter.path, environment)


def interpreter_of(
    command: Sequence[str], program: str, environment: Mapping[str, str]
) -> Interpreter | None:
    """Return the Python that the program is, or is a script for; None if it is neither."""
    if _PYTHON.fullmatch(Path(program).name):
        return Interpreter(program, tuple(command[1:]))
    try:
        with Path(program).open("rb") as file:
            lines = file.read(4096).decode(errors="replace").split("\n")
    except OSError:
        return None
    if not lines[0].startswith("#!"):
        return None
    name, *arguments = lines[0][2:].split() or [""]
    if Path(name).name == "env":
        name, arguments = _of_env(arguments)
    elif len(lines) > 1 and (match := _TRAMPOLINE.match(lines[1])):
        name, arguments = match[1], match[2].split()
    if not _PYTHON.fullmatch(Path(name).name):
        return None
    path = shutil.which(name, path=environment.get("PATH", os.defpath))
    if path is None:
        raise RefusedError(f"{program} is for {name}, which is not found", 127)
    return Interpreter(path, tuple(arguments))


def _of_env(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Return what `env` runs with these arguments, and the arguments of that."""
    rest = list(arguments)
    while rest and (rest[0].startswith("-") or "=" in rest[0]):
        rest.pop(0)
    return (rest[0], rest[1:]) if rest else ("", [])


def ignoring_option(arguments: Sequence[str]) -> str | None:
    """Return the option of Python's among these that makes it ignore PYTHONPATH, or None."""
    rest = iter(arguments)
    for argument in rest:
        if argument == "--check-hash-based-pycs":
            next(rest, None)
        elif argument.startswith("--"):
            continue
        elif argument == "-" or not argument.startswith("-"):
            return None
        for place, letter in enumerate(argument[1:] if argument[1] != "-" else "", 2):
            if letter in "IES":
                return argument
            if letter in "cm":
                return None
            if letter in "WX":
                if place == len(argument):
                    next(rest, None)
                break
    return None


def _is_ours(path: str) -> bool:
    """Whether it is the Python that executes this, with the same packages."""
    ours = Path(sys.executable)
    try:
        return Path(path).parent.samefile(ours.parent) and Path(path).samefile(ours)
    except OSError:
        return False


def _check_installed(program: str, path: str, environment: Mapping[str, str]) -> None:
    """Raise RefusedError if a Python has no poolscope, or another version of it."""
    answer = _asked(path, environment)
    if answer is None:
        return  # it does not work, which it says itself when it is run
    (major, minor), origin = answer
    what = f"{program} runs {path}" if program != Path(path).name else path
    if (major, minor) < OLDEST:
        raise RefusedError(
            f"{what}, which is Python {major}.{minor}; poolscope needs 3.11 or later"
        )
    if origin is None:
        raise RefusedError(
            f"{what}, which has no poolscope; install it there: {path} -m pip install poolscope"
        )
    version = _version_in(origin)
    if version is not None and version != poolscope.__version__:
        raise RefusedError(
            f"{what}, which has poolscope {version}, but this is {poolscope.__version__}; run the "
            f"one there: {path} -m poolscope run"
        )


def _asked(path: str, environment: Mapping[str, str]) -> tuple[tuple[int, int], str | None] | None:
    """Return the version of a Python, and the file of its poolscope, if it says that."""
    try:
        done = subprocess.run(  # noqa: S603 - the user runs it in a moment
            [path, "-c", _QUESTION],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=_PATIENCE,
        )
        (major, minor), origin = json.loads(done.stdout.decode().splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None
    return (major, minor), origin


def _version_in(origin: str) -> str | None:
    try:
        match = _VERSION.search(Path(origin).read_text(encoding="utf-8"))
    except OSError:
        return None
    return match[1] if match else None


def refused(program: str, error: OSError) -> RefusedError:
    """Return why the system does not execute the program."""
    if error.errno == errno.ENOEXEC:
        return RefusedError(
            f"{program} is no program: it begins with no line such as #!/bin/sh", 126
        )
    if error.errno == errno.ENOENT:
        return RefusedError(f"{program}: what its first line names is not found", 127)
    return RefusedError(f"{program}: {error.strerror}", 126)

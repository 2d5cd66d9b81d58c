"""
Which packages are the main program's: what `python -m` or a command runs, and what a server such as
uvicorn, gunicorn or celery was told to run. They are the application even where they are installed.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any, Final, NamedTuple

from poolscope.callsites.libraries import WELL_KNOWN
from poolscope.process.off_loop import off_loop

MAIN: Final = ("__main__", "__mp_main__")
"""What the main program is called; `multiprocessing` uses the second name in its children."""

_COMMANDS: Final = PurePath(sys.executable).parent if sys.executable else None

_VARIABLES: Final = ("DJANGO_SETTINGS_MODULE", "FLASK_APP", "CELERY_APP", "_HANDLER")
"""They name a module of the application; the last one is that of AWS Lambda."""

_MODULE: Final = re.compile(r"[^\W\d]\w*(?:[./][^\W\d]\w*)*")
_DOTTED: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_CALLABLE: Final = re.compile(rf"({_MODULE.pattern}):[^\W\d][\w.]*(?:\(.*\))?")
_IN_PACKAGES: Final = re.compile(r"(?:site|dist)-packages[\\/](\w+)")
_MORE_THAN_A_LAUNCHER: Final = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.With, ast.For, ast.While
)  # fmt: skip

_MAX_LAUNCHER: Final = 10_000
"""Characters of a program that may only call another one; installers write a few lines."""


class Program(NamedTuple):
    """
    The main program.

    packages: its top-level packages, as far as they are known.
    launcher: its file, if that only imports something and calls it, as an installed command; or "".
    """

    packages: frozenset[str]
    launcher: str


_found: dict[tuple[Any, ...], Program] = {}
"""By what it was found from; it has one entry unless `sys.argv` changes."""


def main_program() -> Program:
    """Return what is known of the main program."""
    main = sys.modules.get("__main__")
    name = getattr(getattr(main, "__spec__", None), "name", "")
    named = [os.environ.get(variable, "") for variable in _VARIABLES]
    arguments = [str(argument) for argument in getattr(sys, "argv", None) or ()]
    key = (name, getattr(main, "__file__", None), *arguments, None, *named)
    found = _found.get(key)
    if found is None:
        _found.clear()
        found = _found[key] = off_loop(lambda: _program(main, name, arguments, named))
    return found


def is_command(path: str) -> bool:
    """Whether it is the file of an installed command, such as uvicorn."""
    # It is in the same folder as Python; on Windows, in an archive there.
    file = PurePath(path)
    folder = file.parent
    if file.name == "__main__.py":
        return folder.suffix == ".exe" and folder.parent == _COMMANDS
    return folder == _COMMANDS and (file.suffix != ".py" or file.stem.endswith("-script"))


def _program(main: Any, name: str, arguments: list[str], named: list[str]) -> Program:
    launched = set() if name and name not in MAIN else set(_launched(main))
    run = launched or {_top(name)} - {"", *MAIN}
    # What `python -m` has run, in a process that `multiprocessing` has spawned.
    if not run and arguments and (match := _IN_PACKAGES.search(arguments[0])):
        run = {match[1]}
    packages = {*run, *_of_uwsgi()}
    packages.update(_top(match[0]) for text in named if (match := _MODULE.match(text)))
    if run:
        packages.update(_named_by(arguments[1:], is_server=not run.isdisjoint(WELL_KNOWN)))
    return Program(frozenset(packages - WELL_KNOWN), str(main.__file__) if launched else "")


def _named_by(arguments: list[str], is_server: bool) -> Iterator[str]:
    """Yield the packages that the arguments name as `package.module:attribute`; a server's, any."""
    for argument in arguments:
        text = argument.rpartition("=")[2] if argument.startswith("-") else argument
        if match := _CALLABLE.fullmatch(text) or (_DOTTED.fullmatch(text) if is_server else None):
            yield _top(match[0].partition(":")[0])


def _launched(main: Any) -> Iterator[str]:
    """Yield the packages that the file of the main program calls, if it does nothing else."""
    file = getattr(main, "__file__", None)
    if not file or (PurePath(file).suffix == ".py" and PurePath(file).name != "__main__.py"):
        return
    with suppress(ImportError, OSError, SyntaxError, ValueError):  # it may be any file
        text = _source(main, file)
        if len(text) > _MAX_LAUNCHER:
            return
        nodes = list(ast.walk(ast.parse(text)))
        if any(isinstance(node, _MORE_THAN_A_LAUNCHER) for node in nodes):
            return
        modules = dict(pair for node in nodes for pair in _imported(node))
        for node in nodes:
            package = modules.get(_root(node.func)) if isinstance(node, ast.Call) else None
            if package is not None and package not in sys.stdlib_module_names:
                yield package


def _source(main: Any, file: str) -> str:
    """Return the text of the main program, which may lie in an archive."""
    get_source = getattr(main.__loader__, "get_source", None)
    if get_source is None:
        return Path(file).read_text(encoding="utf-8")
    return get_source(main.__spec__.name if main.__spec__ else "__main__") or ""


def _imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the names that a statement imports, with the top-level packages that they are from."""
    if isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            yield alias.asname or alias.name, _top(node.module)
    elif isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.asname or _top(alias.name), _top(alias.name)


def _root(node: ast.expr) -> str:
    """Return `a` of `a.b.c`, or ""."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _of_uwsgi() -> Iterator[str]:
    uwsgi: Any = sys.modules.get("uwsgi")
    options: Any = getattr(uwsgi, "opt", None) or {}
    for name in ("module", "wsgi"):
        value = options.get(name)
        text = value.decode(errors="replace") if isinstance(value, bytes) else ""
        if match := _MODULE.match(text):
            yield _top(match[0])


def _top(name: str) -> str:
    return re.split(r"[./]", name, maxsplit=1)[0]

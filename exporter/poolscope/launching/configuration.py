"""
The options of `poolscope run`: those of the command line, then of the environment, then of a file.

The file is poolscope.toml, or the table [tool.poolscope] of pyproject.toml, in the working folder.
"""

from __future__ import annotations

import os
import shlex
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from poolscope.fleet.folder import DIR_VARIABLE
from poolscope.launching.names import Names, named
from poolscope.launching.settings import (
    CALL_SITES_VARIABLE,
    LEAK_AFTER_VARIABLE,
    NAMES_VARIABLE,
    OFF,
    is_on,
    leak_after_of,
    names_of,
)
from poolscope.readings.application_names import APPLICATION_NAME_VARIABLE

SERVE_VARIABLE: Final = "POOLSCOPE_SERVE"
REPORT_VARIABLE: Final = "POOLSCOPE_REPORT"

OWN_FILE: Final = "poolscope.toml"
PROJECT_FILE: Final = "pyproject.toml"

CHECK: Final = "check"
"""The table of what `poolscope check` is to do."""


class RunOptions(NamedTuple):
    """
    What `poolscope run` is to do; None where nobody says.

    leak_after: in seconds, or `off`.
    serve: the address of the exporter beside the command.
    report: whether to print a table at the end.
    """

    names: Names = ()
    leak_after: str | None = None
    call_sites: bool | None = None
    application_name: str | None = None
    folder: str | None = None
    serve: str | None = None
    report: bool | None = None

    def over(self, others: RunOptions) -> RunOptions:
        """Return these options, and those of `others` where these say nothing."""
        pairs = zip(self, others, strict=True)
        chosen = [other if mine is None else mine for mine, other in pairs]
        return RunOptions._make(chosen)._replace(names=self.names + others.names)

    def variables(self) -> dict[str, str]:
        """Return the environment variables that tell the processes of the command."""
        values = {
            NAMES_VARIABLE: shlex.join(f"{pattern}={name}" for pattern, name in self.names),
            LEAK_AFTER_VARIABLE: self.leak_after,
            CALL_SITES_VARIABLE: None if self.call_sites is None else str(int(self.call_sites)),
            APPLICATION_NAME_VARIABLE: self.application_name,
            DIR_VARIABLE: self.folder,
        }
        return {name: value for name, value in values.items() if value}


def leak_after(text: str) -> str:
    """Return the text if it is a time or `off`. Raises ValueError."""
    leak_after_of(text)
    return text


def filled(text: str) -> str:
    """Return the text if it is not empty. Raises ValueError."""
    if not text.strip():
        raise ValueError("it must not be empty")
    return text


_VARIABLES: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "names": (NAMES_VARIABLE, names_of),
    "leak_after": (LEAK_AFTER_VARIABLE, leak_after),
    "call_sites": (CALL_SITES_VARIABLE, is_on),
    "application_name": (APPLICATION_NAME_VARIABLE, str),
    "folder": (DIR_VARIABLE, filled),
    "serve": (SERVE_VARIABLE, filled),
    "report": (REPORT_VARIABLE, is_on),
}


def of_environment(environment: Mapping[str, str]) -> RunOptions:
    """Return the options in environment variables. Raises ValueError that names the variable."""
    found: dict[str, Any] = {}
    for option, (variable, parse) in _VARIABLES.items():
        text = environment.get(variable)
        if text:
            try:
                found[option] = parse(text)
            except ValueError as error:
                raise ValueError(f"{variable}: {error}") from None
    return RunOptions(**found)


def _names(value: object) -> Names:
    if isinstance(value, dict):
        value = [f"{pattern}={name}" for pattern, name in value.items() if _is_text(name)]
    if not isinstance(value, list):
        raise ValueError("it must be a table, or a list of PATTERN=NAME")
    return tuple(named(each) for each in value if _is_text(each))


def _is_text(value: object) -> bool:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a string")
    return True


def _time(value: object) -> str:
    if value is False:
        return OFF
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{value!r} is not a number of seconds, or {OFF!r}")
    return leak_after(str(value))


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _text(value: object) -> str:
    _is_text(value)
    return filled(str(value))


def _address(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(value)


_KEYS: Final[dict[str, tuple[str, Callable[[object], Any]]]] = {
    "names": ("names", _names),
    "leak-after": ("leak_after", _time),
    "call-sites": ("call_sites", _switch),
    "application-name": ("application_name", _text),
    "dir": ("folder", _text),
    "serve": ("serve", _address),
    "report": ("report", _switch),
}


def of_folder(folder: Path) -> RunOptions:
    """
    Return the options in the file of a folder, if there is one.

    Raises ValueError that names the file and the key.
    """
    table, where = _table(folder)
    found: dict[str, Any] = {}
    for key, value in table.items():
        if key == CHECK:
            continue
        if key not in _KEYS:
            known = ", ".join((*_KEYS, CHECK))
            raise ValueError(f"{where}: {key!r} is not known; known are {known}")
        option, parse = _KEYS[key]
        try:
            found[option] = parse(value)
        except ValueError as error:
            raise ValueError(f"{where}: {key}: {error}") from None
    return RunOptions(**found)


def check_table(folder: Path) -> tuple[dict[str, Any], str]:
    """Return what the file of a folder says of `poolscope check`, and where. Raises ValueError."""
    table, where = _table(folder)
    check = table.get(CHECK, {})
    where = where.replace("[tool.poolscope]", f"[tool.poolscope.{CHECK}]")
    if not isinstance(check, dict):
        raise ValueError(f"{where}: it must be a table")
    return check, where


def _table(folder: Path) -> tuple[dict[str, Any], str]:
    """Return the table of all options, and where it stands."""
    file = folder / OWN_FILE
    table, where = _read(file), file.name
    if table is None:
        file = folder / PROJECT_FILE
        tool = (_read(file) or {}).get("tool", {})
        table = tool.get("poolscope", {}) if isinstance(tool, dict) else {}
        where = f"{file.name}, [tool.poolscope]"
    if not isinstance(table, dict):
        raise ValueError(f"{where}: it must be a table")
    return table, where


def _read(file: Path) -> dict[str, Any] | None:
    """Return what the file says; None if there is none."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{file.name}: cannot be read: {reason}") from None


def of_everything(flags: RunOptions) -> RunOptions:
    """Return the options that hold for this process. Raises ValueError."""
    return flags.over(of_environment(os.environ)).over(of_folder(Path.cwd()))

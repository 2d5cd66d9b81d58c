"""Types of command-line arguments; an invalid value gets one line that says what is valid."""

from __future__ import annotations

import argparse
import logging
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

from poolscope.exporter.addresses import Address, parse_address


class Parser(argparse.ArgumentParser):
    """Prints an error as one line without the usage, or as JSON if the log is to be JSON."""

    _given: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Remember the arguments: an error must have the format that they ask for."""
        self._given = sys.argv[1:] if args is None else args
        found, unknown = super().parse_known_args(args, namespace)
        if unknown and self._subparsers is None:
            # Said by the parser of the command, which knows the options that there are.
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._meant(unknown)}")
        return found, unknown

    def _meant(self, unknown: Sequence[str]) -> str:
        """Return which options were perhaps meant."""
        options = [option for option in self._option_string_actions if option.startswith("--")]
        wrong = [word.partition("=")[0] for word in unknown if word.startswith("--")]
        meant = [option for word in wrong for option in _similar(word, options)]
        return f"; did you mean {' or '.join(dict.fromkeys(meant))}?" if meant else ""

    def error(self, message: str) -> NoReturn:
        """Print one line, and exit with 2."""
        text = f"{message} (see {self.prog} --help)"
        if _asks_for_json(self._given):
            _log_as_json(text)
            self.exit(2)
        self.exit(2, f"{self.prog}: {text}\n")


def _similar(word: str, options: Sequence[str]) -> Sequence[str]:
    """Return the option that is spelled nearly as a word, or else those few that contain it."""
    containing = [option for option in options if len(word) > 4 and word.lstrip("-") in option]
    return get_close_matches(word, options, n=1, cutoff=0.75) or containing[:3]


def _asks_for_json(arguments: Sequence[str]) -> bool:
    return "--log.format=json" in arguments or ("--log.format", "json") in pairwise(arguments)


def _log_as_json(text: str) -> None:
    from poolscope.exporter import logs

    logs.configure_logging("info", "json")
    logging.getLogger("poolscope.exporter").error("%s", text)


POSTGRES_VARIABLE: Final = "POOLSCOPE_POSTGRES"
"""The environment variable with the DSNs of PostgreSQL servers."""

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


def listen_address(text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def folder(text: str) -> Path:
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} does not name a folder")
    return Path(text)


def dsn(text: str) -> str:
    from poolscope.exporter.dsn import check

    try:
        check(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def dsns_of_environment(variable: str) -> list[str]:
    """
    Return the DSNs in an environment variable, which are separated by spaces.

    Raises ValueError if one is malformed; the message does not repeat it, as it may be a secret.
    """
    from poolscope.exporter.dsn import check

    dsns = os.environ.get(variable, "").split()
    for given in dsns:
        try:
            check(given)
        except ValueError as error:
            raise ValueError(f"{variable}: {error}") from None
    return dsns


_NUMBER: Final = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def number(text: str) -> float:
    """Return what plain digits say, perhaps infinity; NaN for all else, which `float` accepts."""
    return float(text) if _NUMBER.fullmatch(text) else math.nan


MAX_SECONDS: Final = 1e9
"""Some 30 years: more than the system can wait for at once."""


def seconds(text: str) -> float:
    value = number(text)
    if not 0 < value <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return value


def port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, a whole number from 0 to 65535")
    return int(text)


def address(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an address such as 127.0.0.1 or localhost"
        )
    return text


def complain(command: str, error: Exception | str, as_json: bool = False) -> None:
    """Print on stderr, in one line, why a command failed."""
    text = str(error)
    if isinstance(error, OSError) and error.filename:
        text = f"{error.filename}: {error.strerror}"
    if as_json:
        _log_as_json(text)
    else:
        print(f"poolscope {command}: {text}", file=sys.stderr)  # noqa: T201 - it is a command


MAX_DIGITS: Final = 9
"""Of a whole number."""


def count(least: int) -> Callable[[str], int]:
    """Return the parser of a whole number that is not below `least`."""

    def parse(text: str) -> int:
        if re.fullmatch("[0-9]+", text) is None or int(text[:MAX_DIGITS]) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
        if len(text) > MAX_DIGITS:
            raise argparse.ArgumentTypeError(f"{text[:MAX_DIGITS]}... is too large a number")
        return int(text)

    return parse


def http_address(text: str) -> str:
    from poolscope.sizing.http import check

    try:
        return check(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


DEFAULT_URL: Final = "http://127.0.0.1:10464"

URL_VARIABLE: Final = "POOLSCOPE_URL"
"""Has the address of the exporter, so that no password need stand in a list of processes."""


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the options that say whom to ask: an exporter, or a folder."""
    parser.add_argument(
        "--url",
        type=http_address,
        help=f"the exporter to ask (default: that of {URL_VARIABLE}, or {DEFAULT_URL})",
    )
    parser.add_argument(
        "--dir", type=folder, metavar="DIR", help="the folder to read, if no exporter reads it"
    )


def url_of(given: str | None) -> str:
    """Return the address of the exporter. Raises ValueError if the variable has none."""
    of_environment = os.environ.get(URL_VARIABLE)
    if given is not None or not of_environment:
        return given or DEFAULT_URL
    try:
        return http_address(of_environment)
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"{URL_VARIABLE}: {error}") from None

"""Types of command-line arguments; an invalid value gets one line that says what is valid."""

from __future__ import annotations

import argparse
import math
import sys
from typing import NoReturn, TypeAlias


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line, without the usage."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


def listen_address(text: str) -> tuple[str, int]:
    host, colon, number = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or (":" in host and not text.startswith("[")):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not HOST:PORT, such as 127.0.0.1:10464 or [::1]:10464"
        )
    # As with other exporters, without a host it listens everywhere.
    return host or "0.0.0.0", port(number)  # noqa: S104


def dsn(text: str) -> str:
    from poolscope.exporter.dsn import check

    try:
        check(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
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


def complain(command: str, error: Exception | str) -> None:
    """Print on stderr, in one line, why a command failed."""
    text = str(error)
    if isinstance(error, OSError) and error.filename:
        text = f"{error.filename}: {error.strerror}"
    print(f"poolscope {command}: {text}", file=sys.stderr)  # noqa: T201 - it is a command

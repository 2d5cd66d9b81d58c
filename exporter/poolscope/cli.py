"""
The command `poolscope`.

Exit codes: 0 for success, 1 for a failure, 2 for bad arguments; each of the latter with one line
on stderr.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import poolscope


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (default: those of the process) name."""
    options = _parser().parse_args(arguments)
    try:
        return _demo(options)
    except BrokenPipeError:
        # Whoever read the output is gone; Python's own flush at exit would complain about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _demo(options: argparse.Namespace) -> int:
    from poolscope import demo

    try:
        return demo.run(options.seconds, options.port, options.addr)
    except demo.DemoError as error:
        print(f"poolscope demo: {error}", file=sys.stderr)  # noqa: T201 - it is a command
        return 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line, not the usage too."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="poolscope",
        description="Connection pools of SQLAlchemy, asyncpg and aiohttp as Prometheus metrics.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {poolscope.__version__}")
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    _add_demo(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = (
        "A web service on an embedded PostgreSQL, with pools of every kind under a load that "
        "swings and at times exhausts them; its metrics, and a summary that refreshes. Ctrl-C "
        "stops all of it and leaves nothing behind."
    )
    parser = commands.add_parser(
        "demo",
        help="watch real pools under load, on an embedded PostgreSQL",
        description=text,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--seconds", type=_seconds, metavar="N", help="end after N seconds (default: at Ctrl-C)"
    )
    parser.add_argument(
        "--port",
        type=_port,
        metavar="N",
        default=10464,
        help="port of the metrics, 0 for any that is free (default: %(default)s)",
    )
    parser.add_argument(
        "--addr",
        type=_address,
        default="127.0.0.1",
        help="address that the metrics are served at (default: %(default)s)",
    )


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return value


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, a whole number from 0 to 65535")
    return int(text)


def _address(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an address such as 127.0.0.1 or localhost"
        )
    return text

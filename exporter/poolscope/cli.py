"""
The command `poolscope`.

Exit codes: 0 for success, 1 for a failure, 2 for bad arguments, 130 after Ctrl-C. A failure and bad
arguments print one line on stderr.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import TYPE_CHECKING, Final

import poolscope

if TYPE_CHECKING:
    from poolscope.commands.arguments import Parser


CANNOT_WRITE: Final = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of an output that somebody else has closed, or that has no room."""

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C, as of a shell."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return the exit code; `arguments` are by default those of the process."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given == ["--version"]:
        # Without the commands, which take longer to import than anybody wants to wait for this.
        sys.stdout.write(f"poolscope {poolscope.__version__}\n")
        sys.exit(0)
    parser = _parser()
    if "_ARGCOMPLETE" in os.environ:
        _complete(parser)
    options = parser.parse_args(arguments)
    _prepare_output()
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        # Without this, Python's flush at exit would fail as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno != errno.EPIPE:  # a reader that is gone wants to know no more
            sys.stderr.write(f"poolscope {options.command}: cannot print: {error.strerror}\n")
        return 1
    return code


def _prepare_output() -> None:
    """Have text that the terminal cannot show be escaped, and output that is closed be nowhere."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - for all time
    elif isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _complete(parser: Parser) -> None:
    """Answer a shell that completes a command line, and exit: nothing must be run for that."""
    try:
        import argcomplete
    except ImportError:
        sys.exit(1)
    argcomplete.autocomplete(parser)


def _parser() -> Parser:
    from poolscope.commands import alerts, check, dashboards, demo, exporter, run, size, top
    from poolscope.commands.arguments import Parser

    parser = Parser(
        prog="poolscope",
        description="Prometheus metrics for connection pools of SQLAlchemy, asyncpg and aiohttp.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {poolscope.__version__}")
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    for command in (demo, run, exporter, top, check, size, dashboards, alerts):
        command.add(commands)
    return parser

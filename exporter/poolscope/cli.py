"""
The command `poolscope`.

Exit codes: 0 for success, 1 for a failure, 2 for bad arguments; each of the latter with one line
on stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import poolscope
from poolscope.commands import alerts, dashboards, demo, exporter
from poolscope.commands.arguments import Parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (default: those of the process) name."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except BrokenPipeError:
        # Whoever read the output is gone; Python's own flush at exit would complain about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _parser() -> Parser:
    parser = Parser(
        prog="poolscope",
        description="Connection pools of SQLAlchemy, asyncpg and aiohttp as Prometheus metrics.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {poolscope.__version__}")
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    for command in (demo, exporter, dashboards, alerts):
        command.add(commands)
    return parser

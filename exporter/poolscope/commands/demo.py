"""`poolscope demo`."""

from __future__ import annotations

import argparse
import os

from poolscope import demo
from poolscope.commands.arguments import (
    Commands,
    address,
    complain,
    dsn,
    listen_address,
    port,
    seconds,
)


def run(options: argparse.Namespace) -> int:
    """Run the demo until it is over; return the exit code."""
    try:
        return demo.run(options.seconds, options.port, options.addr, options.postgres)
    except demo.DemoError as error:
        complain("demo", error)
        return 1


def _host(text: str) -> str:
    """Return an address that the exporter can be told to listen at, with the port."""
    host = address(text)
    listen_address(f"[{host}]:0" if ":" in host else f"{host}:0")
    return host


def add(commands: Commands) -> None:
    """Add the command with its options."""
    text = (
        "Runs two processes of a web service on an embedded PostgreSQL, with pools of every kind, "
        "and the exporter beside them, with a live page. The load exhausts each pool from time to "
        "time, and the service makes two mistakes on purpose. The demo shows a summary that "
        "refreshes. Ctrl-C stops everything and leaves nothing behind."
    )
    parser = commands.add_parser(
        "demo",
        help="watch real pools under load, on an embedded PostgreSQL",
        description=text,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--seconds",
        type=seconds,
        metavar="N",
        help="stop after N seconds (default: run until Ctrl-C)",
    )
    parser.add_argument(
        "--port",
        type=port,
        metavar="N",
        default=10464,
        help="the port that the exporter listens on; 0 is any free port (default: %(default)s)",
    )
    parser.add_argument(
        "--addr",
        type=_host,
        default="127.0.0.1",
        help="the address that the exporter listens on (default: %(default)s)",
    )
    parser.add_argument(
        "--postgres",
        type=dsn,
        metavar="DSN",
        default=os.environ.get(demo.POSTGRES_VARIABLE) or None,
        help="a PostgreSQL server to use (default: the one in "
        f"{demo.POSTGRES_VARIABLE}, or an embedded one)",
    )

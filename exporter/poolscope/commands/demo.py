"""`poolscope demo`."""

from __future__ import annotations

import argparse
import os
from typing import Final

from poolscope.commands.arguments import Commands, address, complain, dsn, port, seconds

DEMO_POSTGRES: Final = "POOLSCOPE_DEMO_POSTGRES"


def run(options: argparse.Namespace) -> int:
    from poolscope import demo

    try:
        return demo.run(options.seconds, options.port, options.addr, options.postgres)
    except demo.DemoError as error:
        complain("demo", error)
        return 1


def add(commands: Commands) -> None:
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
    parser.set_defaults(run=run)
    parser.add_argument(
        "--seconds", type=seconds, metavar="N", help="end after N seconds (default: at Ctrl-C)"
    )
    parser.add_argument(
        "--port",
        type=port,
        metavar="N",
        default=10464,
        help="port of the metrics, 0 for any that is free (default: %(default)s)",
    )
    parser.add_argument(
        "--addr",
        type=address,
        default="127.0.0.1",
        help="address that the metrics are served at (default: %(default)s)",
    )
    parser.add_argument(
        "--postgres",
        type=dsn,
        metavar="DSN",
        default=os.environ.get(DEMO_POSTGRES) or None,
        help=f"a PostgreSQL server to use (default: that of {DEMO_POSTGRES}, or one of its own)",
    )

"""`poolscope top`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from poolscope.commands.arguments import Commands, add_source, complain, seconds, url_of

if TYPE_CHECKING:
    from poolscope.terminal.sources import Source

NEVER, COULD_NOT_ASK = 1, 3
"""Exit codes."""

POLL_SECONDS: Final = 0.5
"""How often `--watch-for` looks."""


def run(options: argparse.Namespace) -> int:
    """Show the pools until the user quits, or once; return the exit code."""
    try:
        from poolscope.sizing.http import SourceError
        from poolscope.terminal import conditions, sources

        asked: str | None = options.watch_for
        wanted = conditions.condition(asked) if asked is not None else None
        if options.url is not None and options.dir is not None:
            raise ValueError("give only one of --url and --dir")
        url = url_of(options.url)
    except ImportError as error:
        return _complain(f"{error.name} is missing; pip install 'poolscope[top]'", 1)
    except ValueError as error:
        return _complain(error, 2)
    try:
        source: Source = (
            sources.Folder(options.dir) if options.dir is not None else sources.Exporter(url)
        )
    except SourceError as error:
        return _complain(error, COULD_NOT_ASK)
    try:
        if wanted is not None:
            return _wait(source, wanted, options)
        if options.json or options.once or not _has_terminal():
            return _print_once(source, options)
        return _show(source, options)
    except SourceError as error:
        return _complain(error, COULD_NOT_ASK)
    finally:
        source.close()


def _complain(what: Exception | str, code: int) -> int:
    complain("top", what)
    return code


def _has_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _show(source: Source, options: argparse.Namespace) -> int:
    try:
        from poolscope.terminal.app import Top
        from poolscope.terminal.table import Glyphs
    except ImportError as error:
        return _complain(f"{error.name} is missing; pip install 'poolscope[top]'", 1)
    app = Top(source, options.interval, options.pool or "", Glyphs.for_encoding(_encoding()))
    app.run()
    return app.return_code or 0


def _encoding() -> str | None:
    return getattr(sys.stdout, "encoding", None)


def _print_once(source: Source, options: argparse.Namespace) -> int:
    """Look twice, as rates are of the time in between, and print."""
    from poolscope.terminal import once
    from poolscope.terminal.model import Model

    model = Model()
    model.update(source.read(), time.monotonic())
    time.sleep(options.interval)
    model.update(source.read(), time.monotonic())
    if options.json:
        sys.stdout.write(once.as_json(model, options.sort, options.pool or ""))
    else:
        once.print_once(model, options.sort, options.pool or "")
    return 0


def _wait(source: Source, wanted: Any, options: argparse.Namespace) -> int:
    from poolscope.terminal.model import Model

    model, until = Model(), time.monotonic() + options.timeout
    while True:
        model.update(source.read(), time.monotonic())
        if wanted.holds(model):
            sys.stdout.write(f"{options.watch_for}\n")
            return 0
        left = until - time.monotonic()
        if left <= 0:
            message = f"{options.watch_for!r} did not hold for {options.timeout:g} s"
            return _complain(message, NEVER)
        time.sleep(min(POLL_SECONDS, left))


def add(commands: Commands) -> None:
    """Add the command with its options."""
    parser = commands.add_parser(
        "top",
        help="show the pools in this terminal, as they change",
        description=(
            "Shows the pools, the fullest first, who holds their connections and what was found, "
            "and refreshes itself; ? shows the keys. Asks an exporter, with a password from the "
            "address or from netrc, or reads the folder of processes where no exporter does. Where "
            "the output is no terminal, it prints once."
        ),
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    add_source(parser)
    parser.add_argument(
        "--pool", metavar="WORDS", help="only pools whose name or holders have them"
    )
    parser.add_argument(
        "--interval",
        type=seconds,
        default=2.0,
        metavar="S",
        help="seconds between two looks (default: %(default)g)",
    )
    parser.add_argument(
        "--sort",
        choices=("fullest", "waiting", "rate", "name"),
        default="fullest",
        help="what comes first where it prints once (default: %(default)s)",
    )
    parser.add_argument("--once", action="store_true", help="print once, and end")
    parser.add_argument("--json", action="store_true", help="print once, as JSON")
    parser.add_argument(
        "--watch-for",
        metavar="CONDITION",
        help="wait until a pool is so, such as 'orders.waiting>0'; exit code 1 after --timeout",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=60.0,
        metavar="S",
        help="how long --watch-for waits (default: %(default)g)",
    )

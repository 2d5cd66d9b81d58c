"""`poolscope exporter`."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Final

from poolscope.commands.arguments import Commands, complain, dsn, listen_address
from poolscope.fleet.folder import VARIABLE, FolderError

POSTGRES: Final = "POOLSCOPE_POSTGRES"
PGBOUNCER: Final = "POOLSCOPE_PGBOUNCER"
"""Variables with DSNs of what the exporter asks."""

TAKEN: Final = ("/api/v1/pools", "/pools", "/-/healthy", "/-/ready")
"""Paths that the exporter has besides the metrics."""


def run(options: argparse.Namespace) -> int:
    if options.dir is None:
        complain(
            "exporter",
            "name the folder of the processes with --dir or POOLSCOPE_DIR "
            "(see poolscope exporter --help)",
        )
        return 2
    try:
        from poolscope.exporter import logs, main
    except ImportError as error:
        complain("exporter", f"{error.name} is missing; pip install 'poolscope[exporter]'")
        return 1
    logs.configure(options.log_level, options.log_format)
    host, port = options.listen_address
    try:
        main.run(
            main.Options(
                folder=options.dir,
                host=host,
                port=port,
                metrics_path=options.telemetry_path,
                web_config=options.web_config,
                postgres=tuple(options.postgres or _dsns_of_environment(POSTGRES)),
                pgbouncer=tuple(options.pgbouncer or _dsns_of_environment(PGBOUNCER)),
                per_process=options.per_process,
            )
        )
    except (ValueError, FolderError, main.ServerError) as error:
        complain("exporter", error)
        return 2 if isinstance(error, ValueError) else 1
    return 0


def _dsns_of_environment(variable: str) -> list[str]:
    """Return what a variable names, with spaces in between; raise ValueError, without a secret."""
    from poolscope.exporter.dsn import check

    dsns = os.environ.get(variable, "").split()
    for given in dsns:
        try:
            check(given)
        except ValueError as error:
            raise ValueError(f"{variable}: {error}") from None
    return dsns


def add(commands: Commands) -> None:
    text = (
        "Serves the metrics of all processes that have POOLSCOPE_DIR set to one folder, those "
        "that are stuck included, and keeps the counters of those that are gone. One exporter "
        "for each folder, run by the same user as the processes."
    )
    parser = commands.add_parser(
        "exporter",
        help="serve the metrics of all processes of a host",
        description=text,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    given = os.environ.get(VARIABLE)
    parser.add_argument(
        "--dir",
        type=Path,
        metavar="DIR",
        default=Path(given) if given else None,
        help=f"the folder of the processes (default: that of {VARIABLE})",
    )
    parser.add_argument(
        "--web.listen-address",
        dest="listen_address",
        type=listen_address,
        metavar="HOST:PORT",
        default="127.0.0.1:10464",
        help="where to listen, port 0 for any that is free (default: %(default)s)",
    )
    parser.add_argument(
        "--web.telemetry-path",
        dest="telemetry_path",
        type=_path,
        metavar="PATH",
        default="/metrics",
        help="where the metrics are (default: %(default)s)",
    )
    parser.add_argument(
        "--web.config.file",
        dest="web_config",
        type=Path,
        metavar="FILE",
        help="TLS and passwords, as other exporters of Prometheus have it; read again when it "
        "changes (default: plain HTTP, and no passwords)",
    )
    for option, variable, what in (
        ("--postgres", POSTGRES, "a PostgreSQL server"),
        ("--pgbouncer", PGBOUNCER, "a PgBouncer"),
    ):
        parser.add_argument(
            option,
            type=dsn,
            action="append",
            metavar="DSN",
            help=f"{what} to ask too, such as postgresql://exporter@db:5432/postgres; may be given "
            f"several times (default: those of {variable}, with spaces in between, so that no "
            "password need stand in a list of processes)",
        )
    parser.add_argument(
        "--per-process",
        action="store_true",
        help="metrics of each process, too, with its id as a label",
    )
    parser.add_argument(
        "--log.level",
        dest="log_level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="the least that is logged (default: %(default)s)",
    )
    parser.add_argument(
        "--log.format",
        dest="log_format",
        choices=("text", "json"),
        default="text",
        help="lines for people or for machines (default: %(default)s)",
    )


def _path(text: str) -> str:
    if not re.fullmatch(r"/[\w./~-]*", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a path, such as /metrics")
    if text in TAKEN or text.startswith("/assets/"):
        raise argparse.ArgumentTypeError(f"{text!r} is taken by the exporter itself")
    return text

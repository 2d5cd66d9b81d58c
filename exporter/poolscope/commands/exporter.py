"""`poolscope exporter`."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any, Final

from poolscope.commands.arguments import Commands, complain, dsn, listen_address
from poolscope.fleet.folder import DIR_VARIABLE, FolderError

POSTGRES_VARIABLE: Final = "POOLSCOPE_POSTGRES"
PGBOUNCER_VARIABLE: Final = "POOLSCOPE_PGBOUNCER"
"""Environment variables with the DSNs of the servers that the exporter asks."""

RESERVED_PATHS: Final = ("/api/v1/pools", "/pools", "/-/healthy", "/-/ready")
"""Paths that the exporter serves besides the metrics."""


def run(options: argparse.Namespace) -> int:
    """Serve until the process is told to end; return the exit code."""
    folder = options.dir or _folder_of_environment()
    if folder is None:
        complain(
            "exporter",
            f"name the folder that the processes write to, with --dir or {DIR_VARIABLE} "
            "(see poolscope exporter --help)",
        )
        return 2
    try:
        from poolscope.exporter import logs, main
    except ImportError as error:
        complain("exporter", f"{error.name} is missing; pip install 'poolscope[exporter]'")
        return 1
    logs.configure_logging(options.log_level, options.log_format)
    host, port = options.listen_address
    try:
        main.run(
            main.Options(
                folder=folder,
                host=host,
                port=port,
                metrics_path=options.telemetry_path,
                web_config=options.web_config,
                postgres=tuple(options.postgres or _dsns_of_environment(POSTGRES_VARIABLE)),
                pgbouncer=tuple(options.pgbouncer or _dsns_of_environment(PGBOUNCER_VARIABLE)),
                per_process=options.per_process,
            )
        )
    except (ValueError, FolderError, main.ServerError) as error:
        complain("exporter", error)
        return 2 if isinstance(error, ValueError) else 1
    return 0


def _folder_of_environment() -> Path | None:
    given = os.environ.get(DIR_VARIABLE)
    return Path(given) if given else None


def _dsns_of_environment(variable: str) -> list[str]:
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


def add(commands: Commands) -> None:
    """Add the command with its options."""
    parser = commands.add_parser(
        "exporter",
        help="serve the metrics of all processes of a host",
        description=DESCRIPTION,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    for flag, settings in OPTIONS:
        parser.add_argument(flag, **settings)


def _metrics_path(text: str) -> str:
    if not re.fullmatch(r"/[\w./~-]*", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a path, such as /metrics")
    if text.rstrip("/") in RESERVED_PATHS or text.startswith("/assets/"):
        raise argparse.ArgumentTypeError(f"{text!r} is taken by the exporter itself")
    return text


DESCRIPTION: Final = (
    f"Serves the metrics of all processes that have {DIR_VARIABLE} set to one folder. Processes "
    "that hang are included, and the counters of processes that have ended are kept. Run one "
    "exporter for each folder, as the same user as the processes."
)

ASKED_SERVER: Final = (
    "{} to ask as well, such as {}; may be given several times (default: the DSNs in {}, separated "
    "by spaces, which keeps passwords out of process lists)"
)

OPTIONS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    (
        "--dir",
        {
            "type": Path,
            "metavar": "DIR",
            "help": f"the folder that the processes write to (default: that of {DIR_VARIABLE})",
        },
    ),
    (
        "--web.listen-address",
        {
            "dest": "listen_address",
            "type": listen_address,
            "metavar": "HOST:PORT",
            "default": "127.0.0.1:10464",
            "help": "the address to listen on; port 0 is any free port (default: %(default)s)",
        },
    ),
    (
        "--web.telemetry-path",
        {
            "dest": "telemetry_path",
            "type": _metrics_path,
            "metavar": "PATH",
            "default": "/metrics",
            "help": "the path that the metrics are served at (default: %(default)s)",
        },
    ),
    (
        "--web.config.file",
        {
            "dest": "web_config",
            "type": Path,
            "metavar": "FILE",
            "help": "TLS and passwords, in the format that other Prometheus exporters use; the "
            "file is read again when it changes (default: plain HTTP without passwords)",
        },
    ),
    (
        "--postgres",
        {
            "type": dsn,
            "action": "append",
            "metavar": "DSN",
            "help": ASKED_SERVER.format(
                "a PostgreSQL server", "postgresql://exporter@db:5432/postgres", POSTGRES_VARIABLE
            ),
        },
    ),
    (
        "--pgbouncer",
        {
            "type": dsn,
            "action": "append",
            "metavar": "DSN",
            "help": ASKED_SERVER.format(
                "a PgBouncer", "postgresql://stats@db:6432/pgbouncer", PGBOUNCER_VARIABLE
            ),
        },
    ),
    (
        "--per-process",
        {
            "action": "store_true",
            "help": "also serve metrics of each process, labelled with its process id",
        },
    ),
    (
        "--log.level",
        {
            "dest": "log_level",
            "choices": ("debug", "info", "warning", "error"),
            "default": "info",
            "help": "the least severe level that is logged (default: %(default)s)",
        },
    ),
    (
        "--log.format",
        {
            "dest": "log_format",
            "choices": ("text", "json"),
            "default": "text",
            "help": "text for people, or JSON for machines (default: %(default)s)",
        },
    ),
)

"""`poolscope exporter`."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from poolscope.commands.arguments import (
    POSTGRES_VARIABLE,
    Commands,
    complain,
    dsn,
    dsns_of_environment,
    folder,
    listen_address,
)
from poolscope.fleet.folder import DIR_VARIABLE, MISSING, FolderError

PGBOUNCER_VARIABLE: Final = "POOLSCOPE_PGBOUNCER"
"""The environment variable with the DSNs of PgBouncers."""

DEFAULT_ADDRESS: Final = "127.0.0.1:10464"

RESERVED_PATHS: Final = (
    "/api/v1/pools", "/api/v1/pools.schema.json", "/pools", "/-/healthy", "/-/ready",
)  # fmt: skip
"""Paths that the exporter serves besides the metrics."""


def run(options: argparse.Namespace) -> int:
    """Serve until the process is told to end; return the exit code."""
    if MISSING is not None:
        what = (
            f"this system has no {MISSING}, which sharing the numbers of processes needs; serve "
            "those of each process instead, by poolscope.instrument or start_http_server"
        )
        return _fail(options.log_format, what, 1)
    folder = options.dir or _folder_of_environment()
    if folder is None:
        what = (
            f"name the folder that the processes write to, with --dir or {DIR_VARIABLE} "
            "(see poolscope exporter --help)"
        )
        return _fail(options.log_format, what, 2)
    try:
        from poolscope.exporter import logs

        logs.configure_logging(options.log_level, options.log_format)
        from poolscope.exporter import main
    except ImportError as error:
        what = f"{error.name} is missing; pip install 'poolscope[exporter]'"
        return _fail(options.log_format, what, 1)
    url, prefix = options.external_url, options.route_prefix
    try:
        main.run(
            main.Options(
                folder=folder,
                addresses=tuple(options.addresses or [listen_address(DEFAULT_ADDRESS)]),
                systemd_socket=options.systemd_socket,
                external_url=url,
                route_prefix=urlsplit(url or "").path if prefix is None else prefix,
                metrics_path=options.telemetry_path,
                web_config=options.web_config,
                postgres=tuple(options.postgres or dsns_of_environment(POSTGRES_VARIABLE)),
                pgbouncer=tuple(options.pgbouncer or dsns_of_environment(PGBOUNCER_VARIABLE)),
                per_process=options.per_process,
            )
        )
    except (ValueError, FolderError, main.ServerError) as error:
        return _fail(options.log_format, error, 2 if isinstance(error, ValueError) else 1)
    return 0


def _fail(log_format: str, error: Exception | str, code: int) -> int:
    """Say why the exporter cannot start, in the format of the log, and return the exit code."""
    complain("exporter", error, as_json=log_format == "json")
    return code


def _folder_of_environment() -> Path | None:
    given = os.environ.get(DIR_VARIABLE)
    return Path(given) if given else None


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


def _path(text: str, example: str) -> str:
    """Return a path without a slash at its end; each of its parts stands for itself."""
    shorter = text.rstrip("/")
    good = re.fullmatch(r"(/[\w.~-]+)*", shorter, re.ASCII)
    if not (text and good) or not {".", ".."}.isdisjoint(shorter.split("/")):
        raise argparse.ArgumentTypeError(f"{text!r} is not a path, such as {example}")
    return shorter


def _metrics_path(text: str) -> str:
    shorter = _path(text, "/metrics")
    if shorter in RESERVED_PATHS or f"{shorter}/".startswith("/assets/"):
        raise argparse.ArgumentTypeError(f"{text!r} is taken by the exporter itself")
    return text


def _route_prefix(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("'' is not a path, such as /pools; write / for none")
    # As Prometheus does, with or without a slash at either end.
    return _path("/" + text.lstrip("/"), "/pools")


def _external_url(text: str) -> str:
    """Return a URL, or only its path, without a slash at its end."""
    example = "https://example.org/pools/"
    try:
        url = urlsplit(text)
        named = url.scheme in {"http", "https"} and url.hostname and (url.port or 1)
    except ValueError:
        named = False
    only_path = text.startswith("/") and not text.startswith("//")
    if not (named or only_path) or url.query or url.fragment or "@" in url.netloc:
        # It is not repeated, as it may have a password.
        raise argparse.ArgumentTypeError(f"not a URL of this exporter, such as {example}")
    return f"{text[: len(text) - len(url.path)]}{_path(url.path or '/', '/pools')}"


def _file(text: str) -> Path:
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} does not name a file")
    return Path(text)


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
            "type": folder,
            "metavar": "DIR",
            "help": f"the folder that the processes write to (default: that of {DIR_VARIABLE})",
        },
    ),
    (
        "--web.listen-address",
        {
            "dest": "addresses",
            "type": listen_address,
            "action": "append",
            "metavar": "ADDRESS",
            "help": "an address to listen on: HOST:PORT, :PORT for all addresses of both families, "
            "or unix:PATH; port 0 is any free port; may be given several times (default: "
            f"{DEFAULT_ADDRESS})",
        },
    ),
    (
        "--web.systemd-socket",
        {
            "dest": "systemd_socket",
            "action": "store_true",
            "help": "listen on the sockets that systemd passes, instead of any address",
        },
    ),
    (
        "--web.external-url",
        {
            "dest": "external_url",
            "type": _external_url,
            "metavar": "URL",
            "help": "the URL that clients use, where a proxy stands before the exporter",
        },
    ),
    (
        "--web.route-prefix",
        {
            "dest": "route_prefix",
            "type": _route_prefix,
            "metavar": "PATH",
            "help": "what the paths of requests begin with; / if the proxy removes it (default: "
            "the path of --web.external-url)",
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
            "type": _file,
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

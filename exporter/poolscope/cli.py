"""
The command `poolscope`.

Exit codes: 0 for success, 1 for a failure, 2 for bad arguments; each of the latter with one line
on stderr.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

import poolscope
from poolscope.folder import VARIABLE, FolderError

POSTGRES: Final = "POOLSCOPE_POSTGRES"
PGBOUNCER: Final = "POOLSCOPE_PGBOUNCER"
DEMO_POSTGRES: Final = "POOLSCOPE_DEMO_POSTGRES"
"""Variables with DSNs of what the exporter asks."""

TAKEN: Final = ("/api/v1/pools", "/pools", "/-/healthy", "/-/ready")
"""Paths that the exporter has besides the metrics."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (default: those of the process) name."""
    options = _parser().parse_args(arguments)
    try:
        commands = {"demo": _demo, "exporter": _exporter, "dashboards": _dashboards}
        return commands[options.command](options)
    except BrokenPipeError:
        # Whoever read the output is gone; Python's own flush at exit would complain about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _demo(options: argparse.Namespace) -> int:
    from poolscope import demo

    try:
        return demo.run(options.seconds, options.port, options.addr, options.postgres)
    except demo.DemoError as error:
        print(f"poolscope demo: {error}", file=sys.stderr)  # noqa: T201 - it is a command
        return 1


def _exporter(options: argparse.Namespace) -> int:
    if options.dir is None:
        print(  # noqa: T201 - it is a command
            "poolscope exporter: name the folder of the processes with --dir or POOLSCOPE_DIR "
            "(see poolscope exporter --help)",
            file=sys.stderr,
        )
        return 2
    try:
        from poolscope.server import logs, main
    except ImportError as error:
        print(  # noqa: T201 - as above
            f"poolscope exporter: {error.name} is missing; pip install 'poolscope[exporter]'",
            file=sys.stderr,
        )
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
        print(f"poolscope exporter: {error}", file=sys.stderr)  # noqa: T201 - as above
        return 2 if isinstance(error, ValueError) else 1
    return 0


def _dashboards(options: argparse.Namespace) -> int:
    try:
        from poolscope.dashboards import write
        from poolscope.dashboards.options import OptionError, Options
    except ImportError as error:
        print(  # noqa: T201 - as above
            f"poolscope dashboards: {error.name} is missing; pip install 'poolscope[dashboards]'",
            file=sys.stderr,
        )
        return 1
    try:
        chosen = Options(
            datasource=options.datasource,
            matchers=tuple(options.matcher or ()),
            cluster=options.cluster_label,
            service=options.service_label,
            instance=options.instance_label,
            tags=tuple(options.tag or ("poolscope",)),
            uid_prefix=options.uid_prefix,
            folder=options.folder,
        )
        write.write(options.out, write.files(chosen))
    except (OptionError, OSError) as error:
        print(f"poolscope dashboards: {_said(error)}", file=sys.stderr)  # noqa: T201 - as above
        return 2 if isinstance(error, OptionError) else 1
    return 0


def _said(error: Exception) -> str:
    """Return what an error says in one line."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _dsns_of_environment(variable: str) -> list[str]:
    """Return what a variable names, with spaces in between; raise ValueError, without a secret."""
    from poolscope.server.probes import check

    dsns = os.environ.get(variable, "").split()
    for dsn in dsns:
        try:
            check(dsn)
        except ValueError as error:
            raise ValueError(f"{variable}: {error}") from None
    return dsns


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
    _add_exporter(commands)
    _add_dashboards(commands)
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
    parser.add_argument(
        "--postgres",
        type=_dsn,
        metavar="DSN",
        default=os.environ.get(DEMO_POSTGRES) or None,
        help=f"a PostgreSQL server to use (default: that of {DEMO_POSTGRES}, or one of its own)",
    )


def _add_exporter(commands: argparse._SubParsersAction[_Parser]) -> None:
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
        type=_listen_address,
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
            type=_dsn,
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


def _add_dashboards(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = (
        "Writes the Grafana dashboards, and provisioning.yml for Grafana to find them. Labels can "
        "be called as they are at home."
    )
    parser = commands.add_parser(
        "dashboards", help="write the Grafana dashboards", description=text, allow_abbrev=False
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", required=True, help="the folder, made if it is missing"
    )
    parser.add_argument(
        "--datasource",
        metavar="NAME",
        default="",
        help="the data source that is chosen at first (default: Grafana's default)",
    )
    parser.add_argument(
        "--matcher",
        action="append",
        metavar="MATCHER",
        help="a label matcher for every query, such as 'env=\"prod\"'; may be given several times",
    )
    for label in ("cluster", "service", "instance"):
        parser.add_argument(
            f"--{label}-label",
            metavar="NAME",
            default=label,
            help=f"what the label for the {label} is called, '' if there is none "
            "(default: %(default)s)",
        )
    parser.add_argument(
        "--tag",
        action="append",
        metavar="TAG",
        help="a tag; by the first one dashboards find each other (default: poolscope)",
    )
    parser.add_argument(
        "--uid-prefix",
        metavar="PREFIX",
        default="poolscope",
        help="what the dashboards' identities begin with (default: %(default)s)",
    )
    parser.add_argument(
        "--folder",
        metavar="NAME",
        default="Connection pools",
        help="where Grafana shows them (default: %(default)s)",
    )


def _listen_address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or (":" in host and not text.startswith("[")):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not HOST:PORT, such as 127.0.0.1:10464 or [::1]:10464"
        )
    # As with other exporters, without a host it listens everywhere.
    return host or "0.0.0.0", _port(port)  # noqa: S104


def _path(text: str) -> str:
    if not re.fullmatch(r"/[\w./~-]*", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a path, such as /metrics")
    if text in TAKEN:
        raise argparse.ArgumentTypeError(f"{text!r} is taken by the exporter itself")
    return text


def _dsn(text: str) -> str:
    from poolscope.server.probes import check

    try:
        check(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


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

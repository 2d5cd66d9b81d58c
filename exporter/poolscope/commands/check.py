"""`poolscope check`."""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from poolscope.commands.arguments import Commands, add_source, complain, count, url_of

if TYPE_CHECKING:
    from poolscope.checking.accepted import Ignored
    from poolscope.checking.found import Checked

FOUND, COULD_NOT_ASK = 1, 3
"""Exit codes."""

FORMATS: Final = ("text", "json", "github", "sarif", "junit")
LEVELS: Final = ("critical", "warning", "info")


class Settings(NamedTuple):
    """What holds for a check: the options, and what a file says where they say nothing."""

    fail_on: Any = "critical"
    baseline: Path | None = None
    max_out: int | None = None
    max_connections: int | None = None
    ignore: tuple[Ignored, ...] = ()


def run(options: argparse.Namespace) -> int:
    """Check, print what was found, and return the exit code."""
    from poolscope.checking.sources import SourceError

    command = _command(options)
    try:
        if options.words and command is None:
            raise ValueError(f"what is {options.words[0]!r}? A command needs --run before it")
        settings = _settings(options)
        baseline = _baseline(settings)
        if command is not None and not command:
            raise ValueError("name the command to run, such as: poolscope check --run pytest")
        if sum(each is not None for each in (options.url, options.dir, command)) > 1:
            raise ValueError("give only one of --url, --dir and --run")
        url = url_of(options.url)
    except (ValueError, OSError) as error:
        return _complained(error, 2)
    try:
        checked, code = _ask(options, command, url)
    except (SourceError, OSError) as error:
        return _complained(error, COULD_NOT_ASK)
    return _report(options, settings, baseline, checked) or code


def _command(options: argparse.Namespace) -> list[str] | None:
    """Return the command to run, which may be empty; None if none is asked for."""
    words: list[str] = options.words
    if not options.runs:
        return None
    return words[1:] if words[:1] == ["--"] else words


def _complained(error: Exception, code: int) -> int:
    reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
    complain("check", reason)
    return code


def _ask(
    options: argparse.Namespace, command: Sequence[str] | None, url: str
) -> tuple[Checked, int]:
    from poolscope.checking import sources

    if command is not None:
        return _run(command, options.processes)
    if options.dir is not None:
        return sources.of_folder(options.dir), 0
    return sources.of_exporter(url), 0


def _run(command: Sequence[str], processes: int) -> tuple[Checked, int]:
    """Run the command as `poolscope run` does, in a folder of its own."""
    from poolscope.checking import sources
    from poolscope.commands.run import Preparation
    from poolscope.launching import configuration, interpreters

    environment = dict(os.environ)
    try:
        chosen = configuration.of_everything(configuration.RunOptions())
        program = interpreters.find_program(command, environment)
        interpreters.check(command, program, environment)
    except (ValueError, interpreters.RefusedError) as error:
        raise sources.SourceError(str(error)) from None
    chosen = chosen._replace(folder=None, serve=None, report=None)
    with Preparation(chosen, None, environment) as prepared:
        return sources.of_command([program, *command[1:]], prepared, processes)


def _report(
    options: argparse.Namespace, settings: Settings, baseline: Sequence[Any], checked: Checked
) -> int:
    from poolscope.checking import accepted, formats, found

    pools = [each for each in checked.pools if _is_meant(options, each.pool)]
    exceeded = found.limits_exceeded(pools, settings.max_out, settings.max_connections)
    findings = [each for each in checked.findings if _is_meant(options, each.pool)]
    findings = accepted.without((*findings, *exceeded), settings.ignore, baseline)
    findings = found.sorted_findings(findings)
    if options.write_baseline is not None:
        return _write_baseline(options.write_baseline, findings)
    checked = found.Checked(checked.source, tuple(findings), tuple(pools))
    sys.stdout.write(formats.FORMATS[options.format](checked, findings))
    failing = any(found.is_at_least(each.severity, settings.fail_on) for each in findings)
    return FOUND if failing else 0


def _write_baseline(path: Path, findings: Sequence[Any]) -> int:
    from poolscope.checking import accepted

    try:
        accepted.write_baseline(path, findings)
    except OSError as error:
        return _complained(error, 1)
    many = "" if len(findings) == 1 else "s"
    sys.stdout.write(
        f"Wrote {path}, which accepts {len(findings)} finding{many}; "
        f"check with --baseline {path} from now on.\n"
    )
    return 0


def _is_meant(options: argparse.Namespace, pool: str) -> bool:
    return fnmatch.fnmatchcase(pool, options.pool or "*")


def _baseline(settings: Settings) -> Sequence[Any]:
    from poolscope.checking.accepted import read_baseline

    return read_baseline(settings.baseline) if settings.baseline is not None else ()


def _settings(options: argparse.Namespace) -> Settings:
    """Return what holds. Raises ValueError."""
    from poolscope.checking.accepted import ignored

    given = {
        name: value
        for name in ("fail_on", "baseline", "max_out", "max_connections")
        if (value := getattr(options, name)) is not None
    }
    of_file = _of_file(Path.cwd())
    ignore = (*map(ignored, options.ignore or ()), *of_file.ignore)
    return of_file._replace(**given, ignore=ignore)


def _of_file(folder: Path) -> Settings:
    """Return what poolscope.toml or pyproject.toml says of checks. Raises ValueError."""
    from poolscope.launching.configuration import check_table

    table, where = check_table(folder)
    found: dict[str, Any] = {}
    for key, value in table.items():
        if key not in _KEYS:
            raise ValueError(f"{where}: {key!r} is not known; known are {', '.join(_KEYS)}")
        field, parse = _KEYS[key]
        found[field] = parse(value, where)
    return Settings(**found)


def _ignore(value: object, where: str) -> tuple[Ignored, ...]:
    from poolscope.checking.accepted import of_table

    return tuple(of_table(value, where))


def _level(value: object, where: str) -> object:
    if value not in LEVELS:
        raise ValueError(f"{where}: fail-on must be {', '.join(LEVELS[:-1])} or {LEVELS[-1]}")
    return value


def _path(value: object, where: str) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{where}: baseline must name a file")
    return Path(value)


def _whole(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{where}: {value!r} is not a whole number from 0 on")
    return value


_KEYS: Final[dict[str, tuple[str, Callable[[object, str], Any]]]] = {
    "ignore": ("ignore", _ignore),
    "fail-on": ("fail_on", _level),
    "baseline": ("baseline", _path),
    "max-out": ("max_out", _whole),
    "max-connections": ("max_connections", _whole),
}

DESCRIPTION: Final = (
    "Prints the known mistakes in how pools are configured and used, for people or for a build "
    "server. Asks a running exporter, reads a folder, or runs a command and looks at what its "
    "processes did. Exit codes: 0 if nothing was found that matters, 1 if something was, 2 for bad "
    "arguments, 3 if it could not ask; where a command that it runs fails, the code of that. What "
    "stands in the file may be in [tool.poolscope.check] of pyproject.toml, too, where each rule "
    "that is ignored needs a reason."
)


def add(commands: Commands) -> None:
    """Add the command with its options."""
    parser = commands.add_parser(
        "check",
        help="find known mistakes, and fail a build for them",
        description=DESCRIPTION,
        usage="poolscope check [options] [--run [--] CMD ...]",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    add_source(parser)
    parser.add_argument(
        "--run",
        dest="runs",
        action="store_true",
        help="run the command that follows, as `poolscope run` does, and look at its processes",
    )
    parser.add_argument(
        "--fail-on", choices=LEVELS, help="the least severity that fails (default: critical)"
    )
    parser.add_argument("--format", choices=FORMATS, default="text", help="(default: text)")
    parser.add_argument("--pool", metavar="GLOB", help="only pools with such a name")
    parser.add_argument(
        "--ignore", action="append", metavar="RULE[:POOL]", help="leave a rule out, for some pools"
    )
    parser.add_argument(
        "--baseline", type=Path, metavar="FILE", help="leave out what stands in this file"
    )
    parser.add_argument(
        "--write-baseline", type=Path, metavar="FILE", help="write what is found to this file"
    )
    parser.add_argument(
        "--max-out", type=count(0), metavar="N", help="connections of a pool that may be out"
    )
    parser.add_argument(
        "--max-connections",
        type=count(0),
        metavar="N",
        help="that the pools for databases may open together",
    )
    parser.add_argument(
        "--processes",
        type=count(1),
        default=1,
        metavar="N",
        help="processes that --run stands for, for --max-connections (default: 1)",
    )
    parser.add_argument(
        "words", metavar="CMD", nargs=argparse.REMAINDER, help="the command, with its arguments"
    )

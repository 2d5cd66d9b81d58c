"""Print the reference page of the commands, from their parsers; `make generate` writes it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from poolscope.cli import _parser as parser_of_poolscope

HEAD = """\
# Commands

<!-- Written by `make generate` from the parsers in commands/. -->

`poolscope COMMAND --help` says the same. Every command prints one line on standard error if
something is wrong, and exits with 2 for bad arguments, 1 for a failure, and 0 otherwise.
`poolscope --version` prints the version.

"""

MORE = {
    "exporter": "See [Many processes, one exporter](../exporter.md).",
    "dashboards": "See [Dashboards](../dashboards/README.md).",
    "alerts": "See [Alerts](../alerts.md).",
    "top": "See [The pools in a terminal](../top.md).",
    "check": "See [In a build](../check.md).",
    "size": "See [How large should the pool be?](../sizing.md).",
}
"""Where a command is explained."""


def commands() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command, by its name."""
    (subparsers,) = (
        action
        for action in parser_of_poolscope()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return dict(subparsers.choices)


def page() -> str:
    seen: dict[str, str] = {}
    return HEAD + "\n".join("".join(section(*each, seen)) for each in commands().items())


def section(name: str, parser: argparse.ArgumentParser, seen: dict[str, str]) -> Iterator[str]:
    """
    Yield the section of a command, with a table of its options for each group.

    seen: the commands that have had each table, which is not repeated.
    """
    yield f"## poolscope {name}\n\n{sentence(parser.description or '')}\n"
    if name in MORE:
        yield f"\n{MORE[name]}\n"
    for group in parser._action_groups:
        rows = [row(parser, action) for action in group._group_actions if action.dest != "help"]
        if not rows:
            continue
        if group.title not in ("options", "positional arguments"):
            yield f"\n### Options of {name}: {group.title}\n\n{sentence(group.description or '')}\n"
        table = "\n| option | meaning |\n|---|---|\n" + "".join(rows)
        first = seen.setdefault(table, name)
        yield table if first == name else f"\nThese options are those of `poolscope {first}`.\n"


def row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    formatter = parser._get_formatter()
    values = formatter._format_args(action, action.dest.upper()) if action.nargs != 0 else ""
    flags = " or ".join(f"`{f'{flag} {values}'.strip()}`" for flag in action.option_strings)
    text = re.sub(r"\s+", " ", formatter._expand_help(action)).replace("|", "\\|")
    return f"| {flags or f'`{values}`'} | {sentence(text)} |\n"


def sentence(text: str) -> str:
    """Return the text in one line, as it is shown by Markdown."""
    text = re.sub(r"\s+", " ", text).strip()
    return re.sub(r"(?<![\w`])(--[\w.-]+|[A-Z]+_[A-Z_]+)", r"`\1`", text)


if __name__ == "__main__":
    print(page(), end="")

"""The arguments that `poolscope alerts` and `poolscope dashboards` share, and writing files."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from poolscope.commands.arguments import Commands, Parser, complain, folder
from poolscope.mixin.files import write
from poolscope.mixin.thresholds import BurnRate, ThresholdError, Thresholds

THRESHOLD: Final = "threshold_"
"""The prefix of thresholds in the namespace, so that they never clash with other arguments."""

Make = Callable[[argparse.Namespace], Mapping[str, str]]
"""Returns the text of each file by its path; raises ImportError if the extra is missing."""


def generate(command: str, make: Make, namespace: argparse.Namespace, follows: str) -> int:
    """
    Write the files of a command, all or none, say so, and return its exit code.

    follows: what to do with the files.
    """
    try:
        texts = make(namespace)
        write(namespace.out, texts)
    except ImportError as error:
        complain(command, f"{error.name} is missing; pip install 'poolscope[{command}]'")
        return 1
    except (ValueError, OSError) as error:
        complain(command, error)
        return 2 if isinstance(error, ValueError) else 1
    for name in texts:
        sys.stdout.write(f"wrote {namespace.out / name}\n")
    sys.stdout.write(f"next: {follows}\n")
    return 0


def add_command(commands: Commands, name: str, help: str, description: str) -> Parser:
    """Add a command with the arguments that both commands have."""
    parser = commands.add_parser(name, help=help, description=description, allow_abbrev=False)
    parser.add_argument(
        "--out",
        type=folder,
        metavar="DIR",
        required=True,
        help="the folder to write to; it is created if it does not exist",
    )
    _add_labels(parser)
    add_thresholds(parser)
    return parser


def _add_labels(parser: argparse.ArgumentParser) -> None:
    """Add the options that name your labels and select your pools."""
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
            help=f"the name of your label for the {label}, '' if you have none "
            "(default: %(default)s)",
        )
    parser.add_argument(
        "--uid-prefix",
        metavar="PREFIX",
        default="poolscope",
        help="the prefix of the UIDs of the dashboards (default: %(default)s)",
    )


def add_thresholds(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each threshold, with its help and its default."""
    group = parser.add_argument_group(
        "thresholds",
        "Alerts fire at these values. Those with WARNING CRITICAL also colour the panels of "
        "dashboards: give both commands the same values.",
    )
    for field in dataclasses.fields(Thresholds):
        group.add_argument(
            "--" + field.name.replace("_", "-"),
            dest=THRESHOLD + field.name,
            default=None,
            help=f"{field.metadata['help']} (default: {_shown(field.default)})",
            **_shape(field.default),
        )


def scope_of(namespace: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of a `LabelScope` that the options set."""
    return {
        "matchers": tuple(namespace.matcher or ()),
        "cluster": namespace.cluster_label,
        "service": namespace.service_label,
        "instance": namespace.instance_label,
        "uid_prefix": namespace.uid_prefix,
    }


def thresholds_of(namespace: argparse.Namespace) -> Thresholds:
    """Return the thresholds that the flags set; raises ThresholdError."""
    given: dict[str, Any] = {}
    for field in dataclasses.fields(Thresholds):
        value = getattr(namespace, THRESHOLD + field.name)
        if value is None:
            continue
        if isinstance(field.default, BurnRate):
            value = BurnRate(_number(field.name, value[0]), *value[1:])
        elif isinstance(field.default, tuple):
            value = tuple(value)
        given[field.name] = value
    return Thresholds(**given)


def _shape(default: object) -> dict[str, Any]:
    """Return how many values a flag takes, and of which type."""
    if isinstance(default, BurnRate):
        return {"nargs": 3, "metavar": ("FACTOR", "LONG", "SHORT")}
    if isinstance(default, tuple):
        return {"nargs": 2, "type": float, "metavar": ("WARNING", "CRITICAL")}
    if isinstance(default, str):
        return {"metavar": "DURATION"}
    return {"type": float, "metavar": "N"}


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ThresholdError(f"{name}: {text!r} is not a number") from None


def _shown(default: object) -> str:
    if isinstance(default, tuple):
        return " ".join(map(_shown, default))
    return default if isinstance(default, str) else f"{default:g}"

"""`poolscope alerts`."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Final

from poolscope.commands.arguments import Commands
from poolscope.commands.generate import add_command, generate, scope_of, thresholds_of
from poolscope.mixin.alerts.options import Options

TEXT_OPTIONS: Final = {
    "runbooks": ("URL", "the folder of the runbooks, with a page NAME.md for each alert"),
    "grafana": ("URL", "the address of Grafana, for links to the dashboards"),
    "look_back": ("DURATION", "how long before the alert the time range of such a link begins"),
    "webhook": ("URL", "where Alertmanager sends all notices; '' to use PagerDuty and Slack"),
    "secrets": ("DIR", "the folder of Alertmanager's secrets, one file for each"),
    "group_wait": ("DURATION", "how long Alertmanager waits before the first notice of a group"),
    "group_interval": ("DURATION", "how long it waits before it reports new alerts of the group"),
    "repeat_page": ("DURATION", "how often it repeats a critical notice"),
    "repeat_ticket": ("DURATION", "how often it repeats a notice that is not critical"),
    "namespace": ("NAME", "the namespace of the objects, with --format operator"),
}
"""Options that are text, by the field of `Options`: their metavar and help."""


def run(namespace: argparse.Namespace) -> int:
    out = namespace.out
    if namespace.format == "operator":
        follows = f"kubectl apply -f {out}"
    else:
        follows = (
            f"promtool test rules {out / 'tests'}/*.yml; name {out / 'recording.yml'} and "
            f"{out / 'rules.yml'} in `rule_files` of prometheus.yml, take the routes of "
            f"{out / 'alertmanager.yml'} over into that of Alertmanager, and reload both"
        )
    return generate("alerts", _files, namespace, follows)


def _files(namespace: argparse.Namespace) -> Mapping[str, str]:
    from poolscope.mixin.alerts.write import files

    options = Options(
        **scope_of(namespace),
        thresholds=thresholds_of(namespace),
        **{name: getattr(namespace, name) for name in TEXT_OPTIONS},
    )
    return files(options, namespace.format)


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "alerts",
        "write rules and tests for Prometheus",
        "Writes recording rules, alert rules, a configuration for Alertmanager, and promtool tests "
        "for all alerts. Every threshold is an option.",
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--format",
        choices=("prometheus", "operator"),
        default="prometheus",
        help="files for Prometheus, or PrometheusRule objects (default: %(default)s)",
    )
    defaults = {field.name: field.default for field in dataclasses.fields(Options)}
    for name, (metavar, meaning) in TEXT_OPTIONS.items():
        parser.add_argument(
            "--" + name.replace("_", "-"),
            metavar=metavar,
            default=defaults[name],
            help=f"{meaning} (default: {defaults[name]!r})",
        )

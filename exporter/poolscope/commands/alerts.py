"""`poolscope alerts`."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Final

from poolscope.commands.arguments import Commands, complain, label_arguments

TEXTS: Final = {
    "runbooks": ("URL", "the folder of the runbooks, which has NAME.md for each alert"),
    "grafana": ("URL", "where Grafana is, for links to dashboards"),
    "look_back": ("DURATION", "how far such a link goes back before the alert"),
    "webhook": ("URL", "where Alertmanager sends all notices; '' for PagerDuty and Slack"),
    "secrets": ("DIR", "the folder of Alertmanager's secrets, a file each"),
    "group_wait": ("DURATION", "for how long Alertmanager waits for further alerts at first"),
    "group_interval": ("DURATION", "for how long it waits for more of them"),
    "repeat_page": ("DURATION", "after which time it says again what is critical"),
    "repeat_ticket": ("DURATION", "after which time it says again what is not"),
    "namespace": ("NAME", "of the objects, with --format operator"),
}
"""Options that are text, as they are in `poolscope.mixin.alerts.options.Options`."""


def run(options: argparse.Namespace) -> int:
    try:
        from poolscope.mixin.alerts import arguments, write
        from poolscope.mixin.alerts.options import Options
    except ImportError as error:
        complain("alerts", f"{error.name} is missing; pip install 'poolscope[alerts]'")
        return 1
    try:
        chosen = Options(
            matchers=tuple(options.matcher or ()),
            cluster=options.cluster_label,
            service=options.service_label,
            instance=options.instance_label,
            uid_prefix=options.uid_prefix,
            thresholds=arguments.thresholds_of(options),
            **{name: getattr(options, name) for name in TEXTS},
        )
        write.write(options.out, chosen, options.format)
    except (ValueError, OSError) as error:
        complain("alerts", error)
        return 2 if isinstance(error, ValueError) else 1
    return 0


def add(commands: Commands) -> None:
    from poolscope.mixin.alerts.arguments import add_arguments
    from poolscope.mixin.alerts.options import Options

    text = (
        "Writes recording rules, alert rules, a configuration of Alertmanager, and promtool tests "
        "of all alerts. Every threshold is an option."
    )
    parser = commands.add_parser(
        "alerts", help="write rules and tests for Prometheus", description=text, allow_abbrev=False
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", required=True, help="the folder, made if it is missing"
    )
    parser.add_argument(
        "--format",
        choices=("prometheus", "operator"),
        default="prometheus",
        help="files for Prometheus, or PrometheusRule objects (default: %(default)s)",
    )
    label_arguments(parser)
    defaults = {field.name: field.default for field in dataclasses.fields(Options)}
    for name, (metavar, what) in TEXTS.items():
        parser.add_argument(
            "--" + name.replace("_", "-"),
            metavar=metavar,
            default=defaults[name],
            help=f"{what} (default: {defaults[name]!r})",
        )
    add_arguments(parser)

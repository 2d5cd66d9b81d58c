"""`poolscope dashboards`."""

from __future__ import annotations

import argparse
from pathlib import Path

from poolscope.commands.arguments import Commands, complain, label_arguments
from poolscope.mixin.files import write
from poolscope.mixin.labels import OptionError


def run(options: argparse.Namespace) -> int:
    try:
        from poolscope.mixin.dashboards.options import Options
        from poolscope.mixin.dashboards.write import files
    except ImportError as error:
        complain("dashboards", f"{error.name} is missing; pip install 'poolscope[dashboards]'")
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
        write(options.out, files(chosen))
    except (OptionError, OSError) as error:
        complain("dashboards", error)
        return 2 if isinstance(error, OptionError) else 1
    return 0


def add(commands: Commands) -> None:
    text = (
        "Writes the Grafana dashboards, and provisioning.yml for Grafana to find them. Labels can "
        "be called as they are at home."
    )
    parser = commands.add_parser(
        "dashboards", help="write the Grafana dashboards", description=text, allow_abbrev=False
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", required=True, help="the folder, made if it is missing"
    )
    parser.add_argument(
        "--datasource",
        metavar="NAME",
        default="",
        help="the data source that is chosen at first (default: Grafana's default)",
    )
    label_arguments(parser)
    parser.add_argument(
        "--tag",
        action="append",
        metavar="TAG",
        help="a tag; by the first one dashboards find each other (default: poolscope)",
    )
    parser.add_argument(
        "--folder",
        metavar="NAME",
        default="Connection pools",
        help="where Grafana shows them (default: %(default)s)",
    )

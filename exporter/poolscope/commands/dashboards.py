"""`poolscope dashboards`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from poolscope.commands.arguments import Commands
from poolscope.commands.generate import add_command, generate, scope_of, thresholds_of
from poolscope.mixin.dashboards.options import Options


def run(namespace: argparse.Namespace) -> int:
    where = namespace.path or namespace.out.resolve()
    copy = f"copy {namespace.out / 'provisioning.yml'} to /etc/grafana/provisioning/dashboards"
    return generate(
        "dashboards", _files, namespace, f"{copy}, and restart Grafana, which then reads {where}"
    )


def _files(namespace: argparse.Namespace) -> Mapping[str, str]:
    from poolscope.mixin.dashboards.write import files

    options = Options(
        **scope_of(namespace),
        thresholds=thresholds_of(namespace),
        datasource=namespace.datasource,
        tags=tuple(namespace.tag or ("poolscope",)),
        folder=namespace.folder,
        path=namespace.path or str(namespace.out.resolve()),
        docs=namespace.docs,
        live_page=namespace.live_page,
    )
    return files(options)


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "dashboards",
        "write the Grafana dashboards",
        "Writes the Grafana dashboards, and provisioning.yml, with which Grafana finds them. Label "
        "names are options, so that the dashboards fit your own scheme.",
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--datasource",
        metavar="NAME",
        default="",
        help="the data source that is selected at first (default: Grafana's default)",
    )
    parser.add_argument(
        "--tag",
        action="append",
        metavar="TAG",
        help="a tag of the dashboards; they link to each other by the first one (default: "
        "poolscope); may be given several times",
    )
    parser.add_argument(
        "--folder",
        metavar="NAME",
        default="Connection pools",
        help="the folder in Grafana that shows them (default: %(default)s)",
    )
    parser.add_argument(
        "--path",
        metavar="PATH",
        default="",
        help="where Grafana finds the files, if it does not see DIR by that name, as in a "
        "container; it goes into provisioning.yml (default: the whole path of DIR)",
    )
    parser.add_argument(
        "--docs",
        metavar="URL",
        default="",
        help="the folder of this documentation; findings then lead to URL/findings/RULE.md",
    )
    parser.add_argument(
        "--live-page",
        metavar="URL",
        default="",
        help="the live page of the exporter, such as http://pools.example/pools, to which the "
        "dashboards then lead",
    )

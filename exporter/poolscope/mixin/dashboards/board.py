"""What all four dashboards have in common: variables, links, annotations, and the grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from grafanalib import core as g

from poolscope.mixin.dashboards.grafana_json import Json, clean_json
from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.panels import DATASOURCE, PlacedPanel, text
from poolscope.mixin.queries import Queries, name_of

COLUMNS: Final = 24
TITLES: Final = {
    "overview": "Connection pools: overview",
    "pool": "Connection pools: one pool",
    "http": "Connection pools: HTTP clients",
    "databases": "Connection pools: databases",
}
"""The dashboards, from general to special."""


@dataclass(frozen=True)
class Section:
    """Panels under a heading, from left to right, and then below."""

    title: str
    panels: Sequence[PlacedPanel]


@dataclass(frozen=True)
class Variable:
    """A choice at the top: the values of a label of a family; `single` if it must be just one."""

    name: str
    family: str
    label: str
    title: str
    single: bool = False
    matchers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Board:
    """
    One dashboard. `key` is its name among `TITLES`.

    question: what it answers, in Markdown.
    """

    key: str
    question: str
    variables: Sequence[Variable]
    sections: Sequence[Section]
    options: Options = field(default_factory=Options)

    def document(self) -> Json:
        """Return its JSON."""
        return clean_json(
            g.Dashboard(
                title=TITLES[self.key],
                uid=uid(self.key, self.options),
                description=" ".join(self.question.replace("**", "").split()),
                tags=list(self.options.tags),
                timezone="browser",
                refresh="30s",
                time=g.Time("now-1h", "now"),
                graphTooltip=g.GRAPH_TOOLTIP_MODE_SHARED_CROSSHAIR,
                editable=False,
                links=[self._links()],
                templating=g.Templating(list=self._variables()),
                annotations=g.Annotations(list=[self._alerts()]),
                panels=self._placed(),
            )
        )

    def _links(self) -> Any:
        return g.DashboardLink(
            title="Connection pools",
            type="dashboards",
            tags=[self.options.tags[0]],
            asDropdown=False,
            includeVars=True,
            keepTime=True,
            icon="external link",
        )

    def _variables(self) -> list[Any]:
        chosen = self.options.datasource
        source = g.Template(
            name="datasource", label="Data source", query="prometheus", type="datasource"
        )
        variables = [source]
        matchers = list(self.options.matchers)
        for label in self.options.scope:
            variables.append(_choice(label, _values("instances", label, matchers), label.title()))
            matchers.append(f'{label}=~"${label}"')
        for variable in self.variables:
            query = _values(variable.family, variable.label, [*matchers, *variable.matchers])
            made = _choice(variable.name, query, variable.title, single=variable.single)
            variables.append(made)
        source._current = {"selected": True, "text": chosen, "value": chosen} if chosen else {}
        return variables

    def _alerts(self) -> Json:
        return {
            "name": "Alerts of pools",
            "datasource": DATASOURCE,
            "enable": True,
            "hide": False,
            "iconColor": "red",
            "expr": 'max by (alertname, severity, pool) (ALERTS{alertname=~"ConnPool.+", '
            'alertstate="firing", severity=~"critical|warning"})',
            "step": "30s",
            "titleFormat": "{{alertname}}",
            "textFormat": "{{severity}} {{pool}}",
            "tagKeys": "severity,pool",
        }

    def _placed(self) -> list[Any]:
        """Return all panels with their places, row by row."""
        placed: list[Any] = []
        top = 0
        for section in (Section("", [text(self.question, size=(COLUMNS, 2))]), *self.sections):
            if section.title:
                placed.append(g.RowPanel(title=section.title, gridPos=_at(0, top, COLUMNS, 1)))
                top += 1
            left = height = 0
            for sized in section.panels:
                if left + sized.width > COLUMNS:
                    left, top, height = 0, top + height, 0
                sized.panel.gridPos = _at(left, top, sized.width, sized.height)
                placed.append(sized.panel)
                left += sized.width
                height = max(height, sized.height)
            top += height
        return placed


def uid(key: str, options: Options) -> str:
    return f"{options.uid_prefix}-{key}"


def address(key: str, options: Options, **variables: str) -> str:
    """Return the address of another dashboard, with the time and the choices that there are."""
    kept = {label: f"${{{label}:queryparam}}" for label in options.scope}
    kept["datasource"] = "${datasource:queryparam}"
    chosen = [f"var-{name}={value}" for name, value in variables.items()]
    return f"/d/{uid(key, options)}?" + "&".join([*chosen, *kept.values(), "${__url_time_range}"])


def queries_of(options: Options, *matchers: str) -> Queries:
    """Return queries that follow what is chosen."""
    scope = (f'{label}=~"${label}"' for label in options.scope)
    return Queries((*options.matchers, *scope, *matchers))


def _values(family: str, label: str, matchers: Sequence[str]) -> str:
    return f"label_values({name_of(family)}{{{', '.join(matchers)}}}, {label})"


def _choice(name: str, query: str, title: str, *, single: bool = False) -> Any:
    variable = g.Template(
        name=name,
        query=query,
        dataSource=DATASOURCE,
        label=title,
        includeAll=not single,
        # Also where a series has no such label at all.
        allValue=None if single else ".*",
        multi=not single,
        refresh=g.REFRESH_ON_TIME_RANGE_CHANGE,
        sort=g.SORT_ALPHA_ASC,
    )
    variable._current = {}
    return variable


def _at(left: int, top: int, width: int, height: int) -> Any:
    return g.GridPos(h=height, w=width, x=left, y=top)

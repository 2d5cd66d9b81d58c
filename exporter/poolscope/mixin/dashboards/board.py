"""What all dashboards share: variables, links, annotations, and the grid of panels."""

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
"""The title of each dashboard by its key, from general to specific."""


@dataclass(frozen=True)
class Section:
    """
    A row of the dashboard: a heading, and panels from left to right, wrapped at the edge.

    closed: whether only the heading is shown until somebody clicks on it.
    """

    title: str
    panels: Sequence[PlacedPanel]
    closed: bool = False


@dataclass(frozen=True)
class Variable:
    """
    A variable of the dashboard, whose values are those of a label of a metric family.

    single: whether exactly one value is selected at a time.
    matchers: label matchers that restrict the values.
    """

    name: str
    family: str
    label: str
    title: str
    single: bool = False
    matchers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Board:
    """
    One dashboard.

    key: its key in `TITLES`.
    question: the question that it answers, in Markdown.
    one_service: whether it is about one service, so that pools of two are not added up.
    """

    key: str
    question: str
    variables: Sequence[Variable]
    sections: Sequence[Section]
    options: Options = field(default_factory=Options)
    one_service: bool = False

    def document(self) -> Json:
        """Return the JSON of the dashboard."""
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
                links=[self._links(), *self._live_page()],
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

    def _live_page(self) -> list[Any]:
        if not self.options.live_page:
            return []
        return [
            g.DashboardLink(
                title="Live page",
                type="link",
                uri=self.options.live_page,
                includeVars=False,
                keepTime=False,
                icon="external link",
                targetBlank=True,
            )
        ]

    def _variables(self) -> list[Any]:
        selected = self.options.datasource
        source = g.Template(
            name="datasource", label="Data source", query="prometheus", type="datasource"
        )
        variables = [source]
        matchers = list(self.options.matchers)
        for label in self.options.scope:
            query = _label_values("instances", label, matchers)
            single = self.one_service and label in self.options.owners
            variables.append(_query_variable(label, query, label.title(), single=single))
            matchers.append(_matcher(label, single=single))
        for variable in self.variables:
            query = _label_values(variable.family, variable.label, [*matchers, *variable.matchers])
            variables.append(
                _query_variable(variable.name, query, variable.title, single=variable.single)
            )
        source._current = (
            {"selected": True, "text": selected, "value": selected} if selected else {}
        )
        return variables

    def _alerts(self) -> Json:
        owners = self.options.owners
        labels = ("alertname", "severity", *owners, "pool")
        matchers = [
            *('alertname=~"ConnPool.+"', 'alertstate="firing"', 'severity=~"critical|warning"'),
            *(_matcher(label, single=self.one_service) for label in owners),
        ]
        return {
            "name": "Pool alerts",
            "datasource": DATASOURCE,
            "enable": True,
            "hide": False,
            "iconColor": "red",
            "expr": f"max by ({', '.join(labels)}) (ALERTS{{{', '.join(matchers)}}})",
            "step": "30s",
            "titleFormat": "{{alertname}}",
            "textFormat": self.options.legend("{{severity}} {{pool}}"),
            "tagKeys": "severity,pool",
        }

    def _placed(self) -> list[Any]:
        """Return all panels with their positions in the grid, row by row."""
        panels: list[Any] = []
        top = 0
        question = Section("", [text(self.question, size=(COLUMNS, 2))])
        for section in (question, *self.sections):
            inside = [placed.panel for placed in section.panels]
            if section.title:
                row = g.RowPanel(title=section.title, gridPos=_position(0, top, COLUMNS, 1))
                panels.append(row)
                top += 1
            bottom = _place(section.panels, top)
            if section.closed:
                row.collapsed, row.panels = True, inside
            else:
                panels += inside
                top = bottom
        return panels


def _place(panels: Sequence[PlacedPanel], top: int) -> int:
    """Give panels their positions, from a line of the grid on; return the line after them."""
    left = height = 0
    for placed in panels:
        if left + placed.width > COLUMNS:
            left, top, height = 0, top + height, 0
        placed.panel.gridPos = _position(left, top, placed.width, placed.height)
        left += placed.width
        height = max(height, placed.height)
    return top + height


def uid(key: str, options: Options) -> str:
    return f"{options.uid_prefix}-{key}"


def url_of(key: str, options: Options, **variables: str) -> str:
    """
    Return the URL of another dashboard that keeps the time range and the selected labels.

    variables: the values of variables that are not those that are selected here.
    """
    parameters = [f"var-{name}={value}" for name, value in variables.items()]
    kept = [label for label in (*options.scope, "datasource") if label not in variables]
    parameters += [f"${{{label}:queryparam}}" for label in kept]
    return f"/d/{uid(key, options)}?" + "&".join([*parameters, "${__url_time_range}"])


def cell(column: str) -> str:
    """Return what a URL says for the value of a row; "" if no row has such a label."""
    return f"${{__data.fields.{column}:percentencode}}"


def of_series(label: str) -> str:
    """Return what a URL says for a label of the series that is clicked on."""
    return f"${{__field.labels.{label}:percentencode}}"


def url_of_pool(options: Options) -> str:
    """Return the URL of the pool of a row of a table, in its own service."""
    columns = {**options.owner_columns, "pool": "Pool", "kind": "Kind"}
    return url_of("pool", options, **{label: cell(title) for label, title in columns.items()})


def queries_of(options: Options, *matchers: str, one_service: bool = False) -> Queries:
    """Return queries that are restricted to the selected labels."""
    scope = (
        _matcher(label, single=one_service and label in options.owners) for label in options.scope
    )
    return Queries((*options.matchers, *scope, *matchers))


def _matcher(label: str, *, single: bool) -> str:
    """Return the matcher for the variable of a label; a single value is not an expression."""
    return f'{label}{"=" if single else "=~"}"${label}"'


def _label_values(family: str, label: str, matchers: Sequence[str]) -> str:
    return f"label_values({name_of(family)}{{{', '.join(matchers)}}}, {label})"


def _query_variable(name: str, query: str, title: str, *, single: bool = False) -> Any:
    variable = g.Template(
        name=name,
        query=query,
        dataSource=DATASOURCE,
        label=title,
        includeAll=not single,
        # It also matches series without the label.
        allValue=None if single else ".*",
        multi=not single,
        refresh=g.REFRESH_ON_TIME_RANGE_CHANGE,
        sort=g.SORT_ALPHA_ASC,
    )
    variable._current = {}
    return variable


def _position(left: int, top: int, width: int, height: int) -> Any:
    return g.GridPos(h=height, w=width, x=left, y=top)
